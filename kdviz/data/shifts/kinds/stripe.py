"""A stripe that hides a part."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from kdviz.data.shifts.drawing import border_colour, ramp
from kdviz.data.shifts.registry import register_shift

_WIDTHS = (0.05, 0.08, 0.12, 0.17, 0.24)  # of the way from corner to corner
_FURTHEST = 0.3  # from the middle, where 1 is a corner
_MIDDLE = 127.5


@register_shift("stripe")
def stripe(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """A stripe at a random angle hides a part, white before a dark border and black before a bright one."""
    angle, place = source.uniform(0, math.pi), source.uniform(-_FURTHEST, _FURTHEST)
    is_hidden = (ramp(image, angle) - place).abs() <= _WIDTHS[severity - 1]
    level = 255 if np.mean(border_colour(image)) < _MIDDLE else 0
    return torch.where(is_hidden, level, image).to(torch.uint8)
