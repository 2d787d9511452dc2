"""Doubts in an experiment's record: the key ``doubts`` of a run's training."""

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

_INPUT = "normalisation"  # which no table of predictions shows


class _Data(SplitLike, Protocol):
    @property
    def doubts(self) -> tuple[Doubt, ...] | None: ...


def of_data(splits: Mapping[str, _Data]) -> list[Doubt]:
    """The doubts about a data set: those that its reader found, or its copies if nobody looked for them."""
    if any(samples.doubts is None for samples in splits.values()):
        return copies(splits)
    return _once(doubt for samples in splits.values() for doubt in samples.doubts or ())


def remember(runs: Mapping[str, Any], found: Iterable[Doubt], split: str, data: Iterable[Doubt] | None = None) -> None:
    """Put what was found on a split into the runs' records, in the place of what was found on it before.

    What is said of no single model goes to the first run.

    Args:
        runs: Role -> run, of an experiment; they are changed.
        found: About the models, on this split.
        split: Its name.
        data: About the data; None: nobody looked, and what is known stays.
    """
    first = next(iter(runs), "")
    for role, run in runs.items():
        kept = [one for one in _read(run.training) if (data is None if one.is_of_data else one.split != split)]
        mine = [one for one in (*found, *(data or ())) if (one.role or first) == role]
        run.training.pop(KEY, None)
        if kept or mine:
            run.training[KEY] = [one.to_json() for one in _once([*kept, *mine])]


def known(experiment: Any) -> list[Doubt]:
    """What is known without computing anything: what the runs keep, and what the table of predictions shows.

    Args:
        experiment: A :class:`kdviz.experiment.Experiment`.
    """
    kept = _once(doubt for run in experiment.runs.values() for doubt in _read(run.training))
    tables = _predictions(experiment)
    others = [one for one in kept if one.is_of_data or one.kind == _INPUT or one.split not in tables]
    shown = [
        one
        for split, (labels, predicted) in tables.items()
        for one in of_predictions(split, labels, predicted, experiment.classes)
    ]
    inputs = [one for one in others if one.kind == _INPUT]
    return _once([*(one for one in others if one.kind != _INPUT), *weighed(shown, inputs)])


def of_predictions(
    split: str, labels: np.ndarray, predicted: Mapping[str, np.ndarray], classes: Sequence[str]
) -> list[Doubt]:
    """What the answers of all models of an experiment say: see :func:`answer_doubts` and :func:`unpredicted`.

    Args:
        split: Of the samples.
        labels: int (N,), ground truth.
        predicted: Role -> int (N,).
        classes: Names of the classes.
    """
    found = [one for role, said in predicted.items() for one in answer_doubts(role, split, labels, said, classes)]
    return found + unpredicted(split, labels, predicted.values(), classes)


def _predictions(experiment: Any) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """Split -> labels, and role -> predicted class; empty without a table that can be used."""
    try:
        table = experiment.table("predictions")
        splits, roles = (table[name].cast(pa.string()).to_numpy() for name in ("split", "role"))
        values = {name: table[name].to_numpy().astype(np.int64) for name in ("label", "predicted", "sample")}
    except (KdvizError, KeyError, ValueError, TypeError, pa.ArrowException):
        return {}
    found: dict[str, tuple[np.ndarray, dict[str, np.ndarray]]] = {}
    for split in dict.fromkeys(splits.tolist()):
        places = {role: np.flatnonzero((splits == split) & (roles == role)) for role in experiment.runs}
        rows = {role: place[values["sample"][place].argsort(kind="stable")] for role, place in places.items()}
        rows = {role: row for role, row in rows.items() if len(row)}
        labels = [values["label"][row] for row in rows.values()]
        predicted = {role: values["predicted"][row] for role, row in rows.items()}
        if labels and _fit([*labels, *predicted.values()], len(experiment.classes)):
            found[str(split)] = labels[0], predicted
    return found


def _fit(columns: Sequence[np.ndarray], classes: int) -> bool:
    """Whether they are classes of equally many samples."""
    same = len({len(column) for column in columns}) == 1
    return same and all(column.min() >= 0 and column.max() < classes for column in columns)


def _read(training: Mapping[str, Any]) -> list[Doubt]:
    entries = training.get(KEY)
    found = [Doubt.from_json(entry) for entry in entries] if isinstance(entries, list) else []
    return [doubt for doubt in found if doubt is not None]


def _once(doubts: Iterable[Doubt]) -> list[Doubt]:
    """Each once; figures are dicts, which no set holds."""
    kept: list[Doubt] = []
    for doubt in doubts:
        if doubt not in kept:
            kept.append(doubt)
    return kept
