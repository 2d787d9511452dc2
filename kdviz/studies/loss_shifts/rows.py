"""The rows of a study of losses on shifted pictures, from the answers of all students."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.core.vocabulary import Role
from kdviz.metrics import paired_difference
from kdviz.metrics.uncertainty import holm
from kdviz.studies.shifts.rows import Answers
from kdviz.studies.shifts.table import ACCURACY, ALL, MEASURES, UNSHIFTED
from kdviz.studies.sweep.loss_values import DEFAULT_LOSS

Row = dict[str, Any]

ALONE = ""
"""Instead of a loss: the student alone."""


@dataclass(frozen=True)
class StudentAnswers:
    """Answers of a teacher and of the students of several losses.

    Attributes:
        answers: Those of ``teacher`` and of each student, by its key.
        keys: Loss, or ``ALONE`` -> keys of its students, in the order of their seeds, which all losses share.
    """

    answers: Answers
    keys: Mapping[str, Sequence[str]]

    @property
    def losses(self) -> list[str]:
        return [loss for loss in self.keys if loss != ALONE]

    def scores(self, measure: str, loss: str, rows: np.ndarray) -> np.ndarray:
        """Share of right answers, or of answers that are the teacher's, to each picture: (seeds, pictures).

        Args:
            measure: One of ``MEASURES``.
            loss: The loss, or ``ALONE``.
            rows: Conditions over which the mean is taken; see :meth:`Answers.places`.
        """
        return np.stack([self.answers.hits(measure, key)[rows].mean(0) for key in self.keys[loss]])

    def places(self) -> dict[str, np.ndarray]:
        """Shift -> rows of the answers that belong there, over all severities."""
        return {shift: rows for (shift, severity), rows in self.answers.places().items() if severity is None}


def rows_of(students: StudentAnswers) -> list[Row]:
    """All rows of the table."""
    rows = [*_teacher(students.answers), *_shares(students)]
    for measure in MEASURES:
        rows += _differences(
            students, measure, DEFAULT_LOSS, [loss for loss in students.losses if loss != DEFAULT_LOSS]
        )
        rows += _differences(students, measure, ALONE, students.losses)
    return [{"less": "", "beyond": False, **row} for row in rows]


def _teacher(answers: Answers) -> Iterator[Row]:
    for (shift, severity), which in answers.places().items():
        if severity is None:
            value = float(answers.hits(ACCURACY, Role.TEACHER)[which].mean())
            yield {"measure": ACCURACY, "shift": shift, "role": Role.TEACHER, "value": value}


def _shares(students: StudentAnswers) -> Iterator[Row]:
    for measure in MEASURES:
        for loss in students.keys:
            for shift, which in students.places().items():
                value = float(students.scores(measure, loss, which).mean())
                yield {"measure": measure, "shift": shift, "value": value, **_names(loss)}


def _names(loss: str) -> Row:
    return {"role": Role.STUDENT} if loss == ALONE else {"role": Role.KD_STUDENT, "loss": loss}


def _differences(students: StudentAnswers, measure: str, less: str, losses: Sequence[str]) -> list[Row]:
    """How much more of a measure the students of each loss have than those of another one, or alone."""
    rows = [row for loss in losses for row in _compared(students, measure, loss, less)]
    for beyond in (False, True):
        for is_single in (False, True):
            family = [row for row in rows if row["beyond"] == beyond and _is_single(row["shift"]) == is_single]
            family = [row for row in family if row["shift"] != UNSHIFTED]
            for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
                row["p_adjusted"] = adjusted
    return rows


def _is_single(shift: str) -> bool:
    return shift not in (ALL, UNSHIFTED)


def _compared(students: StudentAnswers, measure: str, loss: str, less: str) -> Iterator[Row]:
    """The difference at each shift, and what of it is beyond that on the unshifted pictures."""
    names = {"measure": measure, "less": less or Role.STUDENT, **_names(loss)}
    places = students.places()
    unshifted = [students.scores(measure, each, places[UNSHIFTED]) for each in (loss, less)]
    for shift, which in places.items():
        own, other = (students.scores(measure, each, which) for each in (loss, less))
        yield {"shift": shift, "beyond": False, **names, **_estimate(other, own)}
        if shift != UNSHIFTED:
            yield {"shift": shift, "beyond": True, **names, **_estimate(unshifted[0] - unshifted[1], own - other)}


def _estimate(first: np.ndarray, second: np.ndarray) -> Row:
    difference = paired_difference(first, second)
    return {
        "value": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": difference.p_value,
    }
