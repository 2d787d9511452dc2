"""Further teachers of an attention study, so that its results are not about a single teacher.

Each is trained as the experiment's own teacher was, from another seed, and has students of its own seeds: seeds are
nested in teachers, so that the spread between teachers includes that of their students' seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from kdviz.core.errors import SettingError
from kdviz.core.jobs import run_local
from kdviz.core.vocabulary import Role
from kdviz.distill import Stage
from kdviz.distill.runs import run_in_worker
from kdviz.distill.storage.run_files import is_finished, read_weights, weights_of
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.experiment import Run
from kdviz.studies.sweep.runner import Sweep


def teacher_runs(sweep: Sweep, count: int) -> list[TrainingRun]:
    """The trainings of ``count`` teachers beside the experiment's own, with the seeds that follow its seed.

    Raises:
        SettingError: The study varies its teachers already.
        ExperimentError: The experiment's teacher began with weights from elsewhere.
    """
    if count and sweep.plan.trains_teachers:
        raise SettingError("A study of the teachers' epochs trains a teacher a seed already; leave --teachers away.")
    first = int(sweep.experiment.runs[Role.TEACHER].training.get("seed", 0)) + 1
    return [sweep.plan.further_teacher(seed) for seed in range(first, first + count)]


def train_teachers(
    sweep: Sweep,
    runs: Sequence[TrainingRun],
    engine: Callable[..., Iterator[tuple[int, Any]]] = run_local,
    *,
    threads: int = 0,
) -> Iterator[Stage]:
    """Train the teachers that are not finished; an interrupted training continues.

    Args:
        sweep: The sweep of the experiment.
        runs: From :func:`teacher_runs`.
        engine, threads: As in :meth:`kdviz.studies.sweep.runner.Sweep.run`.
    """
    remaining = [run for run in runs if not is_finished(sweep.store, run)]
    shared = (sweep.material.teacher_splits, sweep.store.url, sweep.config.device, threads)
    done = 0
    for index, progress in engine(run_in_worker, remaining, shared):
        yield Stage(f"teacher, seed {remaining[index].config.seed}", done + 1, len(remaining), progress)
        done += progress is None


def sweep_of_teacher(sweep: Sweep, run: TrainingRun, seeds: Sequence[int]) -> Sweep:
    """The same sweep with a further teacher, whose training is finished, in the place of the experiment's.

    Args:
        sweep: The sweep of the experiment.
        run: The teacher's training.
        seeds: Seeds of its students.
    """
    network = read_weights(sweep.store, run, len(sweep.experiment.classes))
    own_teacher = sweep.experiment.runs[Role.TEACHER]
    teacher = Run(
        Role.TEACHER,
        own_teacher.network,
        "",
        hashlib.sha256(weights_of(network)).hexdigest(),
        run.config.to_json(),
        {},
        own_teacher.folder,
        own_teacher.spec,
        own_teacher.n_classes,
    )
    teacher.unadapted = teacher.model = network
    experiment = replace(sweep.experiment, runs={**sweep.experiment.runs, Role.TEACHER: teacher})
    return Sweep(
        experiment, sweep.name, sweep.splits, sweep.values, seeds, sweep.config, sweep.store.url, weights_only=True
    )


def seeds_of_teacher(seeds: Sequence[int], index: int) -> list[int]:
    """The seeds of one teacher's students: those given for the first, and as many new ones for each further one.

    >>> [seeds_of_teacher([0, 1, 2], index) for index in range(3)]
    [[0, 1, 2], [3, 4, 5], [6, 7, 8]]

    Args:
        seeds: Seeds of the first teacher's students.
        index: Number of the teacher, from 0.
    """
    if index == 0:
        return list(seeds)
    first = max(seeds) + 1 + (index - 1) * len(seeds)
    return list(range(first, first + len(seeds)))
