"""A network's explanations in a training: of the very pass that is trained on, or of a teacher that only answers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdviz.distill.objectives.evaluation_mode import evaluating, with_own_statistics
from kdviz.distill.objectives.explained import Explained
from kdviz.distill.objectives.layers import FeatureHook, head_of
from kdviz.distill.objectives.registry import ExplanationLoss


class Explainer:
    """Explains the answers of one network with the explanation of a loss.

    Args:
        loss: The loss.
        options: Its options.
        network: The network, on its device.
        baseline: What a removed pixel becomes, (C, 1, 1), as the network takes it.
        layer: Name of the layer with the last maps; needed where the loss takes maps.
        bf16: Whether further pictures are asked about in bfloat16.
    """

    def __init__(
        self,
        loss: ExplanationLoss,
        options: Mapping[str, float],
        network: nn.Module,
        baseline: Tensor,
        layer: str = "",
        bf16: bool = False,
    ):
        self._loss, self._options, self._network = loss, options, network
        self._baseline, self._bf16 = baseline, bf16
        self._hook = FeatureHook(network, [layer]) if loss.takes else None
        self._head: nn.Module | None = None

    def prepared(self, inputs: Tensor) -> Tensor:
        """Inputs of a pass whose answers are to be explained, which get a gradient where the explanation needs it."""
        return inputs.detach().requires_grad_() if self._loss.from_inputs else inputs

    def explain(self, inputs: Tensor, logits: Tensor, target: Tensor, draws: Tensor, rows: Tensor | None) -> Tensor:
        """The explanations of the network's last pass, (n, ...), which can be differentiated.

        Args:
            inputs: As :meth:`prepared` gave them to that pass, (N, C, H, W).
            logits: What came out, (N, classes).
            target: int64 (N,), the class to explain.
            draws: int64 (N,), the number of each sample's draw.
            rows: The samples to explain, int64 (n,); None: all.
        """
        return self._loss.explanation(self._explained(inputs, logits, target, draws, rows, learns=True), self._options)

    def explain_pictures(self, inputs: Tensor, target: Tensor, draws: Tensor) -> Tensor:
        """The explanations of pictures, (n, ...), without a gradient, of a network that is not trained."""
        inputs = inputs.detach().requires_grad_()  # or the layers of a frozen network have no gradient
        with torch.enable_grad(), evaluating(self._network), self._autocast():
            logits = self._network(inputs).float() if self._needs_pass else inputs.new_zeros(len(inputs), 1)
            explained = self._explained(inputs, logits, target, draws, None, learns=False)
            return self._loss.explanation(explained, self._options).detach()

    def close(self) -> None:
        """Remove the hook from the network."""
        if self._hook is not None:
            self._hook.close()

    @property
    def _needs_pass(self) -> bool:
        """Whether the answers to the pictures themselves are explained, not only to changed ones."""
        return self._loss.from_inputs or bool(self._loss.takes)

    def _explained(
        self, inputs: Tensor, logits: Tensor, target: Tensor, draws: Tensor, rows: Tensor | None, *, learns: bool
    ) -> Explained:
        maps = self._hook.take()[0] if self._hook is not None else None
        if rows is not None:
            inputs, logits, target, draws = inputs[rows], logits[rows], target[rows], draws[rows]
        head = self._head_weight(inputs) if maps is not None else None
        asked = self._ask if learns else self._ask_only
        return Explained(asked, inputs, logits, target, self._baseline, draws, learns, maps, head)

    def _ask(self, pictures: Tensor) -> Tensor:
        with with_own_statistics(self._network), self._autocast():
            return self._network(pictures)

    @torch.no_grad()
    def _ask_only(self, pictures: Tensor) -> Tensor:
        with evaluating(self._network), self._autocast():
            return self._network(pictures)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._baseline.device.type, dtype=torch.bfloat16, enabled=self._bf16)

    def _head_weight(self, inputs: Tensor) -> Tensor:
        """The weights of the layer that makes the logits, (classes, K)."""
        if self._head is None:
            assert self._hook is not None
            with self._autocast():  # as the network itself is asked
                _, self._head = head_of(self._network, inputs.detach())
            self._hook.forget()
        weight = self._head.weight
        assert isinstance(weight, Tensor)
        return weight.flatten(1)


def explained_in(samples: Tensor, epoch: int, every: int) -> Tensor:
    """Those of some samples that are explained in an epoch, int64 (n,): each sample once in ``every`` epochs.

    Args:
        samples: int64 (N,), their numbers in the training split.
        epoch: The epoch, from 1.
        every: 1 for all samples in each epoch.
    """
    return samples[(samples + epoch) % every == 0]


def draws_of(samples: Tensor, epoch: int) -> Tensor:
    """The number of each sample's draw in an epoch, int64 (n,): another one for other samples and in other epochs."""
    return samples * 7_919 + epoch * 104_729
