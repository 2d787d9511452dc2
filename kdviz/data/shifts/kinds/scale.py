"""Scale."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import moved
from kdviz.data.shifts.registry import register_shift

_SCALES = (0.9, 0.8, 0.7, 0.6, 0.5)


@register_shift("scale")
def scale(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """The picture shrinks around its middle, to nine tenths to a half, as seen from further away."""
    return moved(image, scale=_SCALES[severity - 1])
