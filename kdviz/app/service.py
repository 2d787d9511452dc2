"""What all sessions share of the computing: the workers, and finished results. No widgets here."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from PIL import Image

from kdviz.app.library import OpenExperiment, first, folders, open_experiment
from kdviz.core.images import content_hash
from kdviz.core.jobs import Job
from kdviz.metrics.similarity import MAIN
from kdviz.saliency import ExplainState, methods
from kdviz.serving import FaithfulnessTask, MapsTask, Pool, RemoteJob, can_fork, start_pool
from kdviz.serving.client import finished
from kdviz.serving.tasks import TEACHER, Target
from kdviz.serving.worker import give_back_memory
from kdviz.studies.attention import studies_of

__all__ = ["TEACHER", "Request", "States", "default_masks", "default_settings", "pool", "start", "warm_up"]

_pools: list[Pool] = []
_starting = threading.Lock()
_RESULTS = 128
_RESULT_BYTES = 96 * 2**20

States = tuple[ExplainState, ...]
"""Of the rows of a :class:`Request`: those before the last are complete, later rows have not begun."""


class Results:
    """The last finished results, by everything they depend on: so many, and so many bytes."""

    def __init__(self, limit: int = _RESULTS, limit_bytes: int = _RESULT_BYTES):
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple, Any] = OrderedDict()
        self._sizes: dict[tuple, int] = {}

    def get(self, key: tuple) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple, state: Any, size: int = 0) -> None:
        """Keep a result of ``size`` bytes; the oldest make room."""
        with self._lock:
            self._kept[key], self._sizes[key] = state, size
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit or (
                len(self._kept) > 1 and sum(self._sizes.values()) > self._limit_bytes
            ):
                oldest, _ = self._kept.popitem(last=False)
                del self._sizes[oldest]


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


@lru_cache(maxsize=1)
def results() -> Results:
    """Finished states: the models' scores under all masks."""
    return Results()


@lru_cache(maxsize=1)
def made() -> Results:
    """What was made of finished states for a class: maps and their agreement."""
    return Results()


@dataclass(frozen=True)
class Request:
    """Maps of one prepared picture, once for each of ``rows`` of settings.

    Attributes:
        rows: Complete settings, with the method's name as ``method`` (default: RISE).
        target: The class explained: an index, ``teacher`` for the teacher's prediction, None for each model's own, or
            (role, index) for each.
            RISE computes all classes alike; other methods, and stopping by ``reliability``, depend on it.
        roles: Which models; empty: all.
    """

    opened: OpenExperiment
    picture: Image.Image
    rows: tuple[Mapping[str, Any], ...]
    target: Target = TEACHER
    roles: tuple[str, ...] = ()

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
    """Queue a request, its first row first; a row's finished result is kept for everybody.

    Raises:
        QueueFullError: Too many are under way.
    """
    known: States = ()
    for key in request.keys:
        state = results().get(key)
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
            results().put(key, state, scores)

    task = request.task
    rest = MapsTask(task.folder, task.fingerprint, task.picture, task.rows[len(known) :], task.roles, task.target)
    return pool().submit(rest, keep, known)


def start_faithfulness(task: FaithfulnessTask) -> RemoteJob:
    """Queue deletion and insertion curves.

    Raises:
        QueueFullError: Too many are under way.
    """
    return pool().submit(task)


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
