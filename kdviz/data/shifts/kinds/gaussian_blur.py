"""Gaussian blur."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import functional, shorter_side
from kdviz.data.shifts.registry import register_shift

_DEVIATIONS = (0.012, 0.018, 0.024, 0.032, 0.045)  # of the shorter side
_LEAST = (0.33, 0.4, 0.5, 0.6, 0.7)  # pixels: less changes nothing in whole grey levels


@register_shift("gaussian_blur")
def gaussian_blur(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """Blur by a normal distribution, as out of focus."""
    sigma = max(_DEVIATIONS[severity - 1] * shorter_side(image), _LEAST[severity - 1])
    longest = (shorter_side(image) - 1) // 2  # what the reflected border allows
    half = max(1, min(math.ceil(3 * sigma), longest))
    return functional().gaussian_blur(image, [2 * half + 1] * 2, [sigma, sigma])
