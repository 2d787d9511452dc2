"""A coloured light from one side."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import torch
from torch import Tensor

from kdviz.data.shifts.drawing import as_levels, as_shares, ramp
from kdviz.data.shifts.registry import register_shift

_STRENGTHS = (0.15, 0.3, 0.45, 0.6, 0.75)


@register_shift("gradient")
def gradient(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """A light from a random side, of a random hue on coloured pictures, makes the background uneven."""
    angle, hue = source.uniform(0, 2 * math.pi), source.random()
    colour = colorsys.hsv_to_rgb(hue, 1.0, 1.0) if len(image) == 3 else (1.0,)
    light = torch.tensor(colour)[:, None, None] * (ramp(image, angle) + 1) / 2
    return as_levels(as_shares(image) + _STRENGTHS[severity - 1] * light)
