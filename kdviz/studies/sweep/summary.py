"""A summary of a study's table: the figures of each value, over its seeds."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import torch

from kdviz.core.vocabulary import Split
from kdviz.studies.sweep.kinds import STUDIES

_MEANS = (
    "loss",
    "ece",
    "f1",
    "auc",
    "same_as_teacher",
    "kl_to_teacher",
    "inherited_errors",
    "fixed",
    "broken",
    "best_epoch",
    "seconds",
)


def summary(table: pa.Table, study: str, split: str = Split.TEST) -> list[dict[str, Any]]:
    """Mean and spread over seeds for each value of a study, and for the student alone (value None).

    Args:
        table: The study's table.
        study: One of ``STUDIES``.
        split: Split of the figures.

    Returns:
        Dicts with role, value, seeds, accuracy, accuracy_sd (sample standard deviation; None for one seed),
        accuracy_low and accuracy_high, and the means of the other figures (None where no run has one).
    """
    column = STUDIES[study].column
    groups: dict[tuple[str, Any], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        if row["split"] == split:
            groups.setdefault((row["role"], row[column]), []).append(row)
    order = sorted(groups, key=lambda key: (key[0], isinstance(key[1], str), key[1] or 0))
    return [_summary(role, value, groups[role, value]) for role, value in order]


def _summary(role: str, value: Any, group: list[dict[str, Any]]) -> dict[str, Any]:
    accuracy = torch.tensor([row["accuracy"] for row in group], dtype=torch.float64)
    figures: dict[str, Any] = {
        "role": role,
        "value": value,
        "seeds": len(group),
        "accuracy": float(accuracy.mean()),
        "accuracy_sd": float(accuracy.std()) if len(group) > 1 else None,
        "accuracy_low": float(accuracy.min()),
        "accuracy_high": float(accuracy.max()),
    }
    for name in _MEANS:
        values = [row[name] for row in group if row[name] is not None]
        figures[name] = sum(values) / len(values) if values else None
    return figures
