"""What all sessions share of the computing: the workers, and finished results. No widgets here."""

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
from kdviz.serving.tasks import TEACHER, Target
from kdviz.serving.worker import give_back_memory
from kdviz.studies.attention import studies_of

__all__ = ["TEACHER", "Request", "States", "default_masks", "default_settings", "pool", "start", "warm_up"]

_pools: list[Pool] = []
_starting = threading.Lock()

States = tuple[ExplainState, ...]
"""Of the rows of a :class:`Request`: those before the last are complete, later rows have not begun."""


def pool(fork: bool = False) -> Pool:
    """The workers, started.

    Args:
        fork: How to start them if they are not; see :func:`kdviz.serving.start_pool`.

    Raises:
        SettingError: See :func:`kdviz.serving.start_pool`.
    """
    with _starting:
        if not _pools:
            _pools.append(start_pool(fork))
            _pools[0].start()
        return _pools[0]


def start_workers() -> None:
    """Start them before the server computes anything, where they can then share its memory.

    Elsewhere :func:`warm_up` starts them.
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
        roles: Which models; empty: all.
        results: Where the results are kept; they refer to the picture.
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
    """Of its pixels as the models see them."""
    return content_hash(picture.mode.encode() + repr(picture.size).encode() + picture.tobytes())


def start(request: Request) -> Job[States]:
    """Queue a request, its first row first; a row's finished result is kept in ``request.results``.

    Raises:
        QueueFullError: Too many are under way.
    """
    known: States = ()
    for key in request.keys:
        state = request.results.states.get(key)
        if state is None:
            break
        known = (*known, state)
    if len(known) == len(request.keys):
        return finished(known)

    def keep(job: Job[States]) -> None:
        complete = job.latest or ()
        if job.status != "done":
            complete = complete[:-1]
        for key, state in zip(request.keys, complete, strict=False):
            scores = sum(one.scores.nbytes for one in state.states.values())
            request.results.states.put(key, state, scores)

    task = request.task
    rest = MapsTask(task.folder, task.fingerprint, task.picture, task.rows[len(known) :], task.roles, task.target)
    return pool().submit(rest, keep, known)


def default_masks(opened: OpenExperiment) -> int:
    """So many that a first look takes seconds."""
    return 250 if opened.is_large else 2000


def default_settings(opened: OpenExperiment) -> dict[str, Any]:
    """Of the first maps that a newcomer sees."""
    return {"method": "rise", **methods["rise"].complete({}), "n_masks": default_masks(opened)}


def warm_up() -> None:
    """Start the workers, compute the first picture's maps, and take what is loaded out of garbage collection."""
    opened = open_experiment(first(list(folders())))
    picture = opened.shown.picture(opened.showcase[0]) if opened.shown is not None else None
    pool()  # not before: a process of its own loads as much, and the first page needs no worker
    if picture is not None:
        start(Request(opened, picture, (default_settings(opened),))).wait(60)
    for study in studies_of(opened.experiment)[:1]:
        opened.attention(study, MAIN)  # a second or two, which its first reader need not wait
    gc.collect()
    gc.freeze()
    give_back_memory()


def _forget(folder: Path) -> None:
    """The workers keep nothing of an experiment that a session has removed, or left."""
    for workers in _pools:
        workers.forget(str(folder.resolve()))


session_store.when_removed(_forget)
