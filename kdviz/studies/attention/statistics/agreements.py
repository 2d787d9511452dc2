"""agreement.parquet as arrays: the images of a study, and for each pair of models a value for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.core.vocabulary import Role
from kdviz.metrics.similarity import MAIN, measures
from kdviz.studies.attention.statistics.pairs import MAIN_EFFECT

Value = float | str
"""A value of what a study varies: a number, or a loss's name."""

_SHUFFLED = " shuffled"  # comes after a teacher's key: see models.shuffles()


def value_text(value: Value | None) -> str:
    """A value without its unit, as addresses and tables on the command line have it."""
    return "" if value is None else value if isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True)
class Series:
    """A pair of models over the images of a study.

    Attributes:
        kind: ``claim``, ``own shuffle``, or a control.
        role: Role of the second model.
        value: The value of what the study varies, a number or a name; None: it does not concern this pair.
        seed: Seed of the second model.
        first, second: The models' keys.
        agreement: float64 (images,), across independent halves; of a control NaN where one of its maps is constant.
        ceiling_first, ceiling_second: float64 (images,), of each map with itself; NaN likewise.
        predicted, teacher_predicted: int64 (images,), classes that the second model predicts, and the first; -1 where
            a control has no row.
    """

    kind: str
    role: str
    value: Value | None
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
        """Key of the teacher that the first model is, or was before its weights were shuffled."""
        return self.first.partition(_SHUFFLED)[0]

    @property
    def training_key(self) -> tuple[str, int]:
        """The teacher's key and the student's seed."""
        return self.teacher, self.seed or 0

    @property
    def known(self) -> np.ndarray:
        """Whether each image has an agreement and its ceilings, bool (images,)."""
        return np.isfinite(self.agreement) & np.isfinite(self.ceiling_first) & np.isfinite(self.ceiling_second)

    @property
    def ceiling(self) -> np.ndarray:
        """What the agreement would be if the true maps were equal: sqrt(first * second), (images,)."""
        return np.sqrt(self.ceiling_first.clip(0) * self.ceiling_second.clip(0))


@dataclass(frozen=True)
class Agreements:
    """A study by one measure.

    Attributes:
        measure: The measure by which maps were compared.
        samples, labels, targets: int64 (images,), numbers in the split, classes, and explained classes.
        weights: float64 (images,), how many images of the split each stands for.
        who: (images,), which of the experiment's own models are right.
        series: One for each pair of models.
    """

    measure: str
    samples: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    who: np.ndarray
    series: tuple[Series, ...]

    def of(self, kind: str, role: str, value: Value | None = None) -> list[Series]:
        """Pairs of a kind and role with this value, or else those without a value, by teacher and seed."""
        pairs = [pair for pair in self.series if (pair.kind, pair.role) == (kind, role)]
        matching = [pair for pair in pairs if pair.value == value] or [pair for pair in pairs if pair.value is None]
        return sorted(matching, key=lambda pair: pair.training_key)

    @property
    def values(self) -> list[Value]:
        """The values that the study compares, in order: numbers by size, names by the alphabet."""
        kd_values = {pair.value for pair in self.series if pair.kind == MAIN_EFFECT and pair.role == Role.KD_STUDENT}
        return sorted(value for value in kd_values if value is not None)

    def mapped(self, change: Callable[[Series], Series]) -> Agreements:
        """A copy with each series changed."""
        return Agreements(
            self.measure,
            self.samples,
            self.labels,
            self.targets,
            self.weights,
            self.who,
            tuple(change(pair) for pair in self.series),
        )


def read_agreements(table: pa.Table, study: str, measure: str = MAIN) -> Agreements:
    """Read one study of agreement.parquet by one measure.

    Images are left out where a map of the claim is constant, as it has no agreement then. A control's constant map,
    such as that of a shuffled teacher, takes its image out of this control alone.

    Raises:
        ExperimentError: The table has no such study.
        UnknownNameError: No such measure.
    """
    _ = measures[measure]
    part = rows_where(table, "study", study)
    if not len(part):
        raise ExperimentError(
            "agreement.parquet has no study '{study}'; make it with: kdviz study --study {study}", study=study
        )
    samples, first, position = np.unique(_numbers(part, "sample"), return_index=True, return_inverse=True)
    columns = [measure, f"ceiling_first_{measure}", f"ceiling_second_{measure}"]
    values = {name: _numbers(part, name) for name in [*columns, "second_predicted", "first_predicted"]}
    rows = _rows_of_pairs(part)
    of_claim = [pair["kind"] == MAIN_EFFECT for pair, _ in rows]
    complete = np.ones(len(samples), bool)
    pairs: list[tuple[dict[str, Any], dict[str, np.ndarray]]] = []
    for (pair, rows_of_pair), is_needed in zip(rows, of_claim, strict=True):
        by_image = {
            name: _scatter(column[rows_of_pair], position[rows_of_pair], len(samples))
            for name, column in values.items()
        }
        if is_needed:
            complete &= np.logical_and.reduce([np.isfinite(column) for column in by_image.values()])
        pairs.append((pair, by_image))
    series = tuple(
        Series(**pair, **_arrays({name: column[complete] for name, column in by_image.items()}, columns))
        for pair, by_image in pairs
    )
    head = {name: _numbers(part, name)[first][complete] for name in ("label", "target", "weight")}
    who = np.array(part["who"].take(first[complete]).to_pylist())
    return Agreements(
        measure,
        samples[complete].astype(np.int64),
        head["label"].astype(np.int64),
        head["target"].astype(np.int64),
        head["weight"].astype(np.float64),
        who,
        series,
    )


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False)


def _scatter(values: np.ndarray, position: np.ndarray, count: int) -> np.ndarray:
    """The values in the order of the images, NaN where there is none."""
    by_image = np.full(count, np.nan)
    by_image[position] = values
    return by_image


def _arrays(by_image: dict[str, np.ndarray], columns: list[str]) -> dict[str, Any]:
    agreement, first, second = (by_image[name] for name in columns)
    predictions = {"predicted": "second_predicted", "teacher_predicted": "first_predicted"}
    numbers = {name: np.nan_to_num(by_image[column], nan=-1).astype(np.int64) for name, column in predictions.items()}
    return {"agreement": agreement, "ceiling_first": first, "ceiling_second": second, **numbers}


def _codes(table: pa.Table, name: str) -> np.ndarray:
    """A number for each text of a column, int64 (rows,)."""
    column = table.select([name]).unify_dictionaries().combine_chunks()[name].chunk(0)
    return column.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _rows_of_pairs(table: pa.Table) -> list[tuple[dict[str, Any], np.ndarray]]:
    """The description of each pair of models, and the numbers of its rows."""
    names = {"pair": "kind", "second_role": "role", "value": "value", "second_seed": "seed"}
    names |= {"first": "first", "second": "second"}
    columns = [*names, *({"value_name"} & set(table.column_names))]
    keys = np.zeros(len(table), dtype=np.int64)
    for name in ("pair", "first", "second"):
        codes = _codes(table, name)
        keys = keys * (int(codes.max()) + 1) + codes
    order = np.argsort(keys, kind="stable")
    pairs = []
    for rows_of_pair in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
        row = table.select(columns).slice(int(rows_of_pair[0]), 1).to_pylist()[0]
        pair = {name: row[column] for column, name in names.items()}
        # Earlier versions had no column for names.
        pairs.append(({**pair, "value": row.get("value_name") or row["value"]}, rows_of_pair))
    return pairs
