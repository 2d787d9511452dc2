"""Memory that is free inside the process goes back to the system, so that an import stays small."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa

_EVERY = 0.2  # seconds; a call takes some milliseconds


@contextmanager
def small_footprint() -> Iterator[None]:
    """Return free memory to the system every moment, where the C library is glibc.

    Batches of many sizes leave holes in the heap, which glibc keeps: measured on three MobileNetV2, half a gigabyte.
    """
    trim = _malloc_trim()
    if trim is None:
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_trim_until, args=(trim, ended), name="kdviz-footprint", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _trim_until(trim: Callable[[int], int], ended: threading.Event) -> None:
    while not ended.wait(_EVERY):
        pa.default_memory_pool().release_unused()
        trim(0)


def _malloc_trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library; Windows has no library of the process
        return None
