"""Finished results: those that everybody may see are shared, those of a session are private and end with it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import streamlit as st

_SHARED, _PRIVATE = 128, 24
_SHARED_BYTES, _PRIVATE_BYTES = 96 * 2**20, 24 * 2**20


class ResultCache:
    """The last finished results, by everything on which they depend.

    Args:
        limit: Largest number of results.
        limit_bytes: Largest size of all results, in bytes.
    """

    def __init__(self, limit: int, limit_bytes: int):
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple, Any] = OrderedDict()
        self._sizes: dict[tuple, int] = {}

    def get(self, key: tuple) -> Any:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: tuple, state: Any, size: int = 0) -> None:
        """Keep a result of ``size`` bytes; the oldest ones make room."""
        with self._lock:
            self._entries[key], self._sizes[key] = state, size
            self._entries.move_to_end(key)
            while len(self._entries) > self._limit or (
                len(self._entries) > 1 and sum(self._sizes.values()) > self._limit_bytes
            ):
                oldest, _ = self._entries.popitem(last=False)
                del self._sizes[oldest]


@dataclass(frozen=True)
class Results:
    """The results that one session, or every session, may see.

    Attributes:
        states: Finished states, with the models' scores under all masks.
        drawn: Results for a class that were made of finished states: maps, their agreement, and what pages draw.
    """

    states: ResultCache
    drawn: ResultCache


@lru_cache(maxsize=1)
def shared_results() -> Results:
    """The results for samples of experiments that every session sees."""
    return Results(ResultCache(_SHARED, _SHARED_BYTES), ResultCache(_SHARED, _SHARED_BYTES))


@st.cache_resource(scope="session", show_spinner=False)
def session_results() -> Results:
    """The results for this session's own pictures and experiments; Streamlit drops them when the session ends."""
    return Results(ResultCache(_PRIVATE, _PRIVATE_BYTES), ResultCache(_PRIVATE, _PRIVATE_BYTES))


def results_for(*, private: bool) -> Results:
    """The private or the shared results."""
    return session_results() if private else shared_results()
