"""Functions as networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class FunctionNetwork(nn.Module):
    """Any callable as a network: Tensor (N, C, H, W) on any device -> Tensor (N, classes) or (N,)."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images).to(images.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionNetwork:
        return self  # networks are copied to move their weights, but a function may not support copying


class NumpyNetwork(FunctionNetwork):
    """A function of NumPy arrays as a network: float32 (N, C, H, W) -> numbers (N, classes) or (N,).

    The network takes and returns tensors on the device of its input. The function gets a copy of the pictures, which it
    may change.
    """

    differentiable = False

    def forward(self, images: Tensor) -> Tensor:
        array = images.detach().to("cpu", torch.float32, copy=True).numpy()
        scores = np.array(self.function(array), dtype=np.float32, order="C")
        return torch.from_numpy(scores).to(images.device)
