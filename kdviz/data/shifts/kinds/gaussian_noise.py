"""Gaussian noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdviz.data.shifts.drawing import as_levels, as_shares
from kdviz.data.shifts.registry import register_shift

_DEVIATIONS = (0.04, 0.08, 0.12, 0.18, 0.26)  # the last three are ImageNet-C's


@register_shift("gaussian_noise")
def gaussian_noise(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """Noise of a normal distribution in each value, as of a sensor in poor light."""
    noise = torch.from_numpy(source.standard_normal(tuple(image.shape), np.float32))
    return as_levels(as_shares(image) + _DEVIATIONS[severity - 1] * noise)
