"""What a network has learned of new classes and forgotten of old ones, from incremental.parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.metrics import Difference, paired_difference

TABLE = "incremental"
OLD, FINE_TUNED, WITHOUT_FORGETTING, JOINT = "old", "fine_tuned", "without_forgetting", "joint"
NEW_TEACHER = "new_teacher"
METHODS = (OLD, FINE_TUNED, WITHOUT_FORGETTING, JOINT)
"""Those of every study; one with a teacher of the new classes has :data:`NEW_TEACHER` as well."""
LABEL = "label"


@dataclass(frozen=True)
class MethodAccuracy:
    """Accuracies of one method over the seeds, in [0, 1], each as a difference from 0 with its interval.

    Attributes:
        method: One of :data:`METHODS`, or :data:`NEW_TEACHER`.
        old, new: Accuracy on the test samples of the old classes, and of the new ones, where the network is told of
            which a sample is, as Li and Hoiem (2016) measure.
        all: Accuracy on all, among all classes.
    """

    method: str
    old: Difference
    new: Difference
    all: Difference


@dataclass(frozen=True)
class IncrementalReport:
    """A study of new classes.

    Attributes:
        old_classes: Number of the old classes, which come first.
        accuracies: Each method's.
        old, new, all: Accuracy of learning without forgetting less that of fine-tuning, as in
            :class:`MethodAccuracy`.
        taught: Accuracy on the new classes of the network that has a teacher of these less that of learning without
            forgetting from their labels alone; None without such a teacher.
    """

    old_classes: int
    accuracies: tuple[MethodAccuracy, ...]
    old: Difference
    new: Difference
    all: Difference
    taught: Difference | None = None


def read_incremental_report(experiment: Experiment) -> IncrementalReport | None:
    """The report of an experiment; None without the table.

    Raises:
        ExperimentError: The table is damaged.
    """
    if not experiment.has_table(TABLE):
        return None
    rows = experiment.table(TABLE).to_pylist()
    labels = next((np.array(row["predicted"]) for row in rows if row["method"] == LABEL), None)
    there = {row["method"] for row in rows}
    if labels is None or not there.issuperset(METHODS):
        raise ExperimentError("This experiment's {table}.parquet is damaged; make it anew.", table=TABLE)
    old_classes = int(rows[0]["old_classes"])
    right = {
        method: _right([row for row in rows if row["method"] == method], labels, old_classes)
        for method in (*METHODS, NEW_TEACHER)
        if method in there
    }
    accuracies = tuple(
        MethodAccuracy(method, *(paired_difference(np.zeros_like(table), table) for table in tables))
        for method, tables in right.items()
    )
    differences = [paired_difference(*pair) for pair in zip(right[FINE_TUNED], right[WITHOUT_FORGETTING], strict=True)]
    taught = None
    if NEW_TEACHER in right:
        taught = paired_difference(right[WITHOUT_FORGETTING][1], right[NEW_TEACHER][1])
    return IncrementalReport(old_classes, accuracies, *differences, taught=taught)


def _right(rows: list[dict[str, Any]], labels: np.ndarray, old_classes: int) -> tuple[np.ndarray, ...]:
    """Where a method is right, bool (seeds, samples): of old classes, of new ones, and of all."""
    told, predicted = (np.array([row[name] for row in rows]) == labels for name in ("told", "predicted"))
    is_old = labels < old_classes
    return told[:, is_old], told[:, ~is_old], predicted
