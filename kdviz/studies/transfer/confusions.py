"""Which of the teacher's confusions and errors each model has, from stored logits, as rows of the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kdviz.core.vocabulary import Role
from kdviz.metrics.confusions import (
    ConfusionsWithoutGroups,
    confusions_without_groups,
    grouped_difference,
    groups_of,
)
from kdviz.metrics.proportions import paired_shares
from kdviz.studies.predictions.soft_targets import soft_targets
from kdviz.studies.transfer.rows import Row, interval_values
from kdviz.studies.transfer.table import CONFUSIONS, INHERITED

MOST_CLASSES = 256
"""Classes up to which confusions are compared: their cells are the square."""

ALL = -1
"""The label of a row that is about all classes."""


def confusion_rows(
    logits: Mapping[str, np.ndarray], labels: np.ndarray, temperatures: Sequence[float], seed: int = 0
) -> list[Row]:
    """Rank correlation of each model's confusions with its teacher's, and that of the KD student less that alone.

    Args:
        logits: Role -> (N, classes), with the teacher's.
        labels: int (N,), true classes, from 0.
        temperatures: Of the softmax; 1 gives the probabilities themselves.
        seed: Of the groups of the jackknife.

    Returns:
        Empty for more than ``MOST_CLASSES`` classes, or fewer than three.
    """
    classes = logits[Role.TEACHER].shape[1]
    if not 3 <= classes <= MOST_CLASSES:
        return []
    groups = groups_of(labels, seed)
    rows = []
    for temperature in temperatures:
        known = {
            role: confusions_without_groups(soft_targets(values, temperature), labels, groups)
            for role, values in logits.items()
        }
        rows += [{**row, "temperature": temperature} for row in _correlations(known)]
    return [row for row in rows if row["value"] == row["value"]]


def _correlations(known: Mapping[str, ConfusionsWithoutGroups]) -> list[Row]:
    teacher = known[Role.TEACHER]
    values = {role: own.correlations(teacher) for role, own in known.items() if role != Role.TEACHER}
    rows = [
        {"measure": CONFUSIONS, "role": role, "less": ""}
        | interval_values(grouped_difference(value, 0.0, teacher.pictures))
        for role, value in values.items()
    ]
    if Role.KD_STUDENT not in values or Role.STUDENT not in values:
        return rows
    difference = grouped_difference(values[Role.KD_STUDENT], values[Role.STUDENT], teacher.pictures)
    pair = {"role": Role.KD_STUDENT, "less": Role.STUDENT}
    return [*rows, {"measure": CONFUSIONS, **pair} | interval_values(difference)]


def inherited_rows(predicted: Mapping[str, np.ndarray], labels: np.ndarray) -> list[Row]:
    """Share of the teacher's errors that a model repeats with the same wrong class, of all and of each true class.

    The paired differences of KD student and student alone have score intervals; those of single classes hold together.

    Args:
        predicted: Role -> int (N,), predicted classes, with the teacher's.
        labels: int (N,), true classes.
    """
    wrong = predicted[Role.TEACHER] != labels
    repeated = {role: answers == predicted[Role.TEACHER] for role, answers in predicted.items()}
    classes = np.unique(labels[wrong]).tolist()
    rows = []
    for label in [ALL, *classes]:
        errors = wrong if label == ALL else wrong & (labels == label)
        of_label = {role: same[errors] for role, same in repeated.items() if role != Role.TEACHER}
        if errors.any():
            rows += [{**row, "label": label} for row in _shares(of_label, 1 if label == ALL else len(classes))]
    return rows


def _shares(repeated: Mapping[str, np.ndarray], together: int) -> list[Row]:
    """Rows of one class: ``repeated`` is, for each of the teacher's errors, whether a model repeats it."""
    rows = [
        {"measure": INHERITED, "role": role, "less": "", "value": float(same.mean()), "count": len(same)}
        for role, same in repeated.items()
    ]
    if Role.KD_STUDENT not in repeated or Role.STUDENT not in repeated:
        return rows
    difference = paired_shares(repeated[Role.STUDENT], repeated[Role.KD_STUDENT])
    pair = {"role": Role.KD_STUDENT, "less": Role.STUDENT}
    return [*rows, {"measure": INHERITED, **pair} | interval_values(difference, together)]
