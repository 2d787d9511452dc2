"""Inverted levels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from kdviz.data.shifts.drawing import functional
from kdviz.data.shifts.registry import register_shift

_THRESHOLDS = (224, 176, 128, 64, 0)


@register_shift("inversion")
def inversion(image: Tensor, severity: int, source: np.random.Generator) -> Tensor:
    """Values above a threshold are inverted, which hollows bright shapes out; at severity 5 all, as in a negative."""
    return functional().solarize(image, _THRESHOLDS[severity - 1])
