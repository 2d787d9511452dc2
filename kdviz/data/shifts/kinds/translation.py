"""Translation."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import moved, shorter_side
from kdviz.data.shifts.registry import register_shift

_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25)  # of the shorter side


@register_shift("translation")
def translation(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """The picture is moved in a random direction, by a twentieth to a quarter of its side."""
    angle, length = source.uniform(0, 2 * math.pi), _SHARES[severity - 1] * shorter_side(image)
    return moved(image, offset=(round(length * math.cos(angle)), round(length * math.sin(angle))))
