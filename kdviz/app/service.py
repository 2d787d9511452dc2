"""The computations of all sessions: the workers, and finished results. No widgets."""

from __future__ import annotations

import gc
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image

from kdviz.app.library import OpenExperiment, first, folders, open_experiment
from kdviz.app.results import Results, shared_results
from kdviz.app.uploads import session_store
from kdviz.core.images import content_hash
from kdviz.core.jobs import Job
from kdviz.metrics.similarity import MAIN
from kdviz.saliency import ExplainState, methods
from kdviz.serving import MapsTask, Pool, can_fork, start_pool
from kdviz.serving.client import finished
from kdviz.serving.memory import RegularReturn, give_back_memory
from kdviz.serving.tasks import TEACHER, Target
from kdviz.studies.attention import studies_of

__all__ = ["TEACHER", "Request", "States", "default_masks", "default_settings", "pool", "start", "warm_up"]

_pools: list[Pool] = []
_starting = threading.Lock()
_MOST_PATIENCE = 10.0

States = tuple[ExplainState, ...]
"""States of the rows of a :class:`Request`: all but the last are complete; rows that have not begun are missing."""


def pool(fork: bool = False) -> Pool:
    """The pool of workers, started.

    Args:
        fork: How to start them if they are not running; see :func:`kdviz.serving.start_pool`.

    Raises:
        SettingError: See :func:`kdviz.serving.start_pool`.
    """
    with _starting:
        if not _pools:
            _pools.append(start_pool(fork))
            _pools[0].start()
        return _pools[0]


def start_workers() -> None:
    """Start the workers before the server computes anything, if they can be forked and so share its memory.

    Otherwise :func:`warm_up` starts them.
    """
    if can_fork():
        pool(fork=True)


@dataclass(frozen=True)
class Request:
    """Maps of one prepared picture, once for each of ``rows`` of settings.

    Attributes:
        rows: Complete settings, with the method's name as ``method`` (default: RISE).
        target: The class explained: an index, ``teacher`` for the teacher's prediction, None for each model's own, or
            (role, index) for each.
            RISE computes all classes alike; other methods, and stopping by ``reliability``, depend on it.
        roles: Roles of the models; empty for all.
        results: Where the results are kept, which refer to the picture.
    """

    opened: OpenExperiment
    picture: Image.Image
    rows: tuple[Mapping[str, Any], ...]
    target: Target = TEACHER
    roles: tuple[str, ...] = ()
    results: Results = field(default_factory=shared_results, repr=False)

    @cached_property
    def keys(self) -> tuple[tuple, ...]:
        """What each row's result depends on: the models, the picture as they see it, and the settings."""
        pixels, roles = picture_hash(self.picture), self.task.roles
        return tuple(
            (
                self.opened.fingerprint,
                pixels,
                roles,
                tuple(sorted(row.items())),
                self.target if row["method"] != "rise" or row["reliability"] else None,
            )
            for row in self.task.rows
        )

    @cached_property
    def task(self) -> MapsTask:
        experiment = self.opened.experiment
        return MapsTask(
            str(experiment.folder.resolve()),
            self.opened.fingerprint,
            self.picture,
            tuple({"method": "rise", **row} for row in self.rows),
            self.roles or tuple(experiment.models),
            self.target,
        )


def picture_hash(picture: Image.Image) -> str:
    """Hash of a picture's pixels as the models see them."""
    return content_hash(picture.mode.encode() + repr(picture.size).encode() + picture.tobytes())


def start(request: Request) -> Job[States]:
    """Queue a request, its first row first; a row's finished result is kept in ``request.results``.

    Raises:
        QueueFullError: Too many computations are under way.
    """
    finished_states: States = ()
    for key in request.keys:
        state = request.results.states.get(key)
        if state is None:
            break
        finished_states = (*finished_states, state)
    if len(finished_states) == len(request.keys):
        return finished(finished_states)

    def keep(job: Job[States]) -> None:
        complete = job.latest or ()
        if job.status != "done":
            complete = complete[:-1]
        for key, state in zip(request.keys, complete, strict=False):
            scores = sum(explain_state.scores.nbytes for explain_state in state.states.values())
            request.results.states.put(key, state, scores)

    task = request.task
    remaining = MapsTask(
        task.folder, task.fingerprint, task.picture, task.rows[len(finished_states) :], task.roles, task.target
    )
    return pool().submit(remaining, keep, finished_states)


def patience(job: Job | None) -> float:
    """The factor, from 1 to 10, by which an unfinished job's maps are drawn less often than if it was alone.

    Jobs take turns, so that each has news less often. Without it, five people who compute would take more of this
    process than twenty who read, most of it for what they see already.
    """
    ahead = _pools[0].jobs_ahead(job) if _pools and job is not None else 0
    return min(max(1.0, (1 + ahead) / 2), _MOST_PATIENCE)


def default_masks(opened: OpenExperiment) -> int:
    """A number of masks with which a first look takes seconds."""
    return 250 if opened.is_large else 2000


def default_settings(opened: OpenExperiment) -> dict[str, Any]:
    """Settings of the first maps that a newcomer sees."""
    return {"method": "rise", **methods["rise"].complete({}), "n_masks": default_masks(opened)}


def _first_picture(opened: OpenExperiment) -> Image.Image | None:
    """The picture that Compare shows first; None without any."""
    if opened.samples is not None:
        return opened.samples.picture(opened.showcase[0])
    return None if opened.photographs is None else opened.photographs.picture(0)


def warm_up() -> None:
    """Start the workers, compute the first picture's maps, and take what is loaded out of garbage collection."""
    opened = open_experiment(first(list(folders())))
    picture = _first_picture(opened)
    pool()  # not earlier: a worker process loads as much as this one, and the first page needs none
    if picture is not None:
        start(Request(opened, picture, (default_settings(opened),))).wait(60)
    for study in studies_of(opened.experiment)[:1]:
        opened.attention(study, MAIN)  # takes a second or two, for which its first reader then need not wait
    gc.collect()
    gc.freeze()
    give_back_memory()
    RegularReturn().start()


def _forget(folder: Path) -> None:
    """Make the workers drop an experiment that a session has removed or left behind."""
    for workers in _pools:
        workers.forget(str(folder.resolve()))


session_store.when_removed(_forget)
