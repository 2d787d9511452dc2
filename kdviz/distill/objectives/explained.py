"""What an explanation of a network's answers is computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Explained:
    """A batch of samples, and a network's answers to it.

    Attributes:
        network: (k, C, H, W) -> logits (k, classes), for explanations that ask it about further pictures; in evaluation
            mode.
        inputs: (n, C, H, W), as the network takes them.
        logits: (n, classes).
        target: int64 (n,), the class that is explained.
        baseline: What a removed pixel becomes, (C, 1, 1), as the network takes it.
        draws: int64 (n,), the number of each sample's random draw, for explanations that are sampled: the same number
            gives the same masks.
        learns: Whether the explanation itself is to be differentiated.
        maps: The output of the layer with the last maps, (n, K, h, w), for explanations that take maps.
        head: The weights of the layer that makes the logits, (classes, K), where it is known.
    """

    network: Callable[[Tensor], Tensor]
    inputs: Tensor
    logits: Tensor
    target: Tensor
    baseline: Tensor
    draws: Tensor
    learns: bool
    maps: Tensor | None = None
    head: Tensor | None = None

    def score_gradient(self, values: Tensor) -> Tensor:
        """The gradient of each sample's logit of its target with respect to ``values``, (n, ...)."""
        scores = self.logits.gather(1, self.target[:, None])
        return torch.autograd.grad(scores.sum(), values, create_graph=self.learns, retain_graph=True)[0]
