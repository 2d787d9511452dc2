"""Doubts in an experiment's record, under the key ``doubts`` of a run's training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from kdviz.core.errors import KdvizError
from kdviz.data.doubts.answers import answer_doubts, unpredicted, weighed
from kdviz.data.doubts.copies import SplitLike, copies
from kdviz.data.doubts.doubt import Doubt

KEY = "doubts"

_INPUT = "normalisation"  # the kind of doubt that no table of predictions shows


class _Data(SplitLike, Protocol):
    @property
    def doubts(self) -> tuple[Doubt, ...] | None: ...


def of_data(splits: Mapping[str, _Data]) -> list[Doubt]:
    """The doubts about a data set: those that its reader found, or its copies if its reader did not look for any."""
    if any(samples.doubts is None for samples in splits.values()):
        return copies(splits)
    return _distinct(doubt for samples in splits.values() for doubt in samples.doubts or ())


def record_doubts(
    runs: Mapping[str, Any], model_doubts: Iterable[Doubt], split: str, data: Iterable[Doubt] | None = None
) -> None:
    """Record the doubts that were found on a split in the runs, in place of earlier ones about that split.

    Doubts that concern no single model go to the first run.

    Args:
        runs: Role -> run of an experiment; the runs are changed.
        model_doubts: Doubts about the models, on this split.
        split: Name of the split.
        data: Doubts about the data; None: the data were not checked, and recorded doubts about them stay.
    """
    first = next(iter(runs), "")
    for role, run in runs.items():
        kept = [
            doubt for doubt in _recorded(run.training) if (data is None if doubt.is_of_data else doubt.split != split)
        ]
        run_doubts = [doubt for doubt in (*model_doubts, *(data or ())) if (doubt.role or first) == role]
        run.training.pop(KEY, None)
        if kept or run_doubts:
            run.training[KEY] = [doubt.to_json() for doubt in _distinct([*kept, *run_doubts])]


def recorded_doubts(experiment: Any) -> list[Doubt]:
    """The doubts about an experiment: those that its runs record, and those that its table of predictions shows.

    No model is run.

    Args:
        experiment: A :class:`kdviz.experiment.Experiment`.
    """
    recorded = _distinct(doubt for run in experiment.runs.values() for doubt in _recorded(run.training))
    predictions = _stored_predictions(experiment)
    valid = [doubt for doubt in recorded if doubt.is_of_data or doubt.kind == _INPUT or doubt.split not in predictions]
    computed = [
        doubt
        for split, (labels, predicted) in predictions.items()
        for doubt in of_predictions(split, labels, predicted, experiment.classes)
    ]
    input_doubts = [doubt for doubt in valid if doubt.kind == _INPUT]
    return _distinct([*(doubt for doubt in valid if doubt.kind != _INPUT), *weighed(computed, input_doubts)])


def of_predictions(
    split: str, labels: np.ndarray, predicted: Mapping[str, np.ndarray], classes: Sequence[str]
) -> list[Doubt]:
    """Doubts that follow from the predictions of all models of an experiment.

    See :func:`answer_doubts` and :func:`unpredicted`.

    Args:
        split: Split of the samples.
        labels: int (N,), ground truth.
        predicted: Role -> predicted classes, int (N,).
        classes: Names of the classes.
    """
    doubts = [
        doubt for role, answers in predicted.items() for doubt in answer_doubts(role, split, labels, answers, classes)
    ]
    return doubts + unpredicted(split, labels, predicted.values(), classes)


def _stored_predictions(experiment: Any) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Split -> labels, and role -> predicted classes; empty without a usable table."""
    try:
        table = experiment.table("predictions", ["split", "role", "sample", "label", "predicted"])
        splits, roles = (table[name].cast(pa.string()).to_numpy() for name in ("split", "role"))
        values = {name: table[name].to_numpy().astype(np.int64) for name in ("label", "predicted", "sample")}
    except (KdvizError, KeyError, ValueError, TypeError, pa.ArrowException):
        return {}
    by_split: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    for split in dict.fromkeys(splits.tolist()):
        selections = {role: np.flatnonzero((splits == split) & (roles == role)) for role in experiment.runs}
        rows = {
            role: selection[values["sample"][selection].argsort(kind="stable")]
            for role, selection in selections.items()
        }
        rows = {role: row for role, row in rows.items() if len(row)}
        labels = [values["label"][row] for row in rows.values()]
        predicted = {role: values["predicted"][row] for role, row in rows.items()}
        if labels and _are_consistent([*labels, *predicted.values()], len(experiment.classes)):
            by_split[str(split)] = labels[0], predicted
    return by_split


def _are_consistent(columns: Sequence[np.ndarray], classes: int) -> bool:
    """Whether all columns have the same length and hold valid class numbers."""
    same = len({len(column) for column in columns}) == 1
    return same and all(column.min() >= 0 and column.max() < classes for column in columns)


def _recorded(training: Mapping[str, Any]) -> list[Doubt]:
    entries = training.get(KEY)
    doubts = [Doubt.from_json(entry) for entry in entries] if isinstance(entries, list) else []
    return [doubt for doubt in doubts if doubt is not None]


def _distinct(doubts: Iterable[Doubt]) -> list[Doubt]:
    """Each doubt once; they have dicts of figures and so cannot be in a set."""
    distinct: list[Doubt] = []
    for doubt in doubts:
        if doubt not in distinct:
            distinct.append(doubt)
    return distinct
