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
from kdviz.studies.incremental.report import (
    FINE_TUNED,
    JOINT,
    LABEL,
    NEW_TEACHER,
    OLD,
    TABLE,
    WITHOUT_FORGETTING,
)

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
    alone; and ``joint`` on all pictures at once, which is what the others are measured by. With a network for a
    teacher of the new classes, that is trained on their pictures, and ``new_teacher`` learns as
    ``without_forgetting`` does and from that teacher's answers about the new classes as well.

    Args:
        experiment: Its KD student's network is trained; the table is written to its folder.
        splits: ``train``, ``validation`` and ``test``.
        old: Number of the old classes, which come first.
        seeds: Seeds of weights and order.
        config: The recipe; its temperature and alpha are those of learning without forgetting.
        new_teacher: Name of the network that teaches the new classes; None: their labels alone.

    Raises:
        SettingError: There would be fewer than two old classes, or no new one; or a teacher of a single new class.
        UnknownNameError: There is no such network.
        ExperimentError: The experiment has no KD student.
    """

    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    old: int
    seeds: Sequence[int]
    config: TrainingConfig
    new_teacher: str | None = None

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
        if self.new_teacher is not None and classes - self.old < 2:
            raise SettingError("A teacher of the new classes needs two of them, and there is one.")
        if Role.KD_STUDENT not in self.experiment.runs:
            raise ExperimentError(
                "'{folder}' has no {role}, which a study needs.", folder=self.experiment.folder, role=Role.KD_STUDENT
            )
        if self.new_teacher is not None:  # an error where there is no such network, before anything is trained
            new_network(self.new_teacher, self.experiment.input, classes, 0)

    def run(self) -> Iterator[Stage]:
        """Train all, and write the table."""
        labels = self.splits[Split.TEST].labels
        rows = [self._row(0, LABEL, labels, labels)]
        for number, seed in enumerate(self.seeds):
            for method, network in (yield from self._networks(seed, self._trainings * number)).items():
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
        yield from self._train(WITHOUT_FORGETTING, seed, done + 3, kept, new, keeps, self._logits(old, new))
        yield from self._train(JOINT, seed, done + 4, joint, self.splits, plain)
        networks = {OLD: old, FINE_TUNED: fine_tuned, WITHOUT_FORGETTING: kept, JOINT: joint}
        if self.new_teacher is not None:
            networks[NEW_TEACHER] = yield from self._taught(old, new, keeps, done + 5)
        return networks

    def _taught(self, old: nn.Module, new: Mapping[str, LabelledImages], keeps: TrainingConfig, number: int) -> Any:
        """A network that learns the new classes from a teacher of its own, which sees their pictures alone."""
        spec, classes, seed = self.experiment.input, len(self.experiment.classes), keeps.seed
        teacher = new_network(str(self.new_teacher), spec, classes, seed)
        plain = replace(keeps, loss="soft_targets", loss_options={})
        yield from self._train("teacher of the new classes", seed, number, teacher, new, plain)
        answers = torch.cat([self._logits(old, new)[:, : self.old], self._logits(teacher, new)[:, self.old :]], 1)
        network = copy.deepcopy(old).requires_grad_(True)
        both = replace(keeps, loss_options={**keeps.loss_options, "new": 1.0})
        yield from self._train(NEW_TEACHER, seed, number + 1, network, new, both, answers)
        return network

    @property
    def _trainings(self) -> int:
        return 4 if self.new_teacher is None else 6

    def _train(
        self,
        method: str,
        seed: int,
        number: int,
        network: nn.Module,
        splits: Mapping[str, LabelledImages],
        config: TrainingConfig,
        logits: Tensor | None = None,
    ) -> Iterator[Stage]:
        steps = fit(network, splits[Split.TRAIN], splits[Split.VALIDATION], self._normalise, config, logits)
        yield from training_stages(f"{method}, seed {seed}", number, self._trainings * len(self.seeds), steps)

    def _logits(self, teacher: nn.Module, splits: Mapping[str, LabelledImages]) -> Tensor:
        """A network's logits of the training samples, (N, classes)."""
        config = self.config
        return predict_logits(teacher, splits[Split.TRAIN], self._normalise, device=config.device, bf16=config.bf16)

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
