"""Brightness."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import as_levels, as_shares
from kdviz.data.shifts.registry import register_shift

_ADDED = (0.1, 0.2, 0.3, 0.4, 0.5)  # ImageNet-C's, which adds them to the value of HSV


@register_shift("brightness")
def brightness(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """All values are raised alike, so that black becomes grey, as in too much light."""
    return as_levels(as_shares(image) + _ADDED[severity - 1])
