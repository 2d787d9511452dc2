"""What takes the ground from a verdict, or limits it: models that are right by chance, classes never predicted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdviz.compress.cost import wilson
from kdviz.core.language import _, listed, number, percent, plural
from kdviz.studies.predictions.mistakes import Predictions

CHANCE, NEVER = "chance", "never"
_SHOWN = 3  # names of classes in a sentence


@dataclass(frozen=True)
class Reservation:
    """One, about one model.

    Attributes:
        kind: ``chance``: its accuracy is not above chance beyond its 95 % interval. ``never``: it never predicts some
            classes.
        role: Whose.
        accuracy, chance: Shares.
        low: Of the accuracy's interval.
        samples: How many.
        classes: Names of those that are never predicted.
    """

    kind: str
    role: str
    accuracy: float
    low: float
    chance: float
    samples: int
    classes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """In the reader's language."""
        if self.kind == CHANCE:
            return _CHANCES.get(self.role, _any_chance)(
                accuracy=percent(self.accuracy, 1),
                samples=plural("{count} sample", "{count} samples", self.samples),
                chance=percent(self.chance, 1),
                model=self.role,
            )
        names = listed(self.classes[:_SHOWN])
        if len(self.classes) > _SHOWN:
            names = _("{names} and {count} more", names=names, count=number(len(self.classes) - _SHOWN))
        return _NEVERS.get(self.role, _any_never)(names=names, model=self.role)


_CHANCES = {
    "teacher": lambda **values: _(
        "The teacher is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values
    ),
    "kd_student": lambda **values: _(
        "The KD student is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values
    ),
    "student": lambda **values: _(
        "The student alone is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values
    ),
}
_NEVERS = {
    "teacher": lambda **values: _("The teacher never predicts {names}.", **values),
    "kd_student": lambda **values: _("The KD student never predicts {names}.", **values),
    "student": lambda **values: _("The student alone never predicts {names}.", **values),
}


def _any_chance(**values: str) -> str:
    return _("{model} is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values)


def _any_never(**values: str) -> str:
    return _("{model} never predicts {names}.", **values)


def reservations(said: Predictions, classes: Sequence[str]) -> list[Reservation]:
    """Of every model, in the order of the predictions; those about chance first.

    Chance is what a model reaches that has learned nothing from a picture: 1 / classes, or the share of the largest
    class, which one reaches that always says it. A class counts as never predicted when it has so many samples that a
    model of this accuracy would miss all of them less often than once in 20 / classes times: with few samples of a
    class it says nothing that none was recognised.
    """
    if not len(said.labels) or not said.labelled:
        return []
    every = [_standing(said, role, classes) for role in said.predicted]
    chance = [one for one in every if one.low <= one.chance]
    never = [replace(one, kind=NEVER, classes=_never(said, one, classes)) for one in every]
    return chance + [one for one in never if one.classes]


def chance_of(labels: np.ndarray, classes: int) -> float:
    """The accuracy of a model that has learned nothing from a picture; NaN without samples."""
    return max(1 / classes, float(np.bincount(labels).max() / len(labels))) if len(labels) else math.nan


def _standing(said: Predictions, role: str, classes: Sequence[str]) -> Reservation:
    """A model beside chance."""
    count, accuracy = len(said.labels), float(said.right(role).mean())
    chance = chance_of(said.labels, len(classes))
    return Reservation(CHANCE, role, accuracy, wilson(accuracy, count)[0], chance, count)


def _never(said: Predictions, one: Reservation, classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes that a model never predicts, and should have."""
    held, spoken = (np.bincount(values, minlength=len(classes)) for values in (said.labels, said.predicted[one.role]))
    missed = (held > 0) & (spoken[: len(held)] == 0) & ((1 - one.accuracy) ** held < 0.05 / len(classes))
    return tuple(classes[int(place)] for place in np.flatnonzero(missed))
