"""The trainings of an experiment, one after the other: each yields its progress and adds its run to the experiment."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.data.doubts import Doubt
from kdviz.data.shortcuts.planting import PlantedShortcut
from kdviz.distill.checks import check_teacher, logits_doubts
from kdviz.distill.config import TrainingConfig
from kdviz.distill.sources import ModelSource
from kdviz.distill.stages import (
    Stage,
    doubt_stages,
    doubts_record,
    planted_record,
    training_record,
    training_stages,
)
from kdviz.distill.teaching.settings import Link, mutual_recipe
from kdviz.experiment import Experiment

if TYPE_CHECKING:
    from kdviz.distill.experiment_trainer import ExperimentTrainer


@dataclass(frozen=True)
class Member:
    """A network of an experiment before its training.

    Attributes:
        role: Its role.
        source: Where it comes from.
        config: Its recipe.
        network: The network itself, with its initial weights.
    """

    role: str
    source: ModelSource
    config: TrainingConfig
    network: nn.Module


@dataclass
class ExperimentRuns:
    """Trains the networks of an experiment.

    Attributes:
        trainer: What all trainings share.
        experiment: It gets the runs.
        splits: The samples.
        count: Number of trainings.
        shortcut: The mark that is planted into the training pictures.
        doubts: Doubts about the data, which the next run's record takes.
        networks, logits: Who teaches the next student: networks, or given logits.
        taught_by: The roles of these networks.
    """

    trainer: ExperimentTrainer
    experiment: Experiment
    splits: Mapping[str, LabelledImages]
    count: int
    shortcut: PlantedShortcut | None = None
    doubts: list[Doubt] = field(default_factory=list)
    networks: list[nn.Module] = field(default_factory=list)
    logits: Tensor | None = None
    taught_by: tuple[str, ...] = ()
    _number: int = 0
    _is_chain: bool = False

    def train_teacher(self, teacher: Member) -> Iterator[Stage]:
        """Train a teacher, unless it is trained; it teaches the next student, with those before it."""
        self._number += 1
        record: dict[str, Any] = {"weights_from": teacher.source.source, "trained": False}
        if not teacher.source.trained:
            training = self.trainer.teacher_train
            steps = self.trainer.fit(teacher.role, teacher.network, training, teacher.config)
            yield from training_stages(teacher.role, self._number, self.count, steps)
            record = self._record(teacher, training, distilled=False, is_student=False)
        yield from self._add_teacher(teacher, record)
        self.networks.append(teacher.network)
        self.taught_by = (*self.taught_by, teacher.role)

    def doubt_logits(self) -> Iterator[Stage]:
        """Doubts about a teacher's logits that were given in its place, if they were."""
        if self.logits is not None:
            doubts = logits_doubts(Role.TEACHER, self.logits, self.trainer.train)
            yield from doubt_stages(Role.TEACHER, 0, self.count, doubts)
            self.doubts = [*doubts, *self.doubts]

    def train_link(self, member: Member, link: Link) -> Iterator[Stage]:
        """Distil a network of a chain from the one before it; it alone teaches the next one."""
        if link.continues:
            member.network.load_state_dict(self.networks[0].state_dict())
        training = yield from self._distil(member, continues=link.continues)
        record = self._record(member, training, distilled=True) | self._taught(continues=link.continues)
        self._is_chain = True
        yield from self._add_teacher(member, record)
        self.networks, self.logits, self.taught_by = [member.network], None, (member.role,)

    def train_together(self, members: Sequence[Member]) -> Iterator[Stage]:
        """Train networks at the same time, each as a student of the others; the last one is the KD student."""
        self._number += 1
        # All see the same batches; each begins with weights of its own.
        student = members[-1]
        configs = [mutual_recipe(student.config, member.config) for member in members[:-1]] + [student.config]
        networks, roles = [member.network for member in members], [member.role for member in members]
        name = " and ".join(roles)
        for progress in self.trainer.fit_together(roles, networks, configs):
            yield Stage(name, self._number, self.count, progress[-1])
        for member, config in zip(members, configs, strict=True):
            trained = replace(member, config=config)
            record = self._record(trained, self.trainer.train, distilled=True) | {"mutual": True}
            record |= {"taught_by": [role for role in roles if role != member.role]}
            if member.config.seed != config.seed:
                record["weights_seed"] = member.config.seed
            yield from self._add_teacher(trained, record)

    def train_student(self, student: Member, start: str, *, continues: bool = False) -> Iterator[Stage]:
        """Train the KD student, or the student alone.

        Args:
            student: The student.
            start: The name in the store of the weights that it begins with; or empty.
            continues: Whether it begins with the weights of the network that teaches it instead.
        """
        distilled = student.role == Role.KD_STUDENT
        if continues:
            student.network.load_state_dict(self.networks[0].state_dict())
        if distilled:
            training = yield from self._distil(student, continues=continues)
        else:
            self._number += 1
            training = self.trainer.train
            steps = self.trainer.fit(student.role, student.network, training, student.config)
            yield from training_stages(student.role, self._number, self.count, steps)
        record = self._record(student, training, distilled=distilled)
        record |= self._taught(continues=continues) if distilled and (self._is_chain or continues) else {}
        record |= ({"start": start} if start and not continues else {}) | doubts_record(self._taken_doubts())
        self.experiment.add_run(student.role, student.source.name, student.network, record, {})

    def _distil(self, member: Member, *, continues: bool) -> Generator[Stage, None, LabelledImages]:
        """Train a network with its teachers; returns its training samples."""
        self._number += 1
        training, soft = self.trainer.kd_training_set(self.networks, self.logits)
        steps = self.trainer.fit(member.role, member.network, training, member.config, soft, self.networks, self.logits)
        if continues:  # that a teacher says nothing new to a network with its own weights is no doubt about it
            steps = (replace(progress, warnings=()) for progress in steps)
        yield from training_stages(member.role, self._number, self.count, steps)
        return training

    def _add_teacher(self, member: Member, record: dict[str, Any]) -> Iterator[Stage]:
        """Add the run of a network that others learn from, with the doubts about its predictions."""
        network, trainer = member.network.eval().requires_grad_(False), self.trainer
        check_teacher(network, self.experiment.classes, trainer.train.classes)
        doubts = trainer.validation_doubts(member.role, network, pretrained=member.source.trained)
        yield from doubt_stages(member.role, self._number, self.count, doubts)
        record |= doubts_record([*doubts, *self._taken_doubts()])
        self.experiment.add_run(member.role, member.source.name, network, record, {})

    def _record(
        self, member: Member, training: LabelledImages, *, distilled: bool, is_student: bool = True
    ) -> dict[str, Any]:
        record = training_record(member.config, training, self.splits[Split.VALIDATION], distilled=distilled)
        record |= self.trainer.provenance(member.source)
        return record | planted_record(self.shortcut, is_student=is_student)

    def _taught(self, *, continues: bool) -> dict[str, Any]:
        """Who taught a network of a chain, and whether it began with that network's weights."""
        return {"taught_by": list(self.taught_by or (Role.TEACHER,))} | ({"continues": True} if continues else {})

    def _taken_doubts(self) -> list[Doubt]:
        doubts, self.doubts = self.doubts, []
        return doubts
