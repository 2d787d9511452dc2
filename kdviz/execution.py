"""Running many jobs on one device, in turn, a chunk each, so that nobody waits for somebody else's long one."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from kdviz.errors import KdvizError

State = TypeVar("State")

_log = logging.getLogger(__name__)
_SLICE_SECONDS = 0.08  # a turn lasts at least one chunk, and further chunks until this much time is used


class QueueFullError(KdvizError):
    """More jobs wait than the queue takes."""


class Job(Generic[State]):
    """One computation that yields states. Threads may read its attributes at any time.

    Attributes:
        status: ``waiting``, ``running``, ``done``, ``stopped`` or ``failed``.
        latest: The last state that was yielded, or None.
        error: What to tell the user when it failed.
        seconds: From submission to the end, or to now.
    """

    def __init__(self, work: Callable[[], Iterator[State]]):
        self.status = "waiting"
        self.latest: State | None = None
        self.error: str | None = None
        self._work = work
        self._states: Iterator[State] | None = None
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._start = time.monotonic()
        self._end: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended.is_set()

    @property
    def seconds(self) -> float:
        return (self._end or time.monotonic()) - self._start

    def cancel(self) -> None:
        """Ask it to stop; it does so before its next chunk, and keeps its latest state."""
        self._cancelled.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; True when it has come."""
        return self._ended.wait(timeout)

    def _turn(self) -> bool:
        """Work for a moment; False when there is nothing left to do."""
        self.status = "running"
        if self._states is None:
            self._states = self._work()
        limit = time.monotonic() + _SLICE_SECONDS
        while not self._cancelled.is_set():
            state = next(self._states, None)
            if state is None:
                return self.finish("done")
            self.latest = state
            if time.monotonic() >= limit:
                return True
        return self.finish("stopped")

    def finish(self, status: str, error: str | None = None) -> bool:
        self.error, self._states = error, None
        self._end = time.monotonic()
        self.status = status
        self._ended.set()
        return False


class JobQueue:
    """One worker thread for one device. Jobs take turns.

    Args:
        limit: Jobs that may be under way at once.
    """

    def __init__(self, limit: int = 64):
        self._limit = limit
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="kdviz-jobs", daemon=True).start()

    def submit(self, work: Callable[[], Iterator[State]]) -> Job[State]:
        """Queue a computation; ``work`` is called, and its states are made, on the worker thread.

        Raises:
            QueueFullError: Too many are under way.
        """
        job = Job(work)
        with self._changed:
            if len(self._jobs) >= self._limit:
                raise QueueFullError("Too many comparisons are being computed; please try again in a moment.")
            self._jobs.append(job)
            self._changed.notify()
        return job

    def place(self, job: Job) -> int:
        """How many other jobs are under way."""
        return sum(other is not job for other in list(self._jobs))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs[0]
            more = self._safely(job)
            with self._changed:
                # The job stays at the head during its turn, so that place() counts it.
                self._jobs.popleft()
                if more:
                    self._jobs.append(job)

    @staticmethod
    def _safely(job: Job) -> bool:
        try:
            return job._turn()
        except KdvizError as error:
            return job.finish("failed", str(error))
        except Exception:
            _log.exception("a job failed")
            return job.finish("failed", "The computation failed unexpectedly; the server's log says why.")
