"""Which trainings a study is made of, and what a table says of their recipes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kdviz.core.errors import ExperimentError, SettingError
from kdviz.distill import TrainingConfig
from kdviz.distill.storage.training_run import TrainingRun, teacher_key
from kdviz.experiment import Experiment, InputSpec
from kdviz.studies.sweep.kinds import STUDIES, Study


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a study.

    Attributes:
        experiment: Has a teacher and a KD student.
        name: One of ``STUDIES``.
        values: Of what is varied, in their own type.
        seeds: Each trains a student alone and one for each value.
        config: The recipe of the students.
        network: Of the students.
        data: The fingerprint of the data.
        teacher_network: Of teachers that are trained.
        teacher_data: The fingerprint of what teachers are trained on, where it is not ``data``.
        spec, teacher_spec: Of the students' and teachers' input, where it is not the experiment's.
        start: The name in the store of the weights that the students begin with; empty: fresh ones.
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
        """What stands for the experiment's teacher where a run has its identity."""
        return self.experiment.runs["teacher"].sha256[:16]

    @property
    def trains_teachers(self) -> bool:
        return self.name == "teacher-epochs"

    @cached_property
    def teachers(self) -> list[TrainingRun]:
        """The teachers that are trained for this study: one a seed where their epochs are varied."""
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
        """(value, run) of every student; the value is None for those alone, which come first."""
        return [*((None, run) for run in self.alone), *self.students]

    def teacher(self, seed: int) -> TrainingRun:
        """The teacher of a seed, with its weights after each of the study's values."""
        epochs = tuple(sorted(self.values))
        if epochs[0] < 1:
            raise SettingError(f"A teacher trains for at least one epoch, got {epochs[0]}.")
        return self._teacher_run(seed, epochs[-1], epochs)

    def further_teacher(self, seed: int) -> TrainingRun:
        """A teacher trained as the experiment's own one was, from another seed."""
        epochs = int(self.experiment.runs["teacher"].training.get("epochs", 0)) or self.config.epochs
        return self._teacher_run(seed, epochs)

    def _teacher_run(self, seed: int, epochs: int, snapshots: tuple[int, ...] = ()) -> TrainingRun:
        run = self.experiment.runs["teacher"]
        network = self.teacher_network or run.network
        if network == run.network and (run.training.get("weights_from") or run.training.get("trained") is False):
            raise ExperimentError(
                f"The teacher of '{self.experiment.folder}' began with weights from elsewhere, which a study of its "
                "epochs or of further teachers needs; train one whose head alone is trained, or from fresh weights."
            )
        recipe = replace(
            TrainingConfig(),
            batch_size=int(run.training.get("batch_size", self.config.batch_size)),
            learning_rate=float(run.training.get("learning_rate", self.config.learning_rate)),
            augment=str(run.training.get("augment", "")),
            class_weights=str(run.training.get("class_weights", "none")),
            epochs=epochs,
            seed=seed,
            device=self.config.device,
            bf16=self.config.bf16,
        )
        spec = self.teacher_spec or self.experiment.input
        return TrainingRun("teacher", network, recipe, self.teacher_data or self.data, spec, "", snapshots)

    def student(self, seed: int, value: Any = None) -> TrainingRun:
        """The KD student of a value and a seed; without a value, the student alone."""
        config, spec = replace(self.config, seed=seed), self.spec or self.experiment.input
        if value is None:
            return TrainingRun("student", self.network, config, self.data, spec, start=self.start)
        teacher = teacher_key(self.own_teacher)
        if self.trains_teachers:
            teacher = teacher_key(self.teacher(seed).identity, value)
        else:
            config = replace(config, **{{"kd_loss": "loss"}.get(self.study.column, self.study.column): value})
        network = self.experiment.runs["teacher"].network if config.needs_live_teacher else ""
        return TrainingRun(
            "kd_student", self.network, config, self.data, spec, teacher, teacher_network=network, start=self.start
        )

    def title(self, run: TrainingRun) -> str:
        """What a run is called while it is under way."""
        if run.role == "teacher":
            return f"teacher, seed {run.config.seed}"
        value = next(value for value, other in self.student_runs if other.identity == run.identity)
        return f"{'alone' if value is None else self.study.shown(value)}, seed {run.config.seed}"

    # what tables say --------------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> dict[str, Any]:
        """What all rows of a table have in common, so that they can be compared."""
        return {
            "teacher": self.own_teacher[:8],
            "student": self.network,
            "batch_size": self.config.batch_size,
            "learning_rate": self.config.learning_rate,
        }

    def refuse_others(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Refuse a table that must not be continued: its runs cannot be compared with those of this plan.

        Raises:
            ExperimentError: One of its rows says something else of its recipe, or is a run of other data.
        """
        for row in rows:
            if "run" not in row:
                raise self._refused("by an earlier version of kdviz")
            if row["role"] == "teacher":
                continue
            value = row[self.study.column] if row["role"] == "kd_student" else None
            run = self.student(row["seed"], value)
            for name, wanted in {**self.recipe, **about(run)}.items():
                if row[name] != wanted:
                    raise self._refused(f"with {name} {row[name]}, not {wanted}")
            if row["run"] != run.identity:
                raise self._refused("with other data")

    def _refused(self, how: str) -> ExperimentError:
        path = self.experiment.folder / f"{self.study.table}.parquet"
        return ExperimentError(
            f"'{path}' was made {how}; sweep with the same settings, or move that file away to begin anew."
        )


def about(run: TrainingRun) -> dict[str, Any]:
    """What a study's table says of a run's recipe."""
    config, usual = run.config, TrainingConfig().to_json()
    own = ("epochs", "batch_size", "learning_rate", "temperature", "alpha", "loss", "seed", "device")
    settings = {name: value for name, value in config.to_json().items() if name not in own and value != usual[name]}
    found: dict[str, Any] = {"seed": config.seed, "epochs": config.epochs}
    found |= {"batch_size": config.batch_size, "learning_rate": config.learning_rate}
    if run.teacher:
        found |= {"temperature": config.temperature, "alpha": config.alpha, "kd_loss": config.loss}
        for name in ("temperature", "alpha"):
            if isinstance(found[name], str):  # a schedule
                settings[name] = found.pop(name)
    return {"settings": json.dumps(settings, sort_keys=True), **found}
