"""Samples as pages show them, and what is kept about samples and experiments as long as these are themselves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from kdviz.core.language import _
from kdviz.studies.predictions.mistakes import Predictions

Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class SampleView:
    """The samples of one split of which there are pictures, in one order.

    Attributes:
        split: Its name.
        numbers: int64 (N,): which they are in the whole split.
        labels: Ground truth, int64 (N,); -1 where it is not known.
        pictures: The pictures of samples by their places, 0 to N - 1.
        predictions: What the models say of these; None: see ``missing``.
        logits: Role -> float32 (N, classes), likewise.
        why: Why there are no predictions, in one sentence, to be translated.
        command: That makes them.
    """

    split: str
    numbers: np.ndarray
    labels: np.ndarray
    pictures: Callable[[Sequence[int]], list[Image.Image]]
    predictions: Predictions | None = None
    logits: dict[str, np.ndarray] = field(default_factory=dict)
    why: str = ""
    command: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether it is known which answers are right."""
        return bool((self.labels >= 0).all())

    @property
    def missing(self) -> str:
        """Why there are no predictions and what makes them, in one sentence."""
        return _(self.why, command=self.command) if self.why else ""

    def picture(self, place: int) -> Image.Image:
        return self.pictures([place])[0]

    def index_of(self, number: int) -> int | None:
        """The index of a sample of the split; None when it has no picture."""
        found = np.flatnonzero(self.numbers == number)
        return int(found[0]) if len(found) else None

    def with_predictions(self, predictions: Predictions, logits: dict[str, np.ndarray]) -> SampleView | None:
        """The same with what the models say of the whole split; None if that is of other samples."""
        at = self.numbers
        if not len(at) or at.max() >= len(predictions.labels) or (predictions.labels[at] != self.labels).any():
            return None
        chosen = Predictions(
            self.split,
            self.labels,
            {role: values[at] for role, values in predictions.predicted.items()},
            {role: values[at] for role, values in predictions.confidence.items()},
        )
        return replace(self, predictions=chosen, logits={role: values[at] for role, values in logits.items()})


class SampleCache(Generic[Value]):
    """The last results of each :class:`SampleView`. They go with it: of what one session brought, nothing stays.

    A result must not refer to its samples, or neither would ever go.

    Args:
        limit: How many of each are kept.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._lock = Lock()
        self._known: WeakKeyDictionary[SampleView, OrderedDict[Hashable, Value]] = WeakKeyDictionary()

    def get(self, shown: SampleView, key: Hashable, make: Callable[[], Value]) -> Value:
        """The result that is kept, or a new one."""
        with self._lock:
            results = self._known.setdefault(shown, OrderedDict())
            if key in results:
                results.move_to_end(key)
                return results[key]
        made = make()
        with self._lock:
            results[key] = made
            while len(results) > self._limit:
                results.popitem(last=False)
        return made


class VersionedCache:
    """The last results about one object, kept inside of it, so that they end with it.

    Args:
        limit: The number of results that are kept.
    """

    def __init__(self, limit: int):
        self._limit = limit
        self._lock = Lock()
        self._known: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()

    def get(self, key: Hashable, version: Hashable, make: Callable[[], Value]) -> Value:
        """The result that is kept under ``key``, or a new one if there is none or ``version`` has changed."""
        with self._lock:
            known = self._known.get(key)
            if known is not None and known[0] == version:
                self._known.move_to_end(key)
                return known[1]
        made = make()
        with self._lock:
            self._known[key] = version, made
            self._known.move_to_end(key)
            while len(self._known) > self._limit:
                self._known.popitem(last=False)
        return made
