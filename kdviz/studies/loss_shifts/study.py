"""A study of losses on shifted pictures: the answers of a sweep's students, and what their differences come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdviz.core.devices import choose_device
from kdviz.core.errors import SettingError
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.shifts.drawing import require_severities
from kdviz.data.shifts.registry import SEVERITIES, shifts
from kdviz.experiment import Experiment
from kdviz.studies.attention import StudyModel
from kdviz.studies.loss_shifts.rows import ALONE, StudentAnswers, rows_of
from kdviz.studies.loss_shifts.table import TABLE
from kdviz.studies.shifts.asking import Asking, require_labelled
from kdviz.studies.sweep.loss_values import DEFAULT_LOSS

FEWEST_SEEDS = 2
"""Trainings of each loss, at least: intervals are over trainings, too."""


@dataclass
class LossShiftsStudy:
    """With which losses students are right on shifted pictures, and with which they answer as their teacher does.

    Parchami-Araghi et al. (2024, section 4.2) claim that students of explanation losses keep to their teacher's answers
    when the data change.

    Args:
        experiment: The experiment.
        samples: Pictures with labels, none of which was trained on.
        models: The teacher and the students of a sweep of losses; see :func:`kdviz.studies.attention.swept_models`.
        names: Names of the shifts; empty: all there are.
        severities: From 1 to 5.
        seed: Of what is random in the shifts.
        device: Where the models compute.
        about: What else the table is to say of how it was made.

    Raises:
        DatasetError: There are too few pictures, or some have no label.
        SettingError: There is no such severity; the softened targets or another loss are missing; there are fewer than
            two seeds, or not the same of every loss.
        UnknownNameError: There is no such shift.
    """

    experiment: Experiment
    samples: LabelledImages
    models: Sequence[StudyModel]
    names: Sequence[str] = ()
    severities: Sequence[int] = SEVERITIES
    seed: int = 0
    device: str = "auto"
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = list(dict.fromkeys(self.names)) or sorted(shifts)
        self.severities = sorted(set(self.severities))
        for name in self.names:
            _ = shifts[name]  # an error where it is not known
        require_severities(self.severities)
        require_labelled(self.samples)
        self.students = _students(self.models)

    def run(self) -> Iterator[float]:
        """Compute everything and write the table; the share that is done, after each shift and severity."""
        spec, classes, device = self.experiment.input, len(self.experiment.classes), choose_device(self.device)
        teacher = next(model for model in self.models if model.role == Role.TEACHER)
        students = [model for by_seed in self.students.values() for model in by_seed.values()]
        networks = {model.key: model.build(spec, classes).to(device) for model in students}
        networks[Role.TEACHER] = teacher.build(spec, classes).to(device)
        asking = Asking(self.samples, self.names, self.severities, self.seed, spec, self.device)
        answers = yield from asking.ask(networks)
        keys = {loss: [by_seed[seed].key for seed in sorted(by_seed)] for loss, by_seed in self.students.items()}
        TABLE.write(self.experiment, rows_of(StudentAnswers(answers, keys)), self._about())
        yield 1.0

    def _about(self) -> dict[str, Any]:
        return {
            "pictures": len(self.samples),
            "split": self.samples.split,
            "seed": self.seed,
            "seeds": sorted(self.students[ALONE]),
            "shifts": list(self.names),
            "severities": list(self.severities),
            **self.about,
        }


def check_losses(losses: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuse losses and seeds that cannot be compared, before anything is trained.

    Raises:
        SettingError: The softened targets or another loss are missing, or there are fewer than two seeds.
    """
    if DEFAULT_LOSS not in losses or len(set(losses)) < 2:
        raise SettingError(
            "A study of losses on shifted pictures compares others with {reference}; name it and at least one more.",
            reference=DEFAULT_LOSS,
        )
    if len(set(seeds)) < FEWEST_SEEDS:
        raise SettingError(
            "A study of losses on shifted pictures needs at least {fewest} seeds, so that the chance of a training "
            "does not pass for the loss.",
            fewest=FEWEST_SEEDS,
        )


def _students(models: Sequence[StudyModel]) -> dict[str, dict[int, StudyModel]]:
    """Loss -> seed -> student, those alone last."""
    students: dict[str, dict[int, StudyModel]] = {}
    roles = {Role.KD_STUDENT: lambda model: str(model.value), Role.STUDENT: lambda _: ALONE}
    for role, loss_of in roles.items():
        for model in models:
            if model.role == role:
                students.setdefault(loss_of(model), {})[int(model.seed or 0)] = model
    check_losses([loss for loss in students if loss != ALONE], list(students.get(ALONE, {})))
    if any(by_seed.keys() != students[ALONE].keys() for by_seed in students.values()):
        raise SettingError("The losses were not trained with the same seeds; a study compares those of one seed.")
    return students
