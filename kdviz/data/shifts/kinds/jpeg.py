"""JPEG compression."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import functional
from kdviz.data.shifts.registry import register_shift

_QUALITIES = (25, 18, 15, 10, 7)  # ImageNet-C's


@register_shift("jpeg")
def jpeg(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """Compression as JPEG of low quality."""
    return functional().jpeg(image, _QUALITIES[severity - 1])
