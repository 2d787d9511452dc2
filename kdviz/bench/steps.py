"""What ways of teaching cost a student's training step."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from kdviz.bench.rows import Measurement
from kdviz.core.files import Store
from kdviz.core.vocabulary import Split
from kdviz.data import LabelledImages
from kdviz.distill import MNIST_INPUT, TrainingConfig, explanation_losses, fit
from kdviz.distill.storage.run_files import new_network
from kdviz.distill.storage.teacher_explanations import teacher_explanations
from kdviz.distill.teaching.mutual import fit_together

_TIMES = 3


def explanation_costs(
    splits: dict[str, LabelledImages], config: TrainingConfig, teacher: nn.Module, teacher_logits: Tensor
) -> Iterator[Measurement]:
    """An epoch of the paper's student with each loss between explanations that it can have, over one without.

    The teacher's explanations are computed before, as they are once for all students of a study. Both take turns.

    Args:
        splits: ``train`` and ``validation``.
        config: The recipe; the number of epochs is not used.
        teacher: The trained teacher.
        teacher_logits: Its logits of the training samples.
    """
    for name in sorted(explanation_losses):
        if explanation_losses[name].needs_maps:
            continue  # the paper's student has none
        with tempfile.TemporaryDirectory() as folder:
            asked = _Epochs(splits, config, teacher, teacher_logits, Store(folder))
            asked.seconds(name)  # the teacher's explanations, and everything that is done once
            pairs = [(asked.seconds(name), asked.seconds("")) for _ in range(_TIMES)]
        with_loss, without = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
        yield Measurement(
            f"step_{name}",
            f"an epoch of the student with the loss {name} / with soft targets alone",
            with_loss / without,
            "x",
            {"seconds": with_loss, "soft_targets_seconds": without},
        )


def teaching_costs(
    splits: dict[str, LabelledImages], config: TrainingConfig, teacher: nn.Module, teacher_logits: Tensor
) -> Iterator[Measurement]:
    """An epoch of the paper's student with what has a step of its own, over one with soft targets; both take turns.

    Assistants and generations have the step of a student: they cost as many trainings more.

    Args:
        splits, config, teacher, teacher_logits: As of :func:`explanation_costs`.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = _Epochs(splits, config, teacher, teacher_logits, Store(folder))
        timed: dict[str, tuple[str, Callable[[], float]]] = {
            "learned_temperature": (
                "an epoch of the student with a learned temperature / with a fixed one",
                lambda: asked.seconds("", temperature="1:21:learned"),
            ),
            "mutual": (
                "an epoch of two students that learn from each other / of one with soft targets",
                asked.seconds_together,
            ),
        }
        for name, (text, epoch) in timed.items():
            epoch()  # everything that is done once
            pairs = [(epoch(), asked.seconds("")) for _ in range(_TIMES)]
            with_it, without = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
            details = {"seconds": with_it, "soft_targets_seconds": without}
            yield Measurement(f"step_{name}", text, with_it / without, "x", details)


class _Epochs:
    """Single epochs of a student, which are timed."""

    def __init__(
        self,
        splits: dict[str, LabelledImages],
        config: TrainingConfig,
        teacher: nn.Module,
        teacher_logits: Tensor,
        store: Store,
    ):
        self._splits, self._config, self._store = splits, replace(config, epochs=1), store
        self._teacher, self._logits = teacher, teacher_logits

    def seconds_together(self) -> float:
        """Duration of an epoch of two students that learn from each other."""
        networks = [new_network("paper_fc", MNIST_INPUT, 10, seed) for seed in (0, 1)]
        data = self._splits[Split.TRAIN], self._splits[Split.VALIDATION], MNIST_INPUT.normalise
        steps = fit_together(networks, *data, [self._config] * 2)
        # They take turns: the epoch of each lasts until both have ended it.
        return [progress[-1].seconds_of_epoch for progress in steps if progress[-1].ends_epoch][-1]

    def seconds(self, loss: str, **settings: Any) -> float:
        """Duration of an epoch with a loss between explanations or other settings, or without."""
        config = replace(self._config, feature_loss=loss, **settings)
        train, validation = self._splits[Split.TRAIN], self._splits[Split.VALIDATION]
        normalise = MNIST_INPUT.normalise
        explanations = teacher_explanations(lambda: self._teacher, normalise, config, self._store, "teacher", train)
        network = new_network("paper_fc", MNIST_INPUT, 10, 0)
        steps = fit(network, train, validation, normalise, config, self._logits, explanations=explanations)
        return [progress.seconds_of_epoch for progress in steps if progress.ends_epoch][-1]
