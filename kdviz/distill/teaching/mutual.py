"""Several networks that are trained at the same time and learn from each other (Zhang et al., 2018)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.data import LabelledImages
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.evaluation_mode import evaluating
from kdviz.distill.objectives.objective import Normalise
from kdviz.distill.training import Checkpoint, TrainingProgress, fit, prepare_network


def fit_together(
    networks: Sequence[nn.Module],
    train: LabelledImages,
    validation: LabelledImages,
    normalise: Normalise,
    configs: Sequence[TrainingConfig],
    *,
    checkpoint: Checkpoint | None = None,
) -> Iterator[tuple[TrainingProgress, ...]]:
    """Train networks in place, each with the others as its teachers, and leave each with its best epoch's weights.

    Network k minimises (1 - alpha) * CE(labels) + alpha * (a loss against the others). With soft targets at T = 1 and
    alpha 0.5 its gradient is half that of Zhang et al. (2018), eq. 7, CE + mean_l KL(p_l || p_k): KL is linear in p_l
    but for the entropy of p_l, which does not depend on network k, so that the mean over peers of the divergences and
    the divergence from their mean have the same gradient.

    In each step the networks take the same batch in turn (algorithm 1): those behind learn from what the others say
    after their step. A network is asked in evaluation mode, where the authors' code has the predictions of the
    training itself, with dropout and the batch's statistics. Each step costs a step of each network and, of K
    networks, K - 1 further forward passes of each.

    Args:
        networks: (N, C, H, W) -> logits (N, classes), two or more.
        train, validation: Samples with labels.
        normalise: uint8 (N, C, H, W) -> the networks' input.
        configs: A recipe for each; epochs, batch size and seed are those of the first.
        checkpoint: Where to continue from; its state is that of all networks after the same epoch.

    Yields:
        The progress of all networks, after each step and at the end of each epoch.

    Raises:
        KdvizError: See :func:`kdviz.distill.fit`.
    """
    first = configs[0]
    shared = {"epochs": first.epochs, "batch_size": first.batch_size, "seed": first.seed, "device": first.device}
    device = choose_device(first.device)
    for network in networks:  # before any of them is asked
        prepare_network(network, train, normalise, device)
    parts = _JointCheckpoint(checkpoint, len(networks)).parts if checkpoint else [None] * len(networks)
    with ExitStack() as open_fits:
        fits = []
        for network, config, part in zip(networks, configs, parts, strict=True):
            peers = [_Peer(other) for other in networks if other is not network]
            steps = fit(
                network, train, validation, normalise, replace(config, **shared), teachers=peers, checkpoint=part
            )
            fits.append(open_fits.enter_context(closing(steps)))  # type: ignore[type-var]
        for progress in zip(*fits, strict=True):
            # That an untrained peer says little is no doubt about the settings.
            yield tuple(replace(each, warnings=()) for each in progress)


class _Peer(nn.Module):
    """A network that is being trained, as a teacher: in evaluation mode, without gradient, and with no weights here."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self._network = [network]  # in a list: as a submodule it would be put into training mode, and checked
        self.eval()

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        (network,) = self._network
        with evaluating(network):
            return network(inputs)


class _JointCheckpoint:
    """The checkpoints of several trainings in one, saved when all have ended the same epoch.

    Args:
        checkpoint: Where the joint state is kept.
        count: Number of trainings.
    """

    def __init__(self, checkpoint: Checkpoint, count: int):
        self._checkpoint = checkpoint
        joint = checkpoint.load()
        complete = joint is not None and len(joint.get("parts", ())) == count
        states = joint["parts"] if joint is not None and complete else [None] * count
        self.parts = [_Part(self, state) for state in states]

    def save_if_complete(self) -> None:
        states = [part.state for part in self.parts]
        epochs = {None if state is None else state["epoch"] for state in states}
        if len(epochs) == 1 and None not in epochs:
            self._checkpoint.save({"epoch": epochs.pop(), "parts": states})


class _Part:
    """One training's share of a joint checkpoint."""

    def __init__(self, joint: _JointCheckpoint, state: dict[str, Any] | None):
        self._joint, self.state = joint, state

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state = copy.deepcopy(state)  # the weights are changed before the others' states are there
        self._joint.save_if_complete()
