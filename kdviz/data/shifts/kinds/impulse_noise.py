"""Impulse noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdviz.data.shifts.registry import register_shift

_AMOUNTS = (0.03, 0.06, 0.09, 0.17, 0.27)  # ImageNet-C's


@register_shift("impulse_noise")
def impulse_noise(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """Single values that become white or black, salt and pepper, as of broken bits."""
    draws = torch.from_numpy(source.random(tuple(image.shape), np.float32))
    amount = _AMOUNTS[severity - 1]
    salted = torch.where(draws < amount / 2, 255, image)
    return torch.where(draws > 1 - amount / 2, 0, salted).to(torch.uint8)
