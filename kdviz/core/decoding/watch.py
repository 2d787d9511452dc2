"""A limit on how long a process may take for something, without a thread for each time that it is asked."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_STEP = 0.25  # seconds by which a limit may be late
_IDLE = 40  # steps without anything to watch, after which the thread ends


class Watch:
    """Kills processes whose time is over. Its thread runs while there is something to watch, and a little longer."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextmanager
    def limited(self, process: subprocess.Popen[bytes], seconds: float) -> Iterator[None]:
        """Kill the process unless this ends within so many seconds."""
        with self._lock:
            self._ends[process] = time.monotonic() + seconds
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="kdviz-watch", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._ends.pop(process, None)

    def _forget(self) -> None:
        """At first, and after a fork, which leaves threads behind."""
        self._lock = threading.Lock()
        self._ends: dict[subprocess.Popen[bytes], float] = {}
        self._thread: threading.Thread | None = None

    def _run(self) -> None:
        idle = 0
        while idle < _IDLE:
            time.sleep(_STEP)
            with self._lock:
                idle = 0 if self._ends else idle + 1
                if idle == _IDLE:
                    self._thread = None
                now = time.monotonic()
                for process in [process for process, end in self._ends.items() if end < now]:
                    process.kill()
