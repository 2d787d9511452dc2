"""Samples that a step of compression broke: right with the model it began with, wrong with the one that it made."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from kdviz.core.language import N_
from kdviz.experiment import Experiment
from kdviz.studies.predictions.mistakes import Predictions

_PREFIX = "broken-"
_TITLES = {
    "prune": N_("Broken by pruning: {child}"),
    "qat": N_("Broken by int8 with training: {child}"),
    "int8": N_("Broken by int8: {child}"),
    "int4": N_("Broken by int4: {child}"),
    "seed": N_("Broken by another seed: {child}"),
}
_OTHER_TITLE = N_("Broken on the way to {child}")
_ABOUT = N_("'{parent}' is right, '{child}', which was made from it, is wrong.")


@dataclass(frozen=True)
class GroupWords:
    """The title and the meaning of a group of samples, as templates to be translated, with their values."""

    title: str
    about: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MadeRun:
    """A run that was made from another one.

    Attributes:
        role: Its role.
        parent: Role of the other one.
        step: How it was made, as experiment.json has it: ``prune 0.5``, ``int8``...
    """

    role: str
    parent: str
    step: str

    @property
    def group(self) -> str:
        """Name of the group of samples that the step broke."""
        return f"{_PREFIX}{self.role}"

    @property
    def words(self) -> GroupWords:
        title = _TITLES.get(self.step.partition(" ")[0], _OTHER_TITLE)
        return GroupWords(title, _ABOUT, {"parent": self.parent, "child": self.role})


def made_runs(experiment: Experiment, predictions: Predictions) -> list[MadeRun]:
    """The runs that were made from another one, where both are predicted on samples with labels."""
    if not predictions.labelled:
        return []
    runs = [MadeRun(run.role, run.parent, run.made_by) for run in experiment.runs.values() if run.parent]
    return [run for run in runs if {run.role, run.parent} <= set(predictions.predicted)]


def broken(predictions: Predictions, run: MadeRun) -> np.ndarray:
    """Where the parent is right and the run is not, bool (N,)."""
    return predictions.right(run.parent) & ~predictions.right(run.role)
