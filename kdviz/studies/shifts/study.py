"""A study of shifted pictures: the answers of an experiment's models, and what their differences come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, ModelError, SettingError
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.shifts.drawing import require_severities
from kdviz.data.shifts.registry import SEVERITIES, shifts
from kdviz.data.shortcuts.planting import KEY as PLANTED
from kdviz.experiment import Experiment, Run
from kdviz.studies.shifts.asking import Asking, require_labelled
from kdviz.studies.shifts.rows import rows_of
from kdviz.studies.shifts.table import SECOND, TABLE

_NEEDED = (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT)


@dataclass
class ShiftsStudy:
    """Which of an experiment's models are right on shifted pictures, and which answer as their teacher does.

    Args:
        experiment: The experiment.
        samples: Pictures with labels, none of which was trained on.
        names: Names of the shifts; empty: all there are.
        severities: From 1 to 5.
        seed: Of what is random in the shifts.
        device: Where the models compute.
        second: A second student alone; see :func:`second_student`. None: there is none.
        about: What else the table is to say of how it was made.

    Attributes:
        left_out: Role -> why it is not studied.

    Raises:
        DatasetError: There are too few pictures, or some have no label.
        ExperimentError: There is no teacher, KD student or student alone.
        SettingError: There is no such severity.
        UnknownNameError: There is no such shift.
    """

    experiment: Experiment
    samples: LabelledImages
    names: Sequence[str] = ()
    severities: Sequence[int] = SEVERITIES
    seed: int = 0
    device: str = "auto"
    second: Run | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = list(dict.fromkeys(self.names)) or sorted(shifts)
        self.severities = sorted(set(self.severities))
        self.left_out: dict[str, str] = {}
        for name in self.names:
            _ = shifts[name]  # an error where it is not known
        require_severities(self.severities)
        require_labelled(self.samples)
        for role in _NEEDED:
            if role not in self.experiment.runs:
                raise ExperimentError(
                    "A study of shifts compares a KD student and the same student alone by one teacher, and "
                    "'{folder}' has no {role}.",
                    folder=self.experiment.folder,
                    role=role,
                )

    def run(self) -> Iterator[float]:
        """Compute everything and write the table; the share that is done, after each shift and severity."""
        asking = Asking(self.samples, self.names, self.severities, self.seed, self.experiment.input, self.device)
        answers = yield from asking.ask(self._models())
        TABLE.write(self.experiment, rows_of(answers), self._about())
        yield 1.0

    def _models(self) -> dict[str, nn.Module]:
        """The models that are studied: those of the experiment, then the second student alone."""
        device, models = choose_device(self.device), {}
        second = {} if self.second is None else {SECOND: self.second}
        for role, run in {**self.experiment.runs, **second}.items():
            try:
                models[str(role)] = run.on(device)
            except ModelError as error:
                if role in _NEEDED:
                    raise
                self.left_out[role] = error.sentence
        return models

    def _about(self) -> dict[str, Any]:
        return {
            "pictures": len(self.samples),
            "split": self.samples.split,
            "seed": self.seed,
            "shifts": list(self.names),
            "severities": list(self.severities),
            "left_out": self.left_out,
            "second": None if self.second is None else self.second.sha256,
            **self.about,
        }


def second_student(experiment: Experiment, other: Experiment) -> Run:
    """The student alone of another experiment, which differs from this one's by the chance of its training.

    Args:
        experiment: The experiment.
        other: One of the same data and networks, of another seed.

    Raises:
        ExperimentError: One of them has no student alone.
        SettingError: Networks, classes or inputs differ, or both are the same model.
    """
    first, second = (each.runs.get(Role.STUDENT) for each in (experiment, other))
    for run, of in ((first, experiment), (second, other)):
        if run is None:
            raise ExperimentError("'{folder}' has no student alone.", folder=of.folder)
        if not run.has_model:
            raise ExperimentError("Only predictions are known of the student alone of '{folder}'.", folder=of.folder)
    assert first is not None
    assert second is not None
    if (experiment.dataset, _recipe(first)) != (other.dataset, _recipe(second)):
        raise SettingError(
            "The students alone of '{folder}' and '{other}' were trained on other data or by another recipe, so that "
            "more than the seed makes their difference.",
            folder=experiment.folder,
            other=other.folder,
        )
    if (first.network, experiment.classes, first.spec) != (second.network, other.classes, second.spec):
        raise SettingError(
            "The students alone of '{folder}' and '{other}' have other networks, classes or inputs, so that more than "
            "the seed makes their difference.",
            folder=experiment.folder,
            other=other.folder,
        )
    if first.sha256 == second.sha256:
        raise SettingError(
            "The student alone of '{other}' is that of '{folder}'; name an experiment of another seed.",
            folder=experiment.folder,
            other=other.folder,
        )
    return second


def _recipe(run: Run) -> dict[str, Any]:
    """What decides a training beside its seed, as it was recorded."""
    names = ("epochs", "batch_size", "learning_rate", "learning_rate_schedule", "optimizer", "weight_decay")
    names += ("augment", "label_smoothing", "class_weights", "labelled", "train_samples", "unfreeze", PLANTED)
    return {name: run.training[name] for name in names if run.training.get(name)}
