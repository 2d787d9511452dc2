"""What kind of scores a network returns, and how many weights it has."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

_LEAST_ROWS = 4  # rows of scores needed before anything is concluded from their range
_SUM = 1e-4  # tolerance of the sum of probabilities


def are_bounded(scores: Tensor | np.ndarray) -> bool:
    """Whether several rows of scores (N, classes) all lie in [0, 1], which logits hardly ever do, and vary."""
    rows = torch.as_tensor(scores)
    is_within = len(rows) >= _LEAST_ROWS and bool(((rows >= 0) & (rows <= 1)).all())
    return is_within and bool(rows.ne(rows[0, 0]).any())


def are_probabilities(scores: Tensor | np.ndarray) -> bool:
    """Whether several rows of scores (N, classes) lie in [0, 1] and sum to 1 each, as after a softmax."""
    rows = torch.as_tensor(scores)
    return are_bounded(rows) and bool(((rows.double().sum(1) - 1).abs() < _SUM).all())


def parameter_count(network: nn.Module) -> int:
    """Number of trainable and frozen parameters (buffers are not counted); 0 for ONNX files and functions."""
    return sum(parameter.numel() for parameter in network.parameters())
