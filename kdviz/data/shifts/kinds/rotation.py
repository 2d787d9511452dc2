"""Rotation."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import moved
from kdviz.data.shifts.registry import register_shift

_DEGREES = (10, 20, 30, 40, 50)


@register_shift("rotation")
def rotation(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """The picture is turned to a random side, by 10 to 50 degrees."""
    return moved(image, angle=float(_DEGREES[severity - 1] * source.choice([-1, 1])))
