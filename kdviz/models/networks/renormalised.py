"""A network with a normalisation of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_Normalisation = tuple[Sequence[float], Sequence[float]]  # mean and std, one number a channel


class Renormalised(nn.Module):
    """A network trained with another normalisation than its experiment's, to which it converts its input.

    All models of an experiment get the same input. ``scale`` and ``shift``, one number a channel, are stored with the
    weights, so that the network's name only says that they are there.
    (N, C, H, W) as the experiment normalises it -> logits (N, classes).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, channels: int):
        super().__init__()
        self.network = network
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))
        self.register_buffer("shift", torch.zeros(1, channels, 1, 1))

    def between(self, source: _Normalisation, target: _Normalisation) -> Renormalised:
        """Set the conversion from the experiment's normalisation to the network's, and return the network.

        Args:
            source: The experiment's mean and std of values in [0, 1], one number a channel.
            target: The mean and std that the network was trained with.
        """
        (mean, std), (target_mean, target_std) = (
            torch.tensor(normalisation, dtype=torch.float64) for normalisation in (source, target)
        )
        self.scale.copy_((std / target_std).view_as(self.scale))
        self.shift.copy_(((mean - target_mean) / target_std).view_as(self.shift))
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * self.scale + self.shift)
