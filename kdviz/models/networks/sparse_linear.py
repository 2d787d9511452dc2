"""A linear classifier with weights of exactly 0: E. Wong, S. Santurkar and A. Madry (2021, arXiv:2105.04857)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdviz.models.networks.registry import networks

PENALTY = 0.1
"""Weight of the L1 penalty, in the unit of a step of the optimiser."""


class SparseLinear(nn.Sequential):
    """A linear layer with an L1 penalty: (N, C, H, W), pixels or features, -> logits (N, classes).

    After each step of the optimiser the weights move towards 0 by ``penalty * learning rate``, and stay 0 where they
    would pass it: proximal gradient descent, which gives exact zeros (Parikh and Boyd, 2014, section 4.2). With plain
    gradient steps it minimises the loss + penalty * sum |w|; Adam's steps are scaled, and so the penalty is.

    Args:
        classes: Number of logits.
        channels: Number of input channels, or of features.
        size: Height and width of the input; (1, 1) for features.
        penalty: Weight of the penalty, >= 0.
    """

    def __init__(
        self,
        classes: int = 10,
        channels: int = 1,
        size: tuple[int, int] = (1, 1),
        penalty: float = PENALTY,
    ):
        super().__init__(nn.Flatten(), nn.Linear(channels * size[0] * size[1], classes))
        self.shrinkage = penalty

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """The proximal step that belongs to a step of the optimiser."""
        weight = self.weight
        weight.copy_(weight.sign() * (weight.abs() - self.shrinkage * learning_rate).clamp(min=0))

    @property
    def weight(self) -> Tensor:
        """(classes, inputs)."""
        weight = self[1].weight
        assert isinstance(weight, Tensor)
        return weight


@networks.register("sparse_linear")
def sparse_linear(classes: int = 10, channels: int = 1, size: tuple[int, int] = (1, 1)) -> SparseLinear:
    """A linear classifier of pixels or features with an L1 penalty, so that weights become 0 (Wong et al., 2021)."""
    return SparseLinear(classes, channels, size)
