"""agreement.parquet in arrays: the images of a study, and for each pair of models a value an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.metrics.similarity import MAIN, measures
from kdviz.studies.attention.statistics.pairs import MAIN_EFFECT

_SHUFFLED = " shuffled"  # comes after a teacher's key: see models.shuffles()


@dataclass(frozen=True)
class Series:
    """A pair of models over the images of a study.

    Attributes:
        kind: ``claim``, ``own shuffle``, or a control.
        role: Of the second model.
        value: Of what the study varies; None: it does not concern this pair.
        seed: Of the second model.
        first, second: The models' keys.
        agreement: float64 (images,), across independent halves.
        ceiling_first, ceiling_second: float64 (images,), of each map with itself.
        predicted, teacher_predicted: int64 (images,), what the second model says, and the first.
    """

    kind: str
    role: str
    value: float | None
    seed: int | None
    first: str
    second: str
    agreement: np.ndarray = field(repr=False)
    ceiling_first: np.ndarray = field(repr=False)
    ceiling_second: np.ndarray = field(repr=False)
    predicted: np.ndarray = field(repr=False)
    teacher_predicted: np.ndarray = field(repr=False)

    @property
    def teacher(self) -> str:
        """Key of the teacher that the first model is, or that its weights were before they were shuffled."""
        return self.first.partition(_SHUFFLED)[0]

    @property
    def place(self) -> tuple[str, int]:
        """Teacher, and seed of the student."""
        return self.teacher, self.seed or 0

    @property
    def ceiling(self) -> np.ndarray:
        """What the agreement would be if the true maps were equal: sqrt(first * second), (images,)."""
        return np.sqrt(self.ceiling_first.clip(0) * self.ceiling_second.clip(0))


@dataclass(frozen=True)
class Agreements:
    """A study by one measure.

    Attributes:
        measure: By which maps were compared.
        samples, labels, targets: int64 (images,).
        weights: float64 (images,), how many images of the split each stands for.
        who: (images,), which of the experiment's own models are right.
        series: Every pair.
    """

    measure: str
    samples: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    who: np.ndarray
    series: tuple[Series, ...]

    def of(self, kind: str, role: str, value: float | None = None) -> list[Series]:
        """Pairs of a kind and role, by teacher and seed: of this value, or where there are none, of no value."""
        found = [one for one in self.series if (one.kind, one.role) == (kind, role)]
        exact = [one for one in found if one.value == value] or [one for one in found if one.value is None]
        return sorted(exact, key=lambda one: one.place)

    @property
    def values(self) -> list[float]:
        """What the study varied, in order."""
        kd_values = {one.value for one in self.series if one.kind == MAIN_EFFECT and one.role == "kd_student"}
        return sorted(value for value in kd_values if value is not None)

    def mapped(self, change: Callable[[Series], Series]) -> Agreements:
        """The same with other series."""
        return Agreements(
            self.measure,
            self.samples,
            self.labels,
            self.targets,
            self.weights,
            self.who,
            tuple(change(one) for one in self.series),
        )


def read_agreements(table: pa.Table, study: str, measure: str = MAIN) -> Agreements:
    """One study of agreement.parquet by one measure. Images on which a map had no pattern are left out.

    Raises:
        ExperimentError: The table has no such study.
        UnknownNameError: No such measure.
    """
    _ = measures[measure]
    part = rows_where(table, "study", study)
    if not len(part):
        raise ExperimentError(f"agreement.parquet has no study '{study}'; make it with: kdviz study --study {study}")
    samples, first, place = np.unique(_numbers(part, "sample"), return_index=True, return_inverse=True)
    columns = [measure, f"ceiling_first_{measure}", f"ceiling_second_{measure}"]
    values = {name: _numbers(part, name) for name in [*columns, "second_predicted", "first_predicted"]}
    rows = _rows_of_pairs(part)
    fine = np.ones(len(samples), bool)
    filled: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = []
    for pair, at in rows:
        spread = {name: _spread(one[at], place[at], len(samples)) for name, one in values.items()}
        fine &= np.logical_and.reduce([np.isfinite(spread[name]) for name in columns])
        filled.append((pair, spread))
    series = tuple(
        Series(**pair, **_arrays({name: one[fine] for name, one in spread.items()}, columns)) for pair, spread in filled
    )
    head = {name: _numbers(part, name)[first][fine] for name in ("label", "target", "weight")}
    who = np.array(part["who"].take(first[fine]).to_pylist())
    return Agreements(
        measure,
        samples[fine].astype(np.int64),
        head["label"].astype(np.int64),
        head["target"].astype(np.int64),
        head["weight"].astype(np.float64),
        who,
        series,
    )


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False)


def _spread(values: np.ndarray, place: np.ndarray, count: int) -> np.ndarray:
    """One value an image, NaN where there is none."""
    found = np.full(count, np.nan)
    found[place] = values
    return found


def _arrays(spread: dict[str, np.ndarray], columns: list[str]) -> dict[str, Any]:
    agreement, first, second = (spread[name] for name in columns)
    said = {"predicted": "second_predicted", "teacher_predicted": "first_predicted"}
    numbers = {name: spread[column].astype(np.int64) for name, column in said.items()}
    return {"agreement": agreement, "ceiling_first": first, "ceiling_second": second, **numbers}


def _codes(table: pa.Table, name: str) -> np.ndarray:
    """A number for each text of a column, int64 (rows,)."""
    column = table.select([name]).unify_dictionaries().combine_chunks()[name].chunk(0)
    return column.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _rows_of_pairs(table: pa.Table) -> list[tuple[dict[str, Any], np.ndarray]]:
    """What a pair is called, and which rows are its."""
    names = {"pair": "kind", "second_role": "role", "value": "value", "second_seed": "seed"}
    names |= {"first": "first", "second": "second"}
    keys = np.zeros(len(table), dtype=np.int64)
    for name in ("pair", "first", "second"):
        codes = _codes(table, name)
        keys = keys * (int(codes.max()) + 1) + codes
    order = np.argsort(keys, kind="stable")
    found = []
    for at in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        row = table.select(list(names)).slice(int(at[0]), 1).to_pylist()[0]
        found.append(({name: row[column] for column, name in names.items()}, at))
    return found
