"""Comparison of a prepared copy's scores with those of its model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_TOLERANCE = 0.03  # largest root mean square error, over the spread of the scores: adds 0.1 % to a map's noise variance


def float_scores(output: Any) -> Tensor:
    """The scores of a model as float32.

    Raises:
        TypeError: The model returned something other than a tensor.
    """
    if not isinstance(output, Tensor):
        raise TypeError(f"the model returned {type(output).__name__}")
    return output.float()


def same_scores(expected: Tensor, scores: Tensor, precision: str) -> bool:
    """Whether the copy's scores equal the model's, up to rounding far below their spread over the masks."""
    if scores.shape != expected.shape or not torch.isfinite(scores).all():
        return False
    spread = (expected - expected.mean(0)).square().mean().sqrt()
    error = (scores - expected).square().mean().sqrt()
    return bool(error <= spread * (_TOLERANCE if precision != "float32" else 1e-3) + 1e-6 * expected.abs().max())
