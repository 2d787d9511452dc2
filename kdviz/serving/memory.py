"""Return of unused memory to the system by processes that serve for weeks."""

from __future__ import annotations

import threading
import time

from kdviz.core.processes.memory import return_free_memory

_BETWEEN = 20.0  # seconds between two looks
_WORTH = 0.5  # seconds of processor time since the last return; returning takes some hundredths


def give_back_memory() -> None:
    """Return freed memory to the system, which Arrow, glibc and torch would keep.

    That includes a GPU's memory, which other processes that share it could not use otherwise.
    """
    import pyarrow as pa
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    pa.default_memory_pool().release_unused()
    return_free_memory()


class RegularReturn:
    """Return of memory whenever the process has worked, whatever it was: jobs, or runs of pages, which are threads.

    What these leave free lies between what is kept, and glibc returns a heap from its end only.
    """

    def __init__(self) -> None:
        self._used = time.process_time()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Look every 20 seconds, in a thread of its own, until it is stopped or the process ends."""
        threading.Thread(target=self._look_on, name="kdviz-memory", daemon=True).start()

    def look(self) -> bool:
        """Return memory if the process has worked since the last time; whether it has."""
        is_worth = time.process_time() - self._used >= _WORTH
        if is_worth:
            give_back_memory()
            self._used = time.process_time()
        return is_worth

    def stop(self) -> None:
        self._stopped.set()

    def _look_on(self) -> None:
        while not self._stopped.wait(_BETWEEN):
            self.look()
