"""A sweep's tables: their columns, and how they grow run by run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from kdviz.core.files import Store
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.distill.config import TEACHER_SETTINGS
from kdviz.distill.storage.run_files import has_snapshot, read_array, read_result
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.distill.transfer_sets.registry import TRAINING
from kdviz.experiment import Experiment
from kdviz.metrics import class_accuracy, mcnemar
from kdviz.studies.predictions.evaluation import model_metrics
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.loss_values import LossValue
from kdviz.studies.sweep.plan import SweepPlan, recipe_columns

STUDY_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("role", pa.string()),
        ("temperature", pa.float64()),
        ("alpha", pa.float64()),
        ("kd_loss", pa.string()),
        ("teacher_epochs", pa.int32()),
        ("transfer_set", pa.string()),
        ("seed", pa.int32()),
        ("teacher", pa.string()),
        ("student", pa.string()),
        ("epochs", pa.int32()),
        ("batch_size", pa.int32()),
        ("learning_rate", pa.float64()),
        ("settings", pa.string()),
        ("split", pa.string()),
        ("samples", pa.int32()),
        ("accuracy", pa.float64()),
        ("loss", pa.float64()),
        ("ece", pa.float64()),
        ("f1", pa.float64()),
        ("auc", pa.float64()),
        ("class_accuracy", pa.list_(pa.float64())),
        ("same_as_teacher", pa.float64()),
        ("kl_to_teacher", pa.float64()),
        ("inherited_errors", pa.float64()),
        ("fixed", pa.int32()),
        ("broken", pa.int32()),
        ("mcnemar_p", pa.float64()),
        ("best_epoch", pa.int32()),
        ("seconds", pa.float64()),
    ]
)
"""A study's table: one row a model and split.

``run`` is the training's identity; for the experiment's own teacher it is the beginning of its weights' SHA-256, as in
``teacher``. ``temperature``, ``alpha``, ``kd_loss``, ``teacher_epochs`` and ``transfer_set`` are null where there is no
teacher.
``kd_loss`` names a loss between layers as well, as :class:`kdviz.studies.sweep.loss_values.LossValue` writes it.
``settings`` is JSON: the settings of the recipe that differ from their defaults. ``fixed``, ``broken`` and
``mcnemar_p`` compare a KD student with the student alone of the same seed. ``loss`` is the cross entropy.
"""

CURVES_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("role", pa.string()),
        ("epoch", pa.int32()),
        ("train_loss", pa.float64()),
        ("train_accuracy", pa.float64()),
        ("validation_loss", pa.float64()),
        ("validation_accuracy", pa.float64()),
        ("temperature", pa.float64()),
        ("alpha", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
"""curves.parquet: one row an epoch of a run of any study."""

PREDICTIONS_SCHEMA = pa.schema(
    [("run", pa.string()), ("role", pa.string()), ("split", pa.string()), ("predicted", pa.list_(pa.int16()))]
)
"""study_predictions.parquet: one row a run and split, with the class of each sample; role ``label`` has the truth."""

Row = dict[str, Any]


def existing_rows(experiment: Experiment, name: str) -> list[Row]:
    """The rows that a table has already; empty without the table."""
    rows = experiment.table(name).to_pylist() if experiment.has_table(name) else []
    return [_as_now(row) for row in rows]


def _as_now(row: Row) -> Row:
    """A row as it is written now.

    Earlier versions named the loss against the teacher alone, had settings of distillation also for students alone, and
    distilled on the training pictures only.
    """
    if row.get("role") == Role.KD_STUDENT and row.get("transfer_set") is None:
        row = {**row, "transfer_set": TRAINING}
    settings = json.loads(row.get("settings") or "{}")
    if row.get("role") == Role.STUDENT:
        own = {name: value for name, value in settings.items() if name not in TEACHER_SETTINGS}
        return row if own == settings else {**row, "settings": json.dumps(own, sort_keys=True)}
    if not settings.get("feature_loss") or row["kd_loss"] is None:
        return row
    loss = row["kd_loss"].partition(" + ")[0]
    value = LossValue(loss, settings["feature_loss"], settings.get("feature_weight", 1.0))
    return {**row, "kd_loss": str(value)}


@dataclass
class _NewRows:
    """Rows to add to the three tables."""

    study: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    predictions: list[Row] = field(default_factory=list)


@dataclass(frozen=True)
class StudyTables:
    """The tables of one study.

    Attributes:
        plan: The runs of the study.
        store: The store of their files.
        splits: The splits that models are measured on.
        teacher_logits: Returns the logits of the experiment's teacher, by split.
    """

    plan: SweepPlan
    store: Store
    splits: Mapping[str, LabelledImages]
    teacher_logits: Callable[[], Mapping[str, Tensor]]

    def finished_runs(self) -> set[str]:
        """The runs that are in the tables; they need not be repeated even where their files are missing."""
        return {row["run"] for row in self._finished_rows()}

    def write(self) -> None:
        """Add finished runs to the study's table, curves.parquet and study_predictions.parquet."""
        rows, new = self._finished_rows(), _NewRows()
        predictions, curves = (existing_rows(self.plan.experiment, name) for name in ("study_predictions", "curves"))
        self._add_teachers(new, {(row["run"], row["teacher_epochs"]) for row in rows})
        self._add_students(new, *({row["run"] for row in table} for table in (rows, predictions, curves)))
        new.predictions += [
            {"run": self.plan.data, "role": "label", "split": name, "predicted": samples.labels.tolist()}
            for name, samples in self.splits.items()
        ]
        # The predictions are written first: a row in the table marks its run as done.
        predictions = self._write("study_predictions", [*predictions, *new.predictions], PREDICTIONS_SCHEMA, "split")
        self._write("curves", [*curves, *new.curves], CURVES_SCHEMA, "epoch")
        rows = [*rows, *new.study]
        self._compare(rows, predictions)
        self._write(self.plan.study.table, rows, STUDY_SCHEMA, "teacher_epochs", "split")

    def _write(self, name: str, rows: Iterable[Row], schema: pa.Schema, *key: str) -> list[Row]:
        """Write a table with one row for each run and ``key``, the last of several, and return its rows."""
        unique = list({(row["run"], *(row.get(column) for column in key)): row for row in rows}.values())
        self.plan.experiment.write_table(name, pa.Table.from_pylist(unique, schema))
        return unique

    def _finished_rows(self) -> list[Row]:
        """The rows of the study's table, and those of the same runs in other studies' tables."""
        rows = existing_rows(self.plan.experiment, self.plan.study.table)
        if self.plan.trains_teachers:
            return rows  # its students alone are not compared with a teacher
        run_names = {run.identity for _, run in self.plan.student_runs}
        for study in STUDIES.values():
            if study.table not in (self.plan.study.table, "teacher_epochs"):
                rows += [row for row in existing_rows(self.plan.experiment, study.table) if row.get("run") in run_names]
        return rows

    # rows -------------------------------------------------------------------------------------------------------------

    def _add_teachers(self, new: _NewRows, finished: set[tuple[str, int | None]]) -> None:
        if not self.plan.trains_teachers:
            teacher = self.plan.own_teacher
            if (teacher, None) not in finished:
                new.study += self._rows(Role.TEACHER, teacher, self.teacher_logits(), {})
            return
        for run in self.plan.teachers:
            result = read_result(self.store, run.identity)
            if result is None:
                continue
            new.curves += _curves(run, result)
            for epoch in run.snapshots:
                if (run.identity, epoch) not in finished and has_snapshot(self.store, run, epoch):
                    recipe = {**recipe_columns(run), "teacher_epochs": epoch, "epochs": epoch}
                    new.study += self._rows(Role.TEACHER, run.identity, self._logits(run.identity, epoch), recipe)

    def _add_students(self, new: _NewRows, finished: set[str], predicted: set[str], with_curves: set[str]) -> None:
        for value, run in self.plan.student_runs:
            if run.identity in finished & predicted & with_curves:
                continue
            result = read_result(self.store, run.identity)
            if result is None:
                continue
            logits = self._logits(run.identity)
            new.predictions += [
                {"run": run.identity, "role": run.role, "split": name, "predicted": values.argmax(1).tolist()}
                for name, values in logits.items()
            ]
            new.curves += _curves(run, result)
            if run.identity not in finished:
                recipe = {**recipe_columns(run), "seconds": sum(epoch["seconds"] for epoch in result["curves"])}
                recipe["best_epoch"] = _best_epoch(result["curves"])
                if self.plan.trains_teachers and value is not None:
                    recipe["teacher_epochs"] = value
                new.study += self._rows(run.role, run.identity, logits, recipe, self._teacher_of(run, value))

    def _rows(
        self,
        role: str,
        identity: str,
        logits: Mapping[str, Tensor],
        recipe: Mapping[str, Any],
        teacher: Mapping[str, Tensor] | None = None,
    ) -> Iterator[Row]:
        for split, samples in self.splits.items():
            metrics = model_metrics(logits[split], samples.labels, None if teacher is None else teacher[split])
            row = {**self.plan.recipe, **recipe, "run": identity, "role": role, "split": split, **metrics}
            row["samples"] = len(samples)
            row["class_accuracy"] = class_accuracy(logits[split], samples.labels)
            yield row

    def _teacher_of(self, run: TrainingRun, value: Any) -> Mapping[str, Tensor] | None:
        """Logits of a run's teacher on the measured splits; for a student alone those of the experiment's teacher."""
        if not self.plan.trains_teachers:
            return self.teacher_logits()
        return self._logits(run.teacher.partition("/")[0], value) if run.teacher else None

    def _logits(self, identity: str, epoch: int | None = None) -> dict[str, Tensor]:
        """Logits of a run on the measured splits, at the end or after an epoch."""
        end = "" if epoch is None else f"-{epoch:04d}"
        return {name: read_array(self.store, f"{identity}/logits-{name}{end}.npy") for name in self.splits}

    def _compare(self, rows: Iterable[Row], predictions: Iterable[Row]) -> None:
        """Fill in what KD students fix and break, once the student alone of their seed is there."""
        predicted = {(row["run"], row["split"]): np.array(row["predicted"]) for row in predictions}
        for row in rows:
            if row["role"] != Role.KD_STUDENT or row.get("fixed") is not None or row["split"] not in self.splits:
                continue
            split = row["split"]
            both_predictions = [
                predicted.get((run, split)) for run in (self.plan.student(row["seed"]).identity, row["run"])
            ]
            if not any(classes is None for classes in both_predictions):
                labels = self.splits[split].labels.numpy()
                test = mcnemar(*(classes == labels for classes in both_predictions))
                row |= {"fixed": test.fixed, "broken": test.broke, "mcnemar_p": test.p_value}


def _curves(run: TrainingRun, result: Mapping[str, Any]) -> list[Row]:
    return [{"run": run.identity, "role": run.role, **epoch} for epoch in result["curves"]]


def _best_epoch(curves: Sequence[Mapping[str, Any]]) -> int:
    """The first epoch with the highest validation accuracy, whose weights are kept."""
    return max(curves, key=lambda epoch: epoch["validation_accuracy"])["epoch"]
