"""The contents of a study's page: a figure against what was varied, every run's curves, and the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.core.language import N_, number, percent
from kdviz.core.vocabulary import Role
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment
from kdviz.studies.sweep.kinds import STUDIES, TRANSFER_SET, Study
from kdviz.studies.sweep.summary import summary
from kdviz.studies.sweep.transfer_values import TransferValue, transfer_values
from kdviz.studies.sweep.verdict import SweepVerdict, verdict


@dataclass(frozen=True)
class Figure:
    """A figure of a study's table.

    Attributes:
        name: Name of its column.
        title: Title for people, to be translated.
        share: Whether it is a share, which is shown in percent.
        better: ``higher`` or ``lower``; empty where neither is better.
        about: A sentence of explanation, to be translated.
    """

    name: str
    title: str
    share: bool
    better: str
    about: str

    def text(self, value: float | None) -> str:
        """A value as people write it; empty for None."""
        if value is None:
            return ""
        return percent(value, 2) if self.share else number(value, 4)


FIGURES = {
    figure.name: figure
    for figure in (
        Figure("accuracy", N_("Accuracy"), True, "higher", N_("Share of samples whose class is right.")),
        Figure("f1", "F1", False, "higher", N_("Mean over classes of the harmonic mean of precision and recall.")),
        Figure("auc", "AUC", False, "higher", N_("Area under the ROC curve: how well the classes are told apart.")),
        Figure("ece", "ECE", False, "lower", N_("Expected calibration error: how far confidence is from accuracy.")),
        Figure("kl_to_teacher", N_("KL to the teacher"), False, "lower", N_("How far it answers from the teacher.")),
        Figure(
            "inherited_errors",
            N_("Inherited errors"),
            True,
            "lower",
            N_("Share of the teacher's own errors that it repeats."),
        ),
    )
}
"""Figures by column; the first one is the default."""


@dataclass(frozen=True)
class Point:
    """A figure of one value of a study, over its seeds.

    Attributes:
        role: Role of the model.
        value: Value of what is varied; None for a model that does not depend on it.
        mean: Mean over the seeds.
        spread: Sample standard deviation; None for one seed.
        runs: (seed, figure) of each run; the seed is None for the experiment's own teacher.
    """

    role: str
    value: Any
    mean: float
    spread: float | None
    runs: tuple[tuple[int | None, float], ...]


@dataclass(frozen=True)
class StudyReport:
    """A study as far as it is done.

    Attributes:
        name: Name in ``STUDIES``.
        split: Split on which its models are measured.
        table: All rows of the study.
        all_curves: curves.parquet, which may hold other studies' runs too; None: missing.
        predictions: study_predictions.parquet; None: missing.
    """

    name: str
    split: str
    table: pa.Table
    all_curves: pa.Table | None
    predictions: pa.Table | None

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @cached_property
    def verdict(self) -> SweepVerdict | None:
        """The verdict of the study; None as long as its runs do not allow one."""
        if self.predictions is None:
            return None
        return verdict(self.table, self.predictions, self.name, split=self.split)

    @cached_property
    def transfer_values(self) -> list[TransferValue]:
        """What each transfer set gives, where these are what is varied."""
        if self.name != TRANSFER_SET or self.predictions is None:
            return []
        return transfer_values(self.table, self.predictions, self.split)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Mean figures of each value; see :func:`kdviz.studies.sweep.summary.summary`."""
        return summary(self.table, self.name, self.split)

    @property
    def figures(self) -> list[Figure]:
        """The figures that some student has."""
        students = [row for row in self.rows if row["role"] != Role.TEACHER]
        return [figure for figure in FIGURES.values() if any(row.get(figure.name) is not None for row in students)]

    def points(self, figure: str) -> list[Point]:
        """A figure of each value, in the order of :attr:`rows`."""
        runs: dict[tuple[str, Any], list[tuple[int | None, float]]] = {}
        for row in self.table.to_pylist():
            if row["split"] == self.split and row[figure] is not None:
                runs.setdefault((row["role"], row[self.study.column]), []).append((row["seed"], row[figure]))
        keys = [(row["role"], row["value"]) for row in self.rows]
        return [_point(role, value, runs[role, value]) for role, value in keys if (role, value) in runs]

    @cached_property
    def curves(self) -> pa.Table:
        """Tidy: one row a run and epoch, with role, value (of what is varied) and seed beside the curves' columns."""
        columns_of_run = {
            row["run"]: {"role": row["role"], "value": self._value(row), "seed": row["seed"]}
            for row in self.table.to_pylist()
        }
        rows = [] if self.all_curves is None else self.all_curves.to_pylist()
        rows_of_runs = [{**columns_of_run[row["run"]], **row} for row in rows if row["run"] in columns_of_run]
        return (
            pa.Table.from_pylist(sorted(rows_of_runs, key=lambda row: (_curve_order(row), row["epoch"])))
            if rows_of_runs
            else pa.table({})
        )

    def _value(self, row: dict[str, Any]) -> Any:
        """Value of a run; None for a teacher: one stopped at several epochs is one run with one curve."""
        return None if row["role"] == Role.TEACHER else row[self.study.column]


def _curve_order(row: dict[str, Any]) -> tuple[Any, ...]:
    value = row["value"]
    return row["role"], isinstance(value, str), 0 if value is None else value, row["seed"] or 0


def _point(role: str, value: Any, runs: Sequence[tuple[int | None, float]]) -> Point:
    figures = np.array([figure for _, figure in runs], dtype=np.float64)
    spread = float(figures.std(ddof=1)) if len(figures) > 1 else None
    return Point(role, value, float(figures.mean()), spread, tuple(runs))


def present(experiment: Experiment, names: Iterable[str] = STUDIES) -> list[str]:
    """The studies among ``names`` whose tables exist."""
    return [name for name in names if experiment.has_table(STUDIES[name].table)]


def read_report(experiment: Experiment, name: str) -> StudyReport:
    """Open a study of an experiment.

    Raises:
        ExperimentError: Its table is missing, damaged, of an earlier version of kdviz, or empty.
    """
    study = STUDIES[name]
    if not experiment.has_table(study.table):
        raise ExperimentError("This experiment has no {table}.parquet yet.", table=study.table)
    table = experiment.table(study.table)
    columns = {"run", "role", "seed", "split", study.column, *FIGURES}
    if not columns <= set(table.column_names):
        raise ExperimentError(
            "This experiment's {table}.parquet was made by an earlier version of kdviz; move that file "
            "away and make it anew.",
            table=study.table,
        )
    splits = set(table["split"].to_pylist())
    split = next((split for split in SPLITS if split in splits), None)
    if split is None:
        raise ExperimentError("This experiment's {table}.parquet has no finished run yet.", table=study.table)
    curves, predictions = (
        experiment.table(other) if experiment.has_table(other) else None for other in ("curves", "study_predictions")
    )
    return StudyReport(name, split, table, curves, predictions)
