"""Studies over many trainings: one setting is varied over several seeds, and tidy tables say what came out.

Each training is a :class:`kdviz.distill.runs.TrainingRun`: done once, continued where it was killed, on this machine or
on a cluster. The tables are written when a run is done, and replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kdviz.analysis.evaluation import model_metrics
from kdviz.datasets import LabelledImages
from kdviz.distill import Stage, TrainingConfig, check_teacher, predict_logits
from kdviz.distill.runs import (
    TrainingRun,
    data_fingerprint,
    perform,
    read_array,
    read_result,
    teacher_key,
    work,
    write_array,
)
from kdviz.errors import ExperimentError, SettingError
from kdviz.execution import run_local
from kdviz.experiment import Experiment
from kdviz.files import Store
from kdviz.metrics import class_accuracy, mcnemar
from kdviz.networks import choose_device


@dataclass(frozen=True)
class Study:
    """One kind of study.

    Attributes:
        table: Its table's name.
        column: The column that is varied.
        title: A heading.
        values: Those that are tried when none are given.
        parse: Text -> value; raises ValueError.
        unit: What stands before a value, as in ``T = 4``.
    """

    table: str
    column: str
    title: str
    values: tuple[Any, ...]
    parse: Callable[[str], Any]
    unit: str


STUDIES = {
    "temperature": Study("temperature", "temperature", "Temperature", (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0), float, "T"),
    "alpha": Study("alpha", "alpha", "Weight of the teacher", (0.1, 0.3, 0.5, 0.7, 0.9, 1.0), float, "alpha"),
    "teacher-epochs": Study("teacher_epochs", "teacher_epochs", "Teacher's epochs", (1, 3, 6, 12, 25), int, "epochs"),
    "loss": Study(
        "loss", "kd_loss", "Loss against the teacher", ("soft_targets", "hard_distillation", "decoupled", "dist"), str, "loss"
    ),
}
"""By the name that the command line uses."""

STUDY_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("role", pa.string()),
        ("temperature", pa.float64()),
        ("alpha", pa.float64()),
        ("kd_loss", pa.string()),
        ("teacher_epochs", pa.int32()),
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

``run`` is the training's identity; that of the experiment's own teacher is the start of its weights' SHA-256, as in
``teacher``. ``temperature``, ``alpha``, ``kd_loss`` and ``teacher_epochs`` are null where there is no teacher.
``settings`` is JSON: settings of the recipe that are not at their default. ``fixed``, ``broken`` and ``mcnemar_p``
compare a KD student with the student alone of the same seed. ``loss`` is the cross entropy.
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


@dataclass(frozen=True)
class Cost:
    """What a study will take, from one timed epoch of each network.

    Attributes:
        runs: Trainings that are left.
        epochs: Of all of them.
        seconds: On this machine, one run after the other.
    """

    runs: int
    epochs: int
    seconds: float


@dataclass
class Sweep:
    """A study of one experiment: its runs, what they share, and where their files go.

    Args:
        experiment: Has a teacher and a KD student, whose network the students are.
        name: One of ``STUDIES``.
        splits: ``train``, ``validation`` and splits that are only measured, as the students see them.
        values: Of what is varied.
        seeds: Each trains a student alone and one for each value.
        config: The recipe of the students.
        results: Folder for the runs' files, a path or an fsspec URL; default ``runs`` in the experiment's folder.

    Raises:
        SettingError: No values, or one outside its range.
        ModelError: The teacher's classes are not those of the data.
        ExperimentError: A role is missing, or the table was made with another recipe.
    """

    experiment: Experiment
    name: str
    splits: Mapping[str, LabelledImages]
    values: Sequence[Any]
    seeds: Sequence[int]
    config: TrainingConfig
    results: str | Path | None = None
    teacher_splits: Mapping[str, LabelledImages] | None = None
    network: str = ""
    _speakers: dict[str, dict[str, Tensor]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for role in ("teacher", "kd_student"):
            if role not in self.experiment.runs:
                raise ExperimentError(f"'{self.experiment.folder}' has no {role}, which a study needs.")
        if "teacher_2" in self.experiment.runs:
            raise ExperimentError(f"'{self.experiment.folder}' has several teachers; a study distils from one.")
        if not self.values or not self.seeds:
            raise SettingError("A study needs at least one value and one seed.")
        self.values, self.seeds = list(dict.fromkeys(self.values)), list(dict.fromkeys(self.seeds))
        self.network = self.network or self.experiment.runs["kd_student"].network
        self.store = Store(self.results or self.experiment.folder / "runs")
        _ = self.students, self.teachers  # every setting is checked before anything is trained
        self._check_recipe()

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @cached_property
    def data(self) -> str:
        return data_fingerprint(self.splits)

    @cached_property
    def teachers(self) -> list[TrainingRun]:
        """The teachers that are trained for this study: one a seed where their epochs are varied."""
        if self.name != "teacher-epochs":
            return []
        run = self.experiment.runs["teacher"]
        epochs = tuple(sorted(int(value) for value in self.values))
        if epochs[0] < 1:
            raise SettingError(f"A teacher trains for at least one epoch, got {epochs[0]}.")
        recipe = replace(
            TrainingConfig(),
            batch_size=int(run.training.get("batch_size", self.config.batch_size)),
            learning_rate=float(run.training.get("learning_rate", self.config.learning_rate)),
            epochs=epochs[-1],
            device=self.config.device,
            bf16=self.config.bf16,
        )
        return [
            TrainingRun("teacher", run.network, replace(recipe, seed=seed), self.data, self.experiment.input, "", epochs)
            for seed in self.seeds
        ]

    @cached_property
    def alone(self) -> list[TrainingRun]:
        return [self._student(replace(self.config, seed=seed), "") for seed in self.seeds]

    @cached_property
    def students(self) -> list[tuple[Any, TrainingRun]]:
        """(value, run) of every KD student."""
        found = []
        for value in self.values:
            for number, seed in enumerate(self.seeds):
                config, teacher = replace(self.config, seed=seed), teacher_key(self._own_teacher)
                if self.name == "teacher-epochs":
                    teacher = teacher_key(self.teachers[number].identity, int(value))
                else:
                    setting = {"loss": "loss"}.get(self.name, self.study.column)
                    config = replace(config, **{setting: value})
                found.append((value, self._student(config, teacher)))
        return found

    def _student(self, config: TrainingConfig, teacher: str) -> TrainingRun:
        role = "kd_student" if teacher else "student"
        return TrainingRun(role, self.network, config, self.data, self.experiment.input, teacher)

    @property
    def _own_teacher(self) -> str:
        return self.experiment.runs["teacher"].sha256[:16]

    # the work ---------------------------------------------------------------------------------------------------------

    def run(
        self,
        engine: Callable[..., Iterator[tuple[int, Any]]] = run_local,
        *,
        threads: int = 0,
        estimate: bool = True,
        estimate_only: bool = False,
    ) -> Iterator[Stage | Cost]:
        """Do what is left, and write the tables after each run.

        Args:
            engine: :func:`kdviz.execution.run_local`, or another of its form.
            threads: Of torch in each run; 0 leaves them.
            estimate: First yield a :class:`Cost`; the epochs that are timed for it count.
            estimate_only: And then end.
        """
        todo = self._todo()
        if estimate and todo:
            yield self._cost(todo, threads)
        if estimate_only:
            return
        self._answer_as_teacher()
        shared = (self.splits, self.store.url, self.config.device, threads)
        done = 0
        for phase in (self.teachers, [*self.alone, *(run for _, run in self.students)]):
            jobs = [run for run in todo if run.identity in {one.identity for one in phase}]
            for number, progress in engine(work, jobs, shared):
                finished = progress is None
                yield Stage(self._title(jobs[number]), done + 1, len(todo), progress)
                if finished:
                    done += 1
                    self.write_tables()
        self.write_tables()

    def _todo(self) -> list[TrainingRun]:
        """The runs that neither the store nor the tables have."""
        known = self._tabled()
        students = [
            run
            for run in {one.identity: one for one in (*self.alone, *(run for _, run in self.students))}.values()
            if run.identity not in known and read_result(self.store, run.identity) is None
        ]
        needed = {run.teacher for run in students}
        teachers = [
            run
            for run in self.teachers
            if read_result(self.store, run.identity) is None
            and needed & {teacher_key(run.identity, epoch) for epoch in run.snapshots}
        ]
        return [*teachers, *students]

    def _cost(self, todo: Sequence[TrainingRun], threads: int) -> Cost:
        """Time the first epoch of one run of each network; as every epoch, it is kept."""
        seconds: dict[str, float] = {}
        for run in sorted(todo, key=lambda one: bool(one.teacher)):  # those that need no teacher first
            if run.network in seconds:
                continue
            if run.teacher:
                self._answer_as_teacher()
                if not self.store.has(run.teacher):
                    continue
            training = perform(run, self.splits, self.store, self.config.device, threads)
            for progress in training:
                if progress.ends_epoch:
                    seconds[run.network] = progress.seconds_of_epoch
                    next(training, None)  # its state is kept
                    break
            training.close()  # type: ignore[attr-defined]
        return Cost(
            len(todo),
            sum(run.config.epochs for run in todo),
            sum(run.config.epochs * seconds.get(run.network, 0.0) for run in todo),
        )

    def _answer_as_teacher(self) -> None:
        """The experiment's teacher speaks once for all students; its answers go where the runs find them."""
        key = teacher_key(self._own_teacher)
        if self.name == "teacher-epochs" or self.store.has(key):
            return
        write_array(self.store, key, self._spoken()["train"])

    def _spoken(self) -> dict[str, Tensor]:
        """The experiment's teacher on every split: split -> logits."""
        if "own" not in self._speakers:
            splits = self.teacher_splits or self.splits
            teacher = self.experiment.runs["teacher"].on(choose_device(self.config.device))
            check_teacher(teacher, self.experiment.classes, splits["train"].classes)
            normalise, device = self.experiment.input.normalise, self.config.device
            self._speakers["own"] = {
                name: predict_logits(teacher, samples, normalise, device=device, bf16="auto" if name == "train" else "off")
                for name, samples in splits.items()
            }
        return self._speakers["own"]

    def _title(self, run: TrainingRun) -> str:
        if run.role == "teacher":
            return f"teacher, seed {run.config.seed}"
        value = next((value for value, other in self.students if other == run), None)
        shown = "alone" if value is None else f"{self.study.unit} = {value:g}" if not isinstance(value, str) else value
        return f"{shown}, seed {run.config.seed}"

    # the tables -------------------------------------------------------------------------------------------------------

    def write_tables(self) -> None:
        """Collect what is done into the study's table, curves.parquet and study_predictions.parquet."""
        rows, curves, predictions = self._known_rows(), [], []
        known = {row["run"] for row in rows}
        for runs in (self._teacher_rows(), self._student_rows(known)):
            for row, curve, predicted in runs:
                rows += row
                curves += curve
                predictions += predicted
        predictions += [
            {"run": self.data, "role": "label", "split": name, "predicted": samples.labels.tolist()}
            for name, samples in self._measured.items()
        ]
        self._write(self.study.table, rows, STUDY_SCHEMA, ("run", "teacher_epochs", "split"))
        self._write("curves", [*_earlier(self.experiment, "curves"), *curves], CURVES_SCHEMA, ("run", "epoch"))
        before = _earlier(self.experiment, "study_predictions")
        self._write("study_predictions", [*before, *predictions], PREDICTIONS_SCHEMA, ("run", "split"))

    def _write(self, name: str, rows: Iterable[dict[str, Any]], schema: pa.Schema, key: Sequence[str]) -> None:
        unique = {tuple(row.get(one) for one in key): row for row in rows}
        self.experiment.write_table(name, pa.Table.from_pylist(list(unique.values()), schema))

    @cached_property
    def _measured(self) -> dict[str, LabelledImages]:
        return {name: samples for name, samples in self.splits.items() if name != "train"}

    def _teacher_rows(self) -> Iterator[tuple[list, list, list]]:
        if self.name != "teacher-epochs":
            spoken = self._spoken()
            yield self._rows("teacher", self._own_teacher, {name: spoken[name] for name in self._measured}, {}), [], []
            return
        for run in self.teachers:
            ready = [epoch for epoch in run.snapshots if self.store.has(teacher_key(run.identity, epoch))]
            result = read_result(self.store, run.identity)
            if not ready or result is None:
                continue
            rows = []
            for epoch in ready:
                logits = {
                    name: read_array(self.store, f"{run.identity}/logits-{name}-{epoch:04d}.npy") for name in self._measured
                }
                about = {**self._about(run), "teacher_epochs": epoch, "epochs": epoch}
                rows += self._rows("teacher", run.identity, logits, about)
            yield rows, _curves(run, result), []

    def _student_rows(self, known: set[str]) -> Iterator[tuple[list, list, list]]:
        alone = {run.config.seed: self._predicted(run) for run in self.alone}
        for value, run in [*((None, one) for one in self.alone), *self.students]:
            result = None if run.identity in known else read_result(self.store, run.identity)
            if result is None:
                continue
            logits = {name: read_array(self.store, f"{run.identity}/logits-{name}.npy") for name in self._measured}
            about = {**self._about(run), "seconds": sum(one["seconds"] for one in result["curves"])}
            about["best_epoch"] = _best_epoch(result["curves"])
            if self.name == "teacher-epochs" and value is not None:
                about["teacher_epochs"] = int(value)
            rows = self._rows(run.role, run.identity, logits, about, self._teacher_of(run), alone.get(run.config.seed))
            predicted = [
                {"run": run.identity, "role": run.role, "split": name, "predicted": values.argmax(1).tolist()}
                for name, values in logits.items()
            ]
            yield rows, _curves(run, result), predicted

    def _about(self, run: TrainingRun) -> dict[str, Any]:
        """What the table says of a run's recipe."""
        config, default = run.config, TrainingConfig()
        own = ("epochs", "batch_size", "learning_rate", "temperature", "alpha", "loss", "seed", "device")
        settings = {
            name: value for name, value in asdict(config).items() if name not in own and value != getattr(default, name)
        }
        about: dict[str, Any] = {"seed": config.seed, "epochs": config.epochs}
        about |= {"batch_size": config.batch_size, "learning_rate": config.learning_rate}
        if run.teacher:
            about |= {"temperature": config.temperature, "alpha": config.alpha, "kd_loss": config.loss}
            for name in ("temperature", "alpha"):
                if isinstance(about[name], str):  # a schedule
                    settings[name] = about.pop(name)
        about["settings"] = json.dumps(settings, sort_keys=True)
        return about

    def _teacher_of(self, run: TrainingRun) -> dict[str, Tensor] | None:
        """What its teacher says on the measured splits; the student alone is compared with the experiment's."""
        if self.name != "teacher-epochs":
            return self._spoken()
        if not run.teacher:
            return None
        identity, _, file = run.teacher.partition("/")
        epoch = file.removesuffix(".npy").rpartition("-")[2]
        return {name: read_array(self.store, f"{identity}/logits-{name}-{epoch}.npy") for name in self._measured}

    def _predicted(self, run: TrainingRun) -> dict[str, np.ndarray] | None:
        """The classes that a run gives, from the store or the table; None if it is not done."""
        if read_result(self.store, run.identity) is not None:
            return {
                name: read_array(self.store, f"{run.identity}/logits-{name}.npy").argmax(1).numpy()
                for name in self._measured
            }
        rows = [row for row in _earlier(self.experiment, "study_predictions") if row["run"] == run.identity]
        return {row["split"]: np.array(row["predicted"]) for row in rows} or None

    def _rows(
        self,
        role: str,
        identity: str,
        logits: Mapping[str, Tensor],
        about: Mapping[str, Any],
        teacher: Mapping[str, Tensor] | None = None,
        alone: Mapping[str, np.ndarray] | None = None,
    ) -> list[dict[str, Any]]:
        rows = []
        for split, samples in self._measured.items():
            metrics = model_metrics(logits[split], samples.labels, None if teacher is None else teacher[split])
            row = {**self._recipe, **about, "run": identity, "role": role, "split": split, **metrics}
            row["samples"] = len(samples)
            row["class_accuracy"] = class_accuracy(logits[split], samples.labels)
            if role == "kd_student" and alone is not None and split in alone:
                labels = samples.labels.numpy()
                test = mcnemar(alone[split] == labels, logits[split].argmax(1).numpy() == labels)
                row |= {"fixed": test.fixed, "broken": test.broke, "mcnemar_p": test.p_value}
            rows.append(row)
        return rows

    @property
    def _recipe(self) -> dict[str, Any]:
        """What all rows of a table have in common, so that they can be compared."""
        return {
            "teacher": self._own_teacher[:8],
            "student": self.network,
            "batch_size": self.config.batch_size,
            "learning_rate": self.config.learning_rate,
        }

    def _check_recipe(self) -> None:
        """A table of another recipe must not be continued: its runs cannot be compared with the new ones."""
        recipe = {**self._recipe, "epochs": self.config.epochs}
        for row in _earlier(self.experiment, self.study.table):
            for name, value in recipe.items():
                if row["role"] != "teacher" and row[name] != value:
                    path = self.experiment.folder / f"{self.study.table}.parquet"
                    raise ExperimentError(
                        f"'{path}' was made with {name} {row[name]}, not {value}; "
                        "sweep with the same settings, or move that file away to begin anew."
                    )

    def _known_rows(self) -> list[dict[str, Any]]:
        """The rows of the study's table, and those of the same runs in other studies' tables."""
        own = {run.identity for run in (*self.alone, *(run for _, run in self.students))}
        rows = _earlier(self.experiment, self.study.table)
        for other in STUDIES.values():
            if other.table != self.study.table and self.name != "teacher-epochs":
                shared = _earlier(self.experiment, other.table)
                rows += [row for row in shared if row["run"] in own and other.table != "teacher_epochs"]
        return rows

    def _tabled(self) -> set[str]:
        return {row["run"] for row in self._known_rows()}


def _earlier(experiment: Experiment, name: str) -> list[dict[str, Any]]:
    return experiment.table(name).to_pylist() if experiment.has_table(name) else []


def _curves(run: TrainingRun, result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"run": run.identity, "role": run.role, **one} for one in result["curves"]]


def _best_epoch(curves: Sequence[Mapping[str, Any]]) -> int:
    """The first of those with the highest validation accuracy, whose weights are kept."""
    return max(curves, key=lambda one: one["validation_accuracy"])["epoch"]


# reading a study ------------------------------------------------------------------------------------------------------


def summary(table: pa.Table, study: str, split: str = "test") -> list[dict[str, Any]]:
    """Mean and spread over seeds for each value of a study, and for the student alone (value None).

    Args:
        table: The study's.
        study: One of ``STUDIES``.
        split: Which samples.

    Returns:
        Dicts with role, value, seeds, accuracy, accuracy_sd (sample standard deviation; None for one seed),
        accuracy_low and accuracy_high, and the means of the other figures (None where there is none).
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
    found: dict[str, Any] = {
        "role": role,
        "value": value,
        "seeds": len(group),
        "accuracy": float(accuracy.mean()),
        "accuracy_sd": float(accuracy.std()) if len(group) > 1 else None,
        "accuracy_low": float(accuracy.min()),
        "accuracy_high": float(accuracy.max()),
    }
    names = ("loss", "ece", "f1", "auc", "same_as_teacher", "kl_to_teacher", "inherited_errors", "fixed", "broken")
    for name in (*names, "best_epoch", "seconds"):
        values = [row[name] for row in group if row[name] is not None]
        found[name] = sum(values) / len(values) if values else None
    return found
