"""Samples as pages show them, and caches of results that end with the samples or experiments that they are about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from kdviz.core.language import _
from kdviz.studies.predictions.mistakes import Predictions
from kdviz.studies.predictions.stored_logits import Logits

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class SampleView:
    """The samples of a split that have pictures, in a fixed order.

    Attributes:
        split: Name of the split.
        numbers: Their numbers in the whole split, int64 (N,).
        labels: Ground truth, int64 (N,); -1 where it is not known.
        pictures: Returns the pictures of samples by their indices, 0 to N - 1.
        thumbnails: Returns small copies of them likewise; None: there are none, and the pictures are reduced.
        kept: Bool (N,), whose pictures are stored as the models see them; of the others ``pictures`` returns small
            copies. None: all.
        predictions: The models' predictions for these samples; if None, ``missing`` says why.
        logits: Role -> float32 (N, classes), likewise; they may be read when they are asked for.
        why: A sentence on why there are no predictions, to be translated.
        command: The command that makes them.
        has_pictures: Whether ``pictures`` returns pictures; else they are blank, since those of the data are not here.
    """

    split: str
    numbers: np.ndarray
    labels: np.ndarray
    pictures: Callable[[Sequence[int]], list[Image.Image]]
    thumbnails: Callable[[Sequence[int]], list[Image.Image]] | None = None
    kept: np.ndarray | None = None
    predictions: Predictions | None = None
    logits: Mapping[str, Logits] = field(default_factory=dict)
    why: str = ""
    command: str = ""
    has_pictures: bool = True

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether all samples have labels."""
        return bool((self.labels >= 0).all())

    @property
    def missing(self) -> str:
        """A sentence on why there are no predictions and which command makes them; empty if there are some."""
        return _(self.why, command=self.command) if self.why else ""

    def is_kept(self, index: int) -> bool:
        """Whether a sample's picture is stored as the models see it."""
        return self.has_pictures and (self.kept is None or bool(self.kept[index]))

    def picture(self, index: int) -> Image.Image:
        return self.pictures([index])[0]

    def index_of(self, number: int) -> int | None:
        """The index of the sample with a number in the split; None if it has no picture."""
        matches = np.flatnonzero(self.numbers == number)
        return int(matches[0]) if len(matches) else None

    def with_predictions(self, predictions: Predictions) -> SampleView | None:
        """The same samples with predictions, given those of the whole split; None if these are of other samples."""
        numbers = self.numbers
        if (
            not len(numbers)
            or numbers.max() >= len(predictions.labels)
            or (predictions.labels[numbers] != self.labels).any()
        ):
            return None
        selected = Predictions(
            self.split,
            self.labels,
            {role: values[numbers] for role, values in predictions.predicted.items()},
            {role: values[numbers] for role, values in predictions.confidence.items()},
        )
        return replace(self, predictions=selected)


class SampleCache(Generic[Value]):
    """The last results for each :class:`SampleView`, dropped with it, so that nothing of a session's uploads stays.

    A result must not refer to its samples, or neither would ever be dropped.

    Args:
        limit: Number of results that are kept for each.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._lock = Lock()
        self._results: WeakKeyDictionary[SampleView, OrderedDict[Hashable, Value]] = WeakKeyDictionary()

    def get(self, samples: SampleView, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result that is kept under ``key``, or a new one."""
        with self._lock:
            of_samples = self._results.setdefault(samples, OrderedDict())
            if key in of_samples:
                of_samples.move_to_end(key)
                return of_samples[key]
        result = make()
        with self._lock:
            of_samples[key] = result
            while len(of_samples) > self._limit:
                of_samples.popitem(last=False)
        return result


class VersionedCache:
    """The last results about one object, which holds this cache, so that they end with it.

    Args:
        limit: Number of results that are kept.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._lock = Lock()
        self._results: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], Value]) -> Value:
        """The result that is kept under ``key``, or a new one if there is none or ``version`` has changed."""
        with self._lock:
            entry = self._results.get(key)
            if entry is not None and entry[0] == version:
                self._results.move_to_end(key)
                return entry[1]
        result = make()
        with self._lock:
            self._results[key] = version, result
            self._results.move_to_end(key)
            while len(self._results) > self._limit:
                self._results.popitem(last=False)
        return result
