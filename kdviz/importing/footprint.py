"""Return of unused memory to the system, so that an import needs little of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from kdviz.core.processes.memory import return_free_memory

_EVERY = 0.2  # seconds between calls, each of which takes a few milliseconds


@contextmanager
def small_footprint() -> Iterator[None]:
    """Regularly return free memory to the system, if the C library is glibc.

    Batches of many sizes leave gaps in the heap, which glibc keeps: half a gigabyte, as measured on three MobileNetV2.
    """
    if not return_free_memory():
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_trim_until, args=(stop,), name="kdviz-footprint", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _trim_until(stop: threading.Event) -> None:
    while not stop.wait(_EVERY):
        pa.default_memory_pool().release_unused()
        return_free_memory()
