"""A network behind a normalisation of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_Normalisation = tuple[Sequence[float], Sequence[float]]  # mean and std, one number a channel


class Renormalised(nn.Module):
    """A network that learned from another normalisation than its experiment's: it makes its own from what it gets.

    All models of an experiment get the same input. ``scale`` and ``shift``, one number a channel, are kept with the
    weights, so that the name says only that they are there.
    (N, C, H, W) as the experiment normalises it -> logits (N, classes).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, channels: int):
        super().__init__()
        self.network = network
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))
        self.register_buffer("shift", torch.zeros(1, channels, 1, 1))

    def between(self, given: _Normalisation, wanted: _Normalisation) -> Renormalised:
        """Set what is done: from the experiment's mean and std to those that the network wants. Returns the network.

        Args:
            given: Mean and std, one number a channel, of values in [0, 1].
            wanted: Likewise.
        """
        (mean, std), (own_mean, own_std) = (torch.tensor(both, dtype=torch.float64) for both in (given, wanted))
        self.scale.copy_((std / own_std).view_as(self.scale))
        self.shift.copy_(((mean - own_mean) / own_std).view_as(self.shift))
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * self.scale + self.shift)
