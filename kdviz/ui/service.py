"""What all sessions share: opened experiments, one job queue, and finished results. No widgets here."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from PIL import Image

from kdviz.analysis.mistakes import Predictions, read_predictions, showcase
from kdviz.datasets import LabelledImages, bundled_digits
from kdviz.execution import Job, JobQueue
from kdviz.experiment import Experiment, load_experiment
from kdviz.images import content_hash
from kdviz.saliency import ExplainState, explain_stream, methods

_RESULTS = 128


@dataclass
class OpenExperiment:
    """An experiment and what its pages need."""

    experiment: Experiment
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def fingerprint(self) -> str:
        """Changes when a model does."""
        return content_hash("".join(run.sha256 for run in self.experiment.runs.values()).encode())

    @cached_property
    def samples(self) -> LabelledImages:
        return bundled_digits()["bundled"]

    @cached_property
    def predictions(self) -> Predictions:
        return read_predictions(self.experiment.table("predictions"), "bundled")

    @cached_property
    def showcase(self) -> list[int]:
        return showcase(self.predictions, len(self.experiment.classes))


@lru_cache(maxsize=8)
def open_experiment(name: str) -> OpenExperiment:
    """Open once for all sessions.

    Raises:
        ExperimentError, UnknownNameError: See :func:`kdviz.load_experiment`.
    """
    return OpenExperiment(load_experiment(name))


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


def result_key(opened: OpenExperiment, picture: Image.Image, settings: Mapping[str, Any]) -> tuple:
    """What a result depends on: the models, the picture as they see it, and the settings."""
    pixels = content_hash(picture.mode.encode() + repr(picture.size).encode() + picture.tobytes())
    return opened.fingerprint, pixels, tuple(sorted(settings.items()))


def start(opened: OpenExperiment, picture: Image.Image, settings: Mapping[str, Any]) -> Job[ExplainState]:
    """Queue the maps of one prepared picture; a finished result is kept for everybody.

    Raises:
        QueueFullError: Too many are under way.
    """
    key = result_key(opened, picture, settings)

    def work():
        state = None
        for state in explain_stream(opened.experiment, picture, **settings):
            yield state
        if state is not None:
            results().put(key, state)

    return queue().submit(work)


def default_settings() -> dict[str, Any]:
    """Of the first maps that a newcomer sees."""
    return {**methods["rise"].complete({}), "n_masks": 2000}


def warm_up(name: str = "mnist") -> None:
    """Load the models, compute the first picture's maps, and take what is loaded out of garbage collection."""
    opened = open_experiment(name)
    picture = opened.samples.picture(opened.showcase[0])
    start(opened, picture, default_settings()).wait(60)
    gc.collect()
    gc.freeze()
