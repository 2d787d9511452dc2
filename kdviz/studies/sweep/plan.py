"""The trainings of a sweep, and the columns of their recipes in its table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.vocabulary import Role
from kdviz.distill import TrainingConfig
from kdviz.distill.config import TEACHER_SETTINGS
from kdviz.distill.storage.training_run import TrainingRun, teacher_key
from kdviz.distill.transfer_sets.registry import path_fingerprint
from kdviz.experiment import Experiment, InputSpec
from kdviz.studies.sweep.kinds import STUDIES, Study
from kdviz.studies.sweep.loss_values import loss_text, parse_loss


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a study.

    Attributes:
        experiment: An experiment with a teacher and a KD student.
        name: One of ``STUDIES``.
        values: Values of what is varied, in their type.
        seeds: Seeds; each trains a student alone and one student for each value.
        config: The recipe of the students.
        network: Network of the students.
        data: Fingerprint of the data.
        teacher_network: Network of teachers that are trained.
        spec, teacher_spec: Inputs of the students and teachers, where they differ from the experiment's.
        start: Name in the store of the students' initial weights; empty: random ones.
        teacher_data: Fingerprint of the teachers' training data, where it differs from ``data``.
    """

    experiment: Experiment
    name: str
    values: Sequence[Any]
    seeds: Sequence[int]
    config: TrainingConfig
    network: str
    data: str
    teacher_network: str = ""
    spec: InputSpec | None = None
    teacher_spec: InputSpec | None = None
    start: str = ""
    teacher_data: str = ""

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @property
    def own_teacher(self) -> str:
        """The identity of the experiment's own teacher: the beginning of its weights' SHA-256."""
        return self.experiment.runs[Role.TEACHER].sha256[:16]

    @property
    def trains_teachers(self) -> bool:
        return self.name == "teacher-epochs"

    @cached_property
    def teachers(self) -> list[TrainingRun]:
        """The teachers that are trained for this study: one for each seed where their epochs are varied."""
        return [self.teacher(seed) for seed in self.seeds] if self.trains_teachers else []

    @cached_property
    def alone(self) -> list[TrainingRun]:
        return [self.student(seed) for seed in self.seeds]

    @cached_property
    def students(self) -> list[tuple[Any, TrainingRun]]:
        """(value, run) of every KD student."""
        return [(value, self.student(seed, value)) for value in self.values for seed in self.seeds]

    @property
    def student_runs(self) -> list[tuple[Any, TrainingRun]]:
        """(value, run) of every student; those alone come first, with the value None."""
        return [*((None, run) for run in self.alone), *self.students]

    def teacher(self, seed: int) -> TrainingRun:
        """The teacher of a seed, whose weights are kept after each of the study's numbers of epochs."""
        epochs = tuple(sorted(self.values))
        if epochs[0] < 1:
            raise SettingError("A teacher trains for at least one epoch, got {epochs}.", epochs=epochs[0])
        return self._teacher_run(seed, epochs[-1], epochs)

    def further_teacher(self, seed: int) -> TrainingRun:
        """A teacher that is trained as the experiment's own was, from another seed."""
        epochs = int(self.experiment.runs[Role.TEACHER].training.get("epochs", 0)) or self.config.epochs
        return self._teacher_run(seed, epochs)

    def _teacher_run(self, seed: int, epochs: int, snapshots: tuple[int, ...] = ()) -> TrainingRun:
        run = self.experiment.runs[Role.TEACHER]
        network = self.teacher_network or run.network
        if network == run.network and (run.training.get("weights_from") or run.training.get("trained") is False):
            raise ExperimentError(
                "The teacher of '{folder}' began with weights from elsewhere, which a study of its "
                "epochs or of further teachers needs; train one whose head alone is trained, or from "
                "fresh weights.",
                folder=self.experiment.folder,
            )
        recipe = replace(
            TrainingConfig(),
            batch_size=int(run.training.get("batch_size", self.config.batch_size)),
            learning_rate=float(run.training.get("learning_rate", self.config.learning_rate)),
            augment=str(run.training.get("augment", "")),
            class_weights=str(run.training.get("class_weights", "none")),
            optimizer=str(run.training.get("optimizer", "adam")),
            learning_rate_schedule=str(run.training.get("learning_rate_schedule", "constant")),
            weight_decay=float(run.training.get("weight_decay", 0.0)),
            epochs=epochs,
            seed=seed,
            device=self.config.device,
            bf16=self.config.bf16,
        )
        spec = self.teacher_spec or self.experiment.input
        return TrainingRun(Role.TEACHER, network, recipe, self.teacher_data or self.data, spec, "", snapshots)

    def student(self, seed: int, value: Any = None) -> TrainingRun:
        """The KD student of a value and a seed; without a value, the student alone."""
        config, spec = replace(self.config, seed=seed), self.spec or self.experiment.input
        if value is None:
            return TrainingRun(Role.STUDENT, self.network, config, self.data, spec, start=self.start)
        teacher = teacher_key(self.own_teacher)
        if self.trains_teachers:
            teacher = teacher_key(self.teacher(seed).identity, value)
        elif self.name == "loss":
            config = parse_loss(value).applied_to(config)
        else:
            config = replace(config, **{self.study.column: value})
        network = self.experiment.runs[Role.TEACHER].network if config.needs_teacher_network else ""
        data = self.data + path_fingerprint(config.transfer_set)
        return TrainingRun(
            Role.KD_STUDENT, self.network, config, data, spec, teacher, teacher_network=network, start=self.start
        )

    def title(self, run: TrainingRun) -> str:
        """The name of a run in progress reports."""
        if run.role == Role.TEACHER:
            return f"teacher, seed {run.config.seed}"
        value = next(value for value, student_run in self.student_runs if student_run.identity == run.identity)
        return f"{'alone' if value is None else self.study.shown(value)}, seed {run.config.seed}"

    # columns of tables ------------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> dict[str, Any]:
        """The columns that all rows of a table have in common, so that the rows can be compared."""
        return {
            "teacher": self.own_teacher[:8],
            "student": self.network,
            "batch_size": self.config.batch_size,
            "learning_rate": self.config.learning_rate,
        }

    def check_comparable(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuse to continue a table whose runs cannot be compared with those of this plan.

        Raises:
            ExperimentError: A row has another recipe, or is a run of other data.
        """
        for row in rows:
            if "run" not in row:
                raise self._incomparable("by an earlier version of kdviz")
            if row["role"] == Role.TEACHER:
                continue
            value = row[self.study.column] if row["role"] == Role.KD_STUDENT else None
            run = self.student(row["seed"], value)
            for name, expected in {**self.recipe, **recipe_columns(run)}.items():
                if row[name] != expected:
                    raise self._incomparable(f"with {name} {row[name]}, not {expected}")
            if row["run"] != run.identity:
                raise self._incomparable("with other data")

    def _incomparable(self, how: str) -> ExperimentError:
        path = self.experiment.folder / f"{self.study.table}.parquet"
        return ExperimentError(
            "'{path}' was made {how}; sweep with the same settings, or move that file away to begin anew.",
            path=path,
            how=how,
        )


def recipe_columns(run: TrainingRun) -> dict[str, Any]:
    """The columns of a run's recipe in a study's table."""
    config, defaults = run.config, TrainingConfig().to_json()
    own_columns = [
        "epochs",
        "batch_size",
        "learning_rate",
        "temperature",
        "alpha",
        "loss",
        "transfer_set",
        "seed",
        "device",
    ]
    own_columns += [] if run.teacher else TEACHER_SETTINGS  # which a student alone does not have
    settings = {
        name: value for name, value in config.to_json().items() if name not in own_columns and value != defaults[name]
    }
    columns: dict[str, Any] = {"seed": config.seed, "epochs": config.epochs}
    columns |= {"batch_size": config.batch_size, "learning_rate": config.learning_rate}
    if run.teacher:
        columns |= {"temperature": config.temperature, "alpha": config.alpha, "kd_loss": loss_text(config)}
        columns["transfer_set"] = config.transfer_set
        for name in ("temperature", "alpha"):
            if isinstance(columns[name], str):  # a schedule
                settings[name] = columns.pop(name)
    return {"settings": json.dumps(settings, sort_keys=True), **columns}
