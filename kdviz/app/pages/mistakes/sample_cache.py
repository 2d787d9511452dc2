"""Results about some samples that are kept for all sessions, as long as the samples themselves are."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from kdviz.app.library import SampleView

Value = TypeVar("Value")


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
