"""What all sessions share of the computing: one job queue, and finished results. No widgets here."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import torch
from PIL import Image

from kdviz.execution import Job, JobQueue
from kdviz.images import content_hash
from kdviz.networks import choose_device
from kdviz.saliency import ExplainState, explain_stream, methods
from kdviz.ui.library import OpenExperiment, first, folders, open_experiment

_RESULTS = 128
TEACHER = "teacher"

States = tuple[ExplainState, ...]
"""Of the rows of a :class:`Request`: those before the last are complete, later rows have not begun."""


class Results:
    """The last finished results, by everything they depend on."""

    def __init__(self, limit: int = _RESULTS):
        self._limit = limit
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple, ExplainState] = OrderedDict()

    def get(self, key: tuple) -> ExplainState | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: tuple, state: ExplainState) -> None:
        with self._lock:
            self._kept[key] = state
            self._kept.move_to_end(key)
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)


@lru_cache(maxsize=1)
def queue() -> JobQueue:
    return JobQueue()


@lru_cache(maxsize=1)
def results() -> Results:
    return Results()


@dataclass(frozen=True)
class Request:
    """Maps of one prepared picture, once for each of ``rows`` of settings.

    Attributes:
        target: The class whose maps have to settle where ``reliability`` is set: an index, ``teacher`` for the
            teacher's prediction, or None for each model's own. Otherwise all classes are computed alike.
    """

    opened: OpenExperiment
    picture: Image.Image
    rows: tuple[Mapping[str, Any], ...]
    target: int | str | None = TEACHER

    @cached_property
    def keys(self) -> tuple[tuple, ...]:
        """What each row's result depends on: the models, the picture as they see it, and the settings."""
        picture = self.picture
        pixels = content_hash(picture.mode.encode() + repr(picture.size).encode() + picture.tobytes())
        return tuple(
            (self.opened.fingerprint, pixels, tuple(sorted(row.items())), self.target if row["reliability"] else None)
            for row in self.rows
        )


def start(request: Request) -> Job[States]:
    """Queue a request, its first row first; a row's finished result is kept for everybody.

    Raises:
        QueueFullError: Too many are under way.
    """
    known = tuple(state for state in map(results().get, request.keys) if state is not None)
    if len(known) == len(request.rows):
        return _finished(known)

    def work() -> Iterator[States]:
        complete: States = ()
        for settings, key in zip(request.rows, request.keys, strict=True):
            latest = complete
            for state in _states(request, settings, key):
                latest = (*complete, state)
                yield latest
            complete = latest

    return queue().submit(work)


def _finished(states: States) -> Job[States]:
    job: Job[States] = Job(lambda: iter(()))
    job.latest = states
    job.finish("done")
    return job


def _states(request: Request, settings: Mapping[str, Any], key: tuple) -> Iterator[ExplainState]:
    known = results().get(key)
    if known is not None:
        yield known
        return
    target = _class_to_settle(request) if settings["reliability"] else None
    state = None
    for state in explain_stream(request.opened.experiment, request.picture, target, **settings):
        yield state
    if state is not None:
        results().put(key, state)


@torch.inference_mode()
def _class_to_settle(request: Request) -> int | None:
    experiment = request.opened.experiment
    if request.target != TEACHER:
        return None if request.target is None else experiment.class_index(request.target)
    if TEACHER not in experiment.runs:
        return None
    inputs = experiment.preprocess(request.picture).to(choose_device("auto"))
    return int(experiment.runs[TEACHER].on(inputs.device)(inputs)[0].argmax())


def default_masks(opened: OpenExperiment) -> int:
    """So many that a first look takes seconds."""
    return 250 if opened.is_large else 2000


def default_settings(opened: OpenExperiment) -> dict[str, Any]:
    """Of the first maps that a newcomer sees."""
    return {**methods["rise"].complete({}), "n_masks": default_masks(opened)}


def warm_up() -> None:
    """Load the models, compute the first picture's maps, and take what is loaded out of garbage collection."""
    opened = open_experiment(first(list(folders())))
    if opened.shown is not None:
        picture = opened.shown.picture(opened.showcase[0])
        start(Request(opened, picture, (default_settings(opened),))).wait(60)
    gc.collect()
    gc.freeze()
