"""The rows of a study of shifted pictures, from the models' answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.core.vocabulary import Role
from kdviz.metrics.proportions import paired_means
from kdviz.metrics.uncertainty import holm
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, MEASURES, SECOND, UNSHIFTED

Row = dict[str, Any]
Place = tuple[str, int | None]
"""Name of a shift, and severity; None: the mean over severities."""


@dataclass(frozen=True)
class Answers:
    """The answers of all models to the same pictures.

    Attributes:
        predicted: Role -> classes, int64 (1 + shifts * severities, N): of the pictures as they are, and then of each
            shift all severities.
        labels: Ground truth, int64 (N,).
        shifts: Names.
        severities: In their order.
    """

    predicted: Mapping[str, np.ndarray]
    labels: np.ndarray
    shifts: tuple[str, ...]
    severities: tuple[int, ...]

    def hits(self, measure: str, role: str) -> np.ndarray:
        """Whether an answer is right, or the teacher's: bool, of the shape of ``predicted``."""
        wanted = self.labels if measure == ACCURACY else self.predicted[Role.TEACHER]
        return self.predicted[role] == wanted

    def places(self) -> dict[Place, np.ndarray]:
        """Shift and severity -> rows of ``predicted`` whose mean belongs there."""
        count = len(self.severities)
        grid = 1 + np.arange(len(self.shifts) * count).reshape(len(self.shifts), count)
        places: dict[Place, np.ndarray] = {(UNSHIFTED, None): np.array([0]), (ALL, None): grid.ravel()}
        places |= {(ALL, severity): grid[:, column] for column, severity in enumerate(self.severities)}
        for name, row in zip(self.shifts, grid, strict=True):
            places[name, None] = row
            places |= {(name, severity): row[[column]] for column, severity in enumerate(self.severities)}
        return places


def rows_of(answers: Answers) -> list[Row]:
    """All rows of the table: every model's shares, and what the KD student and a second student alone have more."""
    rows = [
        {"measure": measure, "shift": shift, "severity": severity, "role": role, "value": float(hits[which].mean())}
        for measure in MEASURES
        for role in answers.predicted
        if (measure, role) != (AGREEMENT, Role.TEACHER)
        for hits in [answers.hits(measure, role)]
        for (shift, severity), which in answers.places().items()
    ]
    for measure in MEASURES:
        for role in (Role.KD_STUDENT, SECOND):
            rows += _differences(answers, measure, role) if role in answers.predicted else []
    return [{"less": "", "beyond": False, **row} for row in rows]


def _differences(answers: Answers, measure: str, role: str) -> list[Row]:
    """How much more of a measure a model has than the student alone; p-values hold for all shifts together."""
    rows = list(_compared(answers, measure, role))
    for beyond in (False, True):
        family = [row for row in rows if row["beyond"] == beyond and row["severity"] is None and _is_one(row["shift"])]
        for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["p_adjusted"] = adjusted
    return rows


def _is_one(shift: str) -> bool:
    """Whether it is the name of a shift."""
    return shift not in (UNSHIFTED, ALL)


def _compared(answers: Answers, measure: str, role: str) -> Iterator[Row]:
    own, alone = (answers.hits(measure, each) for each in (role, Role.STUDENT))
    unshifted = own[0].astype(float) - alone[0]
    for (shift, severity), which in answers.places().items():
        shares = own[which].mean(0), alone[which].mean(0)
        names = {"measure": measure, "shift": shift, "severity": severity, "role": role, "less": Role.STUDENT}
        yield names | {"beyond": False} | _estimate(shares[1], shares[0])
        if severity is None and shift != UNSHIFTED:
            yield names | {"beyond": True} | _estimate(unshifted, shares[0] - shares[1])


def _estimate(first: np.ndarray, second: np.ndarray) -> Row:
    difference = paired_means(first, second)
    return {
        "value": difference.value,
        "low": difference.low,
        "high": difference.high,
        "p_value": difference.p_value,
    }
