"""The Pareto front of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdviz.studies.search.objectives import Objective


def on_front(rows: Sequence[Mapping[str, Any]], objectives: Sequence[Objective]) -> list[bool]:
    """Whether each row is on the front: none is at least as good in all objectives and better in one.

    Args:
        rows: Rows with the objectives' columns.
        objectives: The objectives.
    """
    if not rows:
        return []
    signs = np.array([1.0 if objective.higher else -1.0 for objective in objectives])
    values = signs * np.array([[row[objective.column] for objective in objectives] for row in rows], float)  # (N, M)
    no_worse = np.all(values[:, None] >= values[None], axis=2)  # (N, N)
    better = np.any(values[:, None] > values[None], axis=2)
    return (~np.any(no_worse & better, axis=0)).tolist()


def winner_of(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The complete trial with the highest validation accuracy, the first of several; it is on every front.

    Of equally accurate ones the first that is on the front.
    """
    complete = [row for row in rows if row["state"] == "complete"]
    return max(complete, key=lambda row: (row["accuracy"], row["front"]))
