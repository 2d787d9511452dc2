"""What rules out a verdict or limits it: models whose accuracy is at chance, and classes never predicted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdviz.compress.cost import wilson
from kdviz.core.language import _, listed, number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.studies.predictions.mistakes import Predictions

CHANCE, NEVER = "chance", "never"
_SHOWN = 3  # names of classes that a sentence lists


@dataclass(frozen=True)
class Reservation:
    """A reservation about one model.

    Attributes:
        kind: ``chance``: its accuracy is not above chance beyond its 95 % interval. ``never``: it never predicts some
            classes.
        role: Role of the model.
        accuracy, chance: Its accuracy, and that of a model that learned nothing, as shares.
        low: Lower end of the accuracy's 95 % interval.
        samples: Number of samples.
        classes: Names of the classes that are never predicted.
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
        """The reservation in the reader's language."""
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


_CHANCES: Mapping[str, Callable[..., str]] = {
    Role.TEACHER: lambda **values: _(
        "The teacher is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values
    ),
    Role.KD_STUDENT: lambda **values: _(
        "The KD student is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values
    ),
    Role.STUDENT: lambda **values: _(
        "The student alone is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values
    ),
}
_NEVERS: Mapping[str, Callable[..., str]] = {
    Role.TEACHER: lambda **values: _("The teacher never predicts {names}.", **values),
    Role.KD_STUDENT: lambda **values: _("The KD student never predicts {names}.", **values),
    Role.STUDENT: lambda **values: _("The student alone never predicts {names}.", **values),
}


def _any_chance(**values: str) -> str:
    return _("{model} is right on {accuracy} of {samples}, which is not above chance ({chance}).", **values)


def _any_never(**values: str) -> str:
    return _("{model} never predicts {names}.", **values)


def reservations(predictions: Predictions, classes: Sequence[str]) -> list[Reservation]:
    """The reservations about all models, in the order of the predictions; those about chance come first.

    Chance is the accuracy of a model that has learned nothing from a picture: 1 / classes, or the share of the largest
    class, which a model reaches that always predicts it. A class counts as never predicted when it has so many samples
    that a model of this accuracy would miss all of them with a probability below 0.05 / classes: with few samples of a
    class it means nothing that none was recognised.
    """
    if not len(predictions.labels) or not predictions.labelled:
        return []
    at_chance = [_beside_chance(predictions, role, classes) for role in predictions.predicted]
    chance = [reservation for reservation in at_chance if reservation.low <= reservation.chance]
    never = [
        replace(reservation, kind=NEVER, classes=_never_predicted(predictions, reservation, classes))
        for reservation in at_chance
    ]
    return chance + [reservation for reservation in never if reservation.classes]


def chance_of(labels: np.ndarray, classes: int) -> float:
    """The accuracy of a model that has learned nothing from a picture; NaN without samples."""
    return max(1 / classes, float(np.bincount(labels).max() / len(labels))) if len(labels) else math.nan


def _beside_chance(predictions: Predictions, role: str, classes: Sequence[str]) -> Reservation:
    """A model's accuracy compared with chance."""
    count, accuracy = len(predictions.labels), float(predictions.right(role).mean())
    chance = chance_of(predictions.labels, len(classes))
    return Reservation(CHANCE, role, accuracy, wilson(accuracy, count)[0], chance, count)


def _never_predicted(predictions: Predictions, reservation: Reservation, classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes that a model never predicts although it should."""
    occurring, predicted = (
        np.bincount(values, minlength=len(classes))
        for values in (predictions.labels, predictions.predicted[reservation.role])
    )
    missed = (
        (occurring > 0)
        & (predicted[: len(occurring)] == 0)
        & ((1 - reservation.accuracy) ** occurring < 0.05 / len(classes))
    )
    return tuple(classes[int(index)] for index in np.flatnonzero(missed))
