"""Contrast."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import functional
from kdviz.data.shifts.registry import register_shift

_FACTORS = (0.4, 0.3, 0.2, 0.1, 0.05)  # ImageNet-C's


@register_shift("contrast")
def contrast(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """All values move towards the picture's mean, as in fog."""
    return functional().adjust_contrast(image, _FACTORS[severity - 1])
