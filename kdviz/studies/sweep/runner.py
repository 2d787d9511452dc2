"""Studies over many trainings: one setting is varied over several seeds, and the results go into tidy tables.

Each training is a :class:`kdviz.distill.storage.training_run.TrainingRun`, which is done once and continues where it
was interrupted, on this machine or on a cluster. The tables are rewritten whenever a run is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError, SettingError
from kdviz.core.files import Store
from kdviz.core.jobs import run_local
from kdviz.core.vocabulary import Role, Split
from kdviz.data import LabelledImages
from kdviz.distill import Stage, TrainingConfig, check_teacher, predict_logits
from kdviz.distill.beginnings import require_layers
from kdviz.distill.recipes import StudyInputs, study_inputs
from kdviz.distill.runs import execute_run, run_in_worker
from kdviz.distill.storage.run_files import is_finished, new_network, read_result, write_array, write_weights
from kdviz.distill.storage.training_run import TrainingRun, data_fingerprint, teacher_key
from kdviz.distill.transfer_sets.making import check_transfer_sets
from kdviz.experiment import Experiment
from kdviz.studies.sweep.kinds import STUDIES, TRANSFER_SET, Study
from kdviz.studies.sweep.loss_values import check_losses_used
from kdviz.studies.sweep.plan import SweepPlan
from kdviz.studies.sweep.summary import summary
from kdviz.studies.sweep.tables import CURVES_SCHEMA, PREDICTIONS_SCHEMA, STUDY_SCHEMA, StudyTables, existing_rows


@dataclass(frozen=True)
class Cost:
    """An estimate of what a study will take, from one timed epoch of each network.

    Attributes:
        runs: Number of trainings that are left.
        epochs: Their number of epochs in all.
        seconds: Their time on this machine, one run after the other.
    """

    runs: int
    epochs: int
    seconds: float


@dataclass
class Sweep:
    """A study of one experiment: its runs, what they share, and where their files go.

    Args:
        experiment: An experiment with a teacher and a KD student, whose network the students have.
        name: One of ``STUDIES``.
        splits: The data of the experiment: ``train``, ``validation`` and splits that are only measured.
        values: Values of what is varied.
        seeds: Seeds; each trains a student alone and one student for each value.
        config: The recipe of the students.
        results: Folder for the runs' files, a path or an fsspec URL; default ``runs`` in the experiment's folder.
        weights_only: Whether only :meth:`make_weights` is used; the experiment's tables may then be of another teacher.

    Raises:
        SettingError: No values, or one outside its range.
        ModelError: The teacher's classes are not those of the data.
        ExperimentError: A role is missing, or the table was made with another recipe or other data.
    """

    experiment: Experiment
    name: str
    splits: Mapping[str, LabelledImages]
    values: Sequence[Any]
    seeds: Sequence[int]
    config: TrainingConfig
    results: str | Path | None = None
    weights_only: bool = False

    def __post_init__(self) -> None:
        for role in (Role.TEACHER, Role.KD_STUDENT):
            if role not in self.experiment.runs:
                raise ExperimentError(
                    "'{folder}' has no {role}, which a study needs.", folder=self.experiment.folder, role=role
                )
        if "teacher_2" in self.experiment.runs:
            raise ExperimentError(
                "'{folder}' has several teachers; a study distils from one.", folder=self.experiment.folder
            )
        taught_by = self.experiment.runs[Role.KD_STUDENT].training.get("taught_by")
        if taught_by:
            raise ExperimentError(
                "The KD student of '{folder}' learned from {taught_by} by assistants, generations or mutual learning; "
                "a study distils each student from the trained teacher alone.",
                folder=self.experiment.folder,
                taught_by=" and ".join(map(str, taught_by)),
            )
        if not self.values or not self.seeds:
            raise SettingError("A study needs at least one value and one seed.")
        self.values, self.seeds = self.study.checked(self.values), list(dict.fromkeys(self.seeds))
        if self.name == "loss":
            check_losses_used(self.config, self.values)
        names = self.values if self.name == TRANSFER_SET else [self.config.transfer_set]
        check_transfer_sets(names, self.config.transfer_steps, self.experiment.input)
        teacher = self.experiment.runs[Role.TEACHER].model
        check_teacher(teacher, self.experiment.classes, self.splits[Split.TRAIN].classes)
        self.store = Store(self.results or self.experiment.folder / "runs")
        _ = self.plan.teachers, self.plan.student_runs  # every setting is checked before anything is trained
        if not self.weights_only:
            self.plan.check_comparable(existing_rows(self.experiment, self.study.table))

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    @cached_property
    def material(self) -> StudyInputs:
        """The data, networks and starting weights of its trainings."""
        return study_inputs(self.experiment, self.splits, self.store, self.config)

    @cached_property
    def plan(self) -> SweepPlan:
        """The plan of its runs."""
        inputs = self.material
        return SweepPlan(
            self.experiment,
            self.name,
            self.values,
            self.seeds,
            self.config,
            inputs.network,
            data_fingerprint(inputs.splits),
            inputs.teacher_network,
            inputs.spec,
            inputs.teacher_spec,
            inputs.start,
            data_fingerprint(inputs.teacher_splits),
        )

    @cached_property
    def tables(self) -> StudyTables:
        """The tables of its results."""
        measured = {name: samples for name, samples in self.material.splits.items() if name != Split.TRAIN}
        return StudyTables(self.plan, self.store, measured, lambda: self.teacher_logits)

    def _require_layers(self, students: Sequence[TrainingRun]) -> None:
        """Refuse a loss between layers that the networks do not have, before anything is trained.

        Raises:
            ModelError: They have none.
        """
        classes = len(self.experiment.classes)
        for run in {run.config.feature_loss: run for run in students if run.config.feature_loss}.values():
            student = new_network(run.network, run.spec, classes, 0)
            require_layers(student, self.experiment.runs[Role.TEACHER].model, run.spec, run.config)

    def run(
        self,
        engine: Callable[..., Iterator[tuple[int, Any]]] = run_local,
        *,
        threads: int = 0,
        estimate: bool = True,
        estimate_only: bool = False,
    ) -> Iterator[Stage | Cost]:
        """Do the runs that are left, and write the tables after each of them.

        Args:
            engine: :func:`kdviz.core.jobs.run_local`, or a function like it.
            threads: Threads of torch in each run; 0: the default.
            estimate: Whether to yield a :class:`Cost` first; the epochs that are timed for it are kept.
            estimate_only: Whether to stop after the estimate.
        """
        teachers, students = self._remaining_runs()
        self._require_layers(students)
        todo = [*teachers, *students]
        if (estimate or estimate_only) and todo:
            yield self._estimate_cost(todo, threads)
        if estimate_only:
            return
        if students:
            self.store_teacher_logits()
        done = 0
        for jobs, splits in ((teachers, self.material.teacher_splits), (students, self.material.splits)):
            shared = (splits, self.store.url, self.config.device, threads)
            for index, progress in engine(run_in_worker, jobs, shared):
                yield Stage(self.plan.title(jobs[index]), done + 1, len(todo), progress)
                if progress is None:
                    done += 1
                    self.tables.write()
        self.tables.write()

    def make_weights(
        self,
        alone: Sequence[int] = (),
        engine: Callable[..., Iterator[tuple[int, Any]]] = run_local,
        *,
        threads: int = 0,
        estimate_only: bool = False,
    ) -> Iterator[Stage | Cost]:
        """Do the runs whose weights are not in the store, and those of further students alone.

        Unlike :meth:`run` it also does runs that the tables have already, and it leaves the tables unchanged.

        Args:
            alone: Seeds of the further students.
            engine, threads, estimate_only: As in :meth:`run`.
        """
        student_runs = [*(run for _, run in self.plan.student_runs), *(self.plan.student(seed) for seed in alone)]
        students = [
            run for run in {run.identity: run for run in student_runs}.values() if not is_finished(self.store, run)
        ]
        teachers = [run for run in self.plan.teachers if not is_finished(self.store, run)]
        if students or teachers:
            yield self._estimate_cost([*teachers, *students], threads)
        if estimate_only or not (students or teachers):
            return
        if any(run.teacher for run in students):
            self.store_teacher_logits()
        further_titles = [f"alone, seed {seed}" for seed in alone]
        titles = {
            run.identity: title
            for run, title in zip(student_runs[len(student_runs) - len(alone) :], further_titles, strict=True)
        }
        count, done = len(teachers) + len(students), 0
        for jobs, splits in ((teachers, self.material.teacher_splits), (students, self.material.splits)):
            for index, progress in engine(run_in_worker, jobs, (splits, self.store.url, self.config.device, threads)):
                title = titles.get(jobs[index].identity) or self.plan.title(jobs[index])
                yield Stage(title, done + 1, count, progress)
                done += progress is None

    def _remaining_runs(self) -> tuple[list[TrainingRun], list[TrainingRun]]:
        """The teachers and students that are neither in the store nor in the tables."""
        finished = self.tables.finished_runs()
        students = [
            run
            for run in {run.identity: run for _, run in self.plan.student_runs}.values()
            if run.identity not in finished and read_result(self.store, run.identity) is None
        ]
        needed = {run.teacher for run in students}
        teachers = [
            run
            for run in self.plan.teachers
            if needed & {teacher_key(run.identity, epoch) for epoch in run.snapshots}
            and not is_finished(self.store, run)
        ]
        return teachers, students

    def _estimate_cost(self, todo: Sequence[TrainingRun], threads: int) -> Cost:
        """Time the first epoch of one run of each network; like every epoch, it is kept."""
        seconds: dict[str, float] = {}
        for run in sorted(todo, key=lambda run: bool(run.teacher)):  # runs without a teacher first
            if run.network not in seconds and self._has_teacher(run):
                seconds[run.network] = self._seconds_of_epoch(run, threads)
        return Cost(
            len(todo),
            sum(run.config.epochs for run in todo),
            sum(run.config.epochs * seconds.get(run.network, 0.0) for run in todo),
        )

    def _has_teacher(self, run: TrainingRun) -> bool:
        if run.teacher:
            self.store_teacher_logits()
        return not run.teacher or self.store.has(run.teacher)

    def _seconds_of_epoch(self, run: TrainingRun, threads: int) -> float:
        splits = self.material.teacher_splits if run.role == Role.TEACHER else self.material.splits
        training = execute_run(run, splits, self.store, self.config.device, threads)
        end = next(progress for progress in training if progress.ends_epoch)
        next(training, None)  # its state is kept
        training.close()  # type: ignore[attr-defined]
        return end.seconds_of_epoch

    def store_teacher_logits(self, is_asked: bool = False) -> None:
        """Store the logits of the experiment's teacher once for all students, where the runs find them.

        Args:
            is_asked: Whether runs besides those of the plan need the teacher itself, too.
        """
        if self.plan.trains_teachers:
            return
        logits, weights = teacher_key(self.plan.own_teacher), f"{self.plan.own_teacher}/weights.safetensors"
        # By some values of a study of losses.
        is_asked = is_asked or any(run.teacher_network for _, run in self.plan.students)
        if is_asked and not self.store.has(weights):
            write_weights(self.store, weights, self.experiment.runs[Role.TEACHER].model)
        if not self.store.has(logits):
            write_array(self.store, logits, self.teacher_logits[Split.TRAIN])

    @cached_property
    def teacher_logits(self) -> Mapping[str, Tensor]:
        """Split -> logits of the experiment's teacher; each split's are computed when they are first asked for."""
        if self.material.answers is not None:
            return self.material.answers
        teacher = self.experiment.runs[Role.TEACHER].on(choose_device(self.config.device))
        return _Answers(teacher, self.material.splits, self.experiment.input.normalise, self.config.device)


class _Answers(dict[str, Tensor]):
    """Split -> logits of a model; the training split, the largest, is asked only where something is learned from it."""

    def __init__(
        self,
        model: nn.Module,
        splits: Mapping[str, LabelledImages],
        normalise: Callable[[Tensor], Tensor],
        device: str,
    ):
        super().__init__()
        self._model, self._splits, self._normalise, self._device = model, splits, normalise, device

    def __missing__(self, split: str) -> Tensor:
        # Those of the training samples are only learned from; reported ones must not depend on bfloat16.
        bf16 = "auto" if split == Split.TRAIN else "off"
        samples = self._splits[split]
        self[split] = predict_logits(self._model, samples, self._normalise, device=self._device, bf16=bf16)
        return self[split]


__all__ = [
    "CURVES_SCHEMA",
    "PREDICTIONS_SCHEMA",
    "STUDIES",
    "STUDY_SCHEMA",
    "Cost",
    "Study",
    "StudyTables",
    "Sweep",
    "summary",
]
