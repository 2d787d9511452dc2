"""A study of shifted pictures: the answers of an experiment's models, and what their differences come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import DatasetError, ExperimentError, ModelError
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.shifts.drawing import require_severities, shifted
from kdviz.data.shifts.registry import SEVERITIES, shifts
from kdviz.experiment import Experiment
from kdviz.studies.shifts.rows import Answers, rows_of
from kdviz.studies.shifts.table import TABLE, UNSHIFTED

FEWEST = 2
"""Pictures of a study, at least: intervals are over pictures."""

_NEEDED = (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT)
_BATCH = 250


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
        nulls: Further models, name -> module, beside the student alone, such as one of another seed.
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
    nulls: Mapping[str, nn.Module] = field(default_factory=dict)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = list(dict.fromkeys(self.names)) or sorted(shifts)
        self.severities = sorted(set(self.severities))
        self.left_out: dict[str, str] = {}
        for name in self.names:
            _ = shifts[name]  # an error where it is not known
        require_severities(self.severities)
        _require_labelled(self.samples)
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
        models = self._models()
        conditions = [(UNSHIFTED, None), *product(self.names, self.severities)]
        predicted: dict[str, list[np.ndarray]] = {role: [] for role in models}
        for number, (name, severity) in enumerate(conditions, 1):
            images = self.samples.images
            images = images if severity is None else shifted(images, name, severity, self.seed)
            for role, model in models.items():
                predicted[role].append(self._answers(model, images))
            yield number / (len(conditions) + 1)
        answers = Answers(
            {role: np.stack(rows) for role, rows in predicted.items()},
            self.samples.labels.numpy(),
            tuple(self.names),
            tuple(self.severities),
        )
        TABLE.write(self.experiment, rows_of(answers, tuple(self.nulls)), self._about())
        yield 1.0

    def _models(self) -> dict[str, nn.Module]:
        """The models that are studied: those of the experiment, then those of the null."""
        device, models = choose_device(self.device), {}
        for role, run in self.experiment.runs.items():
            try:
                models[str(role)] = run.on(device)
            except ModelError as error:
                if role in _NEEDED:
                    raise
                self.left_out[role] = error.sentence
        return models | {name: model.to(device).eval() for name, model in self.nulls.items()}

    def _answers(self, model: nn.Module, images: Tensor) -> np.ndarray:
        """The class that a model gives each picture, (N,)."""
        device, normalise = choose_device(self.device), self.experiment.input.normalise
        with torch.no_grad():
            parts = [model(normalise(part.to(device))).argmax(1).cpu() for part in images.split(_BATCH)]
        return torch.cat(parts).numpy()

    def _about(self) -> dict[str, Any]:
        return {
            "pictures": len(self.samples),
            "split": self.samples.split,
            "seed": self.seed,
            "shifts": list(self.names),
            "severities": list(self.severities),
            "nulls": list(self.nulls),
            "left_out": self.left_out,
            **self.about,
        }


def _require_labelled(samples: LabelledImages) -> None:
    if len(samples) < FEWEST:
        raise DatasetError(
            "A study of shifts needs at least {fewest} pictures, and there are {count}.",
            fewest=FEWEST,
            count=len(samples),
        )
    if bool((samples.labels < 0).any()):
        raise DatasetError("A study of shifts needs the class of each picture, and some of these have none.")
