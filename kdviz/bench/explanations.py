"""What a loss between explanations costs a student's training step."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor, nn

from kdviz.bench.rows import Measurement
from kdviz.core.files import Store
from kdviz.core.vocabulary import Split
from kdviz.data import LabelledImages
from kdviz.distill import MNIST_INPUT, TrainingConfig, explanation_losses, fit
from kdviz.distill.storage.run_files import new_network
from kdviz.distill.storage.teacher_explanations import teacher_explanations

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

    def seconds(self, loss: str) -> float:
        """Duration of an epoch with a loss between explanations, or without."""
        config = replace(self._config, feature_loss=loss)
        train, validation = self._splits[Split.TRAIN], self._splits[Split.VALIDATION]
        normalise = MNIST_INPUT.normalise
        explanations = teacher_explanations(lambda: self._teacher, normalise, config, self._store, "teacher", train)
        network = new_network("paper_fc", MNIST_INPUT, 10, 0)
        steps = fit(network, train, validation, normalise, config, self._logits, explanations=explanations)
        return [progress.seconds_of_epoch for progress in steps if progress.ends_epoch][-1]
