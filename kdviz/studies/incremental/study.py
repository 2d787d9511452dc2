"""Trainings of a network on old classes, then on new ones: with its own answers about the old ones, and without."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.distill import Stage, TrainingConfig, fit, predict_logits
from kdviz.distill.checks import check_seeds
from kdviz.distill.stages import training_stages
from kdviz.distill.storage.run_files import new_network
from kdviz.experiment import Experiment
from kdviz.studies.incremental.report import FINE_TUNED, JOINT, LABEL, OLD, TABLE, WITHOUT_FORGETTING

SCHEMA = pa.schema(
    [
        ("seed", pa.int32()),
        ("method", pa.string()),
        ("old_classes", pa.int32()),
        ("temperature", pa.float64()),
        ("alpha", pa.float64()),
        ("epochs", pa.int32()),
        ("split", pa.string()),
        ("predicted", pa.list_(pa.int16())),
        ("told", pa.list_(pa.int16())),
    ]
)
"""incremental.parquet: one row a model, with the class that it says of each test sample, and the one that it says when
it is told whether the sample is of an old class or a new one; the method ``label`` has the truth."""


@dataclass(frozen=True)
class IncrementalStudy:
    """A network that knows the first classes of a data set and then learns the others, of which alone it has pictures.

    For each seed four networks are trained: ``old`` on the pictures of the old classes; from its weights, on the
    pictures of the new classes, ``without_forgetting`` (Li and Hoiem, 2016) and ``fine_tuned``, with cross entropy
    alone; and ``joint`` on all pictures at once, which is what the others are measured by.

    Args:
        experiment: Its KD student's network is trained; the table is written to its folder.
        splits: ``train``, ``validation`` and ``test``.
        old: Number of the old classes, which come first.
        seeds: Seeds of weights and order.
        config: The recipe; its temperature and alpha are those of learning without forgetting.

    Raises:
        SettingError: There would be fewer than two old classes, or no new one.
        ExperimentError: The experiment has no KD student.
    """

    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    old: int
    seeds: Sequence[int]
    config: TrainingConfig

    def __post_init__(self) -> None:
        classes = len(self.experiment.classes)
        check_seeds(self.seeds)
        if classes < 3:
            raise SettingError("New classes beside two old ones need three classes, and there are {n}.", n=classes)
        if not 2 <= self.old < classes:
            raise SettingError(
                "The old classes must be 2 to {most} of {classes}, got {old}.",
                most=classes - 1,
                classes=classes,
                old=self.old,
            )
        if Role.KD_STUDENT not in self.experiment.runs:
            raise ExperimentError(
                "'{folder}' has no {role}, which a study needs.", folder=self.experiment.folder, role=Role.KD_STUDENT
            )

    def run(self) -> Iterator[Stage]:
        """Train all, and write the table."""
        labels = self.splits[Split.TEST].labels
        rows = [self._row(0, LABEL, labels, labels)]
        for number, seed in enumerate(self.seeds):
            for method, network in (yield from self._networks(seed, 4 * number)).items():
                logits = predict_logits(network, self.splits[Split.TEST], self._normalise, device=self.config.device)
                rows.append(self._row(seed, method, logits.argmax(1), self._told(logits, labels)))
        self.experiment.write_table(TABLE, pa.Table.from_pylist(rows, SCHEMA))

    def _networks(self, seed: int, done: int) -> Any:
        """Method -> trained network."""
        plain = replace(self.config, seed=seed)
        spec, classes = self.experiment.input, len(self.experiment.classes)
        fresh = new_network(self.experiment.runs[Role.KD_STUDENT].network, spec, classes, seed)
        old, joint = copy.deepcopy(fresh), copy.deepcopy(fresh)
        yield from self._train(OLD, seed, done + 1, old, self._part(is_new=False), plain)
        old.requires_grad_(False)
        fine_tuned, kept = copy.deepcopy(old).requires_grad_(True), copy.deepcopy(old).requires_grad_(True)
        new = self._part(is_new=True)
        yield from self._train(FINE_TUNED, seed, done + 2, fine_tuned, new, plain)
        keeps = replace(plain, loss="without_forgetting", loss_options={"old": float(self.old)})
        yield from self._train(WITHOUT_FORGETTING, seed, done + 3, kept, new, keeps, old)
        yield from self._train(JOINT, seed, done + 4, joint, self.splits, plain)
        return {OLD: old, FINE_TUNED: fine_tuned, WITHOUT_FORGETTING: kept, JOINT: joint}

    def _train(
        self,
        method: str,
        seed: int,
        number: int,
        network: nn.Module,
        splits: Mapping[str, LabelledImages],
        config: TrainingConfig,
        teacher: nn.Module | None = None,
    ) -> Iterator[Stage]:
        training, logits = splits[Split.TRAIN], None
        if teacher is not None:
            logits = predict_logits(teacher, training, self._normalise, device=config.device, bf16=config.bf16)
        steps = fit(network, training, splits[Split.VALIDATION], self._normalise, config, logits)
        yield from training_stages(f"{method}, seed {seed}", number, 4 * len(self.seeds), steps)

    def _part(self, *, is_new: bool) -> dict[str, LabelledImages]:
        """The training and validation samples of the old or of the new classes."""
        parts = {name: self.splits[name] for name in (Split.TRAIN, Split.VALIDATION)}
        return {name: samples.take((samples.labels >= self.old) == is_new) for name, samples in parts.items()}

    @property
    def _normalise(self) -> Any:
        return self.experiment.input.normalise

    def _told(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The class with the largest logit among the old classes for samples of these, else among the new ones."""
        is_new = torch.arange(logits.shape[1]) >= self.old
        other = is_new[None] != (labels >= self.old)[:, None]  # (N, classes)
        return logits.masked_fill(other, -torch.inf).argmax(1)

    def _row(self, seed: int, method: str, predicted: Tensor, told: Tensor) -> dict[str, Any]:
        config = self.config
        recipe = {"temperature": config.temperature_in(1), "alpha": config.alpha_in(1), "epochs": config.epochs}
        row = {"seed": seed, "method": method, "old_classes": self.old, **recipe, "split": Split.TEST}
        return {**row, "predicted": predicted.tolist(), "told": told.tolist()}
