"""The rows of compression.parquet: every run that was made from another one, against that one on the test split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from kdviz.compress.operations import operations_of
from kdviz.compress.sparse_weights import zero_share
from kdviz.core.errors import ExperimentError
from kdviz.core.vocabulary import Role, Split
from kdviz.experiment import Experiment, Run
from kdviz.metrics import paired_shares
from kdviz.models.networks import ONNX
from kdviz.studies.compression.names import INT4, INT8
from kdviz.studies.compression.steps import was_distilled
from kdviz.studies.compression.table import read_compression
from kdviz.studies.predictions.mistakes import Predictions
from kdviz.studies.predictions.mistakes import read_predictions as _predictions

MAPS = ("masks", "images", "maps_parent", "maps_teacher", "parent_teacher", "ceiling")
"""The columns on maps, which take long to measure and are kept as long as the models are the same."""

_SAME = ("weights", "parent_weights", "teacher_weights")


def compressed_roles(experiment: Experiment) -> list[str]:
    """Roles of the runs that were made from another run of the experiment, in its order."""
    return [role for role, run in experiment.models.items() if run.made_by and run.parent in experiment.models]


def descendants(experiment: Experiment, role: str) -> list[str]:
    """Roles of the runs that were made from a run, and from these, in the experiment's order."""
    found = {role}
    for other in compressed_roles(experiment):  # a run is saved after the one that it was made from
        if experiment.runs[other].parent in found:
            found.add(other)
    return [other for other in experiment.runs if other in found - {role}]


def measured_split(experiment: Experiment) -> str:
    """The split that steps are measured on: the test split; of given models, the one that they were measured on."""
    splits = [split for run in experiment.runs.values() for split in run.metrics]
    return Split.TEST if Split.TEST in splits or not experiment.is_imported or not splits else splits[0]


def compression_rows(experiment: Experiment, maps: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each of :func:`compressed_roles` that is predicted on :func:`measured_split`, with its parent.

    Rows of models that the experiment does not hold, of which a table may be all that is kept, stay as they are.

    Args:
        experiment: The experiment.
        maps: Role -> columns of :func:`kdviz.studies.compression.maps.compare_maps`; of others those of the table stay
            where the models are the same.

    Raises:
        ExperimentError: predictions.parquet or compression.parquet is damaged or missing.
    """
    predictions = _predictions(experiment.table("predictions"), measured_split(experiment))
    earlier = {row["child"]: row for row in _earlier(experiment)}
    rows = {child: row for child, row in earlier.items() if child not in experiment.runs}
    for role in compressed_roles(experiment):
        run = experiment.runs[role]
        if {role, run.parent} <= predictions.predicted.keys():
            row = _row(experiment, run, predictions)
            old = earlier.get(role, {})
            kept = old if all(old.get(name) == row[name] for name in _SAME) else {}
            rows[role] = row | {name: maps.get(role, kept).get(name) for name in MAPS}
    order = dict.fromkeys([*earlier, *rows])  # parents stay before their children
    return [rows[child] for child in order if child in rows]


def _earlier(experiment: Experiment) -> list[dict[str, Any]]:
    try:
        return read_compression(experiment)
    except ExperimentError:  # of another version: everything is measured anew
        return []


def _row(experiment: Experiment, run: Run, predictions: Predictions) -> dict[str, Any]:
    parent = experiment.runs[run.parent]
    teacher = experiment.runs.get(Role.TEACHER)
    return {
        "child": run.role,
        "parent": parent.role,
        "step": run.made_by,
        "with_teacher": None if run.made_by.startswith((INT4, INT8)) else was_distilled(run),
        "weights": run.sha256,
        "parent_weights": parent.sha256,
        "teacher_weights": teacher and teacher.sha256,
        "split": predictions.split,
        **_behaviour(experiment, run.role, parent.role, predictions),
        "ece": run.metrics.get(predictions.split, {}).get("ece"),
        "parent_ece": parent.metrics.get(predictions.split, {}).get("ece"),
        "bytes": file_bytes(run),
        "parent_bytes": file_bytes(parent),
        "flops": flops(experiment, run),
        "parent_flops": flops(experiment, parent),
        **_since_root(experiment, run, predictions),
        "zeros": None if run.network == ONNX else zero_share(run.unadapted),
    }


def _behaviour(experiment: Experiment, child: str, parent: str, predictions: Predictions) -> dict[str, Any]:
    """Columns on the answers of both."""
    before, after = predictions.right(parent), predictions.right(child)
    difference = paired_shares(before, after)
    accuracies = {
        number: float(after[members].mean())
        for number in range(len(experiment.classes))
        if (members := predictions.labels == number).any()
    }
    worst = min(accuracies, key=lambda number: accuracies[number])
    changed = predictions.predicted[child] != predictions.predicted[parent]
    return {
        "samples": len(after),
        "accuracy": float(after.mean()),
        "parent_accuracy": float(before.mean()),
        "fixed": int((after & ~before).sum()),
        "broken": int((before & ~after).sum()),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "changed": np.packbits(changed).tobytes(),
        "right": np.packbits(after).tobytes(),
        "worst_class": experiment.classes[worst],
        "worst_accuracy": accuracies[worst],
        "worst_in_parent": float(before[predictions.labels == worst].mean()),
    }


def root_of(experiment: Experiment, run: Run) -> Run:
    """The run at the beginning of a chain of steps."""
    seen = set()
    while run.parent in experiment.models and run.role not in seen:
        seen.add(run.role)
        run = experiment.runs[run.parent]
    return run


def _since_root(experiment: Experiment, run: Run, predictions: Predictions) -> dict[str, Any]:
    """Columns on all steps of a chain together; empty after the first step."""
    root = root_of(experiment, run)
    if root.role == run.parent or root.role not in predictions.predicted:
        return {}
    before, after = predictions.right(root.role), predictions.right(run.role)
    return {
        "root": root.role,
        "root_accuracy": float(before.mean()),
        "root_fixed": int((after & ~before).sum()),
        "root_broken": int((before & ~after).sum()),
        "root_bytes": file_bytes(root),
    }


def file_bytes(run: Run) -> int:
    return (run.folder / run.weights).stat().st_size


def flops(experiment: Experiment, run: Run) -> int | None:
    """Operations for one picture; an int8 file of a step has those of the run that it was made from."""
    seen = set()
    while run.network == ONNX and run.parent in experiment.models and run.role not in seen:
        seen.add(run.role)
        run = experiment.runs[run.parent]
    if run.network == ONNX:
        return None
    return operations_of(run.unadapted, torch.zeros(1, run.spec.channels, *run.spec.size)).flops


def known(value: float | None) -> float:
    """A number of the table; NaN for null."""
    return math.nan if value is None else float(value)
