"""The trainings of an experiment, one after the other: each yields its progress and adds its run to the experiment."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from kdviz.core.vocabulary import Role
from kdviz.data.doubts import Doubt
from kdviz.distill.checks import check_teacher, logits_doubts
from kdviz.distill.config import TrainingConfig
from kdviz.distill.sources import ModelSource
from kdviz.distill.stages import (
    Stage,
    doubt_stages,
    doubts_record,
    making_stages,
    training_record,
    training_stages,
)
from kdviz.distill.teaching.settings import Link, mutual_recipe
from kdviz.distill.transfer_sets.making import StudentData
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
        count: Number of trainings.
        doubts: Doubts about the data, which the next run's record takes.
        networks, logits: Who teaches the next student: networks, or given logits.
        taught_by: The roles of these networks.
    """

    trainer: ExperimentTrainer
    experiment: Experiment
    count: int
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
            data = StudentData(self.trainer.teacher_train, self.trainer.validation)
            steps = self.trainer.fit(teacher.role, teacher.network, data, teacher.config)
            yield from training_stages(teacher.role, self._number, self.count, steps)
            record = self._record(teacher, data, distilled=False, is_student=False)
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
        data = yield from self._distil(member, continues=link.continues)
        record = self._record(member, data, distilled=True) | self._taught(continues=link.continues)
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
        data = StudentData(self.trainer.train, self.trainer.validation)
        for member, config in zip(members, configs, strict=True):
            trained = replace(member, config=config)
            record = self._record(trained, data, distilled=True) | {"mutual": True}
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
            data = yield from self._distil(student, continues=continues)
        else:
            self._number += 1
            data = StudentData(self.trainer.train, self.trainer.validation)
            steps = self.trainer.fit(student.role, student.network, data, student.config)
            yield from training_stages(student.role, self._number, self.count, steps)
        record = self._record(student, data, distilled=distilled)
        record |= self._taught(continues=continues) if distilled and (self._is_chain or continues) else {}
        record |= ({"start": start} if start and not continues else {}) | doubts_record(self._taken_doubts())
        self.experiment.add_run(student.role, student.source.name, student.network, record, {}, student.source.input)

    def _distil(self, member: Member, *, continues: bool) -> Generator[Stage, None, StudentData]:
        """Train a network with its teachers; returns what it was trained on."""
        self._number += 1
        made = self.trainer.kd_data(self.networks, self.logits, member.source.name)
        data = yield from making_stages(member.role, self._number, self.count, made)
        steps = self.trainer.fit(member.role, member.network, data, member.config, self.networks, self.logits)
        if continues:  # that a teacher says nothing new to a network with its own weights is no doubt about it
            steps = (replace(progress, warnings=()) for progress in steps)
        yield from training_stages(member.role, self._number, self.count, steps)
        return data

    def _add_teacher(self, member: Member, record: dict[str, Any]) -> Iterator[Stage]:
        """Add the run of a network that others learn from, with the doubts about its predictions."""
        network, trainer = member.network.eval().requires_grad_(False), self.trainer
        check_teacher(network, self.experiment.classes, trainer.train.classes)
        doubts = trainer.validation_doubts(member.role, network, pretrained=member.source.trained)
        yield from doubt_stages(member.role, self._number, self.count, doubts)
        record |= doubts_record([*doubts, *self._taken_doubts()])
        self.experiment.add_run(member.role, member.source.name, network, record, {}, member.source.input)

    def _record(self, member: Member, data: StudentData, *, distilled: bool, is_student: bool = True) -> dict[str, Any]:
        record = training_record(member.config, data.training, data.validation, distilled=distilled)
        record |= self.trainer.provenance(member.source)
        return record | self.trainer.planted(distilled=distilled, is_student=is_student)

    def _taught(self, *, continues: bool) -> dict[str, Any]:
        """Who taught a network of a chain, and whether it began with that network's weights."""
        return {"taught_by": list(self.taught_by or (Role.TEACHER,))} | ({"continues": True} if continues else {})

    def _taken_doubts(self) -> list[Doubt]:
        doubts, self.doubts = self.doubts, []
        return doubts
