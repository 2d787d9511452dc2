"""Running of jobs: a queue for one device whose jobs take turns, and lists of jobs, in this process or on Ray.

Jobs in a queue advance by one chunk each, so that no session waits for the long job of another.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from kdviz.core.errors import KdvizError, SettingError

State = TypeVar("State")

_log = logging.getLogger(__name__)
_SLICE_SECONDS = 0.08  # a turn lasts at least one chunk, and further chunks until this much time is used
_CANCEL_ATTEMPTS = 10  # a second each


class QueueFullError(KdvizError):
    """The queue is full."""


class Job(Generic[State]):
    """One computation that yields states. Threads may read its attributes at any time.

    Attributes:
        status: ``waiting``, ``running``, ``done``, ``stopped`` or ``failed``.
        latest: The last state that was yielded, or None.
        error: Message for the user if the job failed.
        seconds: Time from submission to the end, or to now.
    """

    def __init__(self, work: Callable[[], Iterator[State]], when_ended: Callable[[Job], None] | None = None):
        self.status = "waiting"
        self.latest: State | None = None
        self.error: str | None = None
        self._work = work
        self._when_ended = when_ended
        self._states: Iterator[State] | None = None
        self._cancelled = threading.Event()
        self._ended = threading.Event()
        self._start = time.monotonic()
        self._end: float | None = None

    @property
    def ended(self) -> bool:
        """Whether the job has ended, so that no more states will come."""
        return self._ended.is_set()

    @property
    def seconds(self) -> float:
        return (self._end or time.monotonic()) - self._start

    def cancel(self) -> None:
        """Ask the job to stop; it does so before its next chunk, and keeps its latest state."""
        self._cancelled.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it has come."""
        return self._ended.wait(timeout)

    def _run_slice(self) -> bool:
        """Run for a moment; return whether there is more to do."""
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
        if self._when_ended is not None:
            self._when_ended(self)
        return False


class JobQueue:
    """A queue with one worker thread for one device. Jobs take turns.

    Args:
        limit: Number of jobs that may be in the queue.
    """

    def __init__(self, limit: int = 64):
        self._limit = limit
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="kdviz-jobs", daemon=True).start()

    def submit(self, work: Callable[[], Iterator[State]], ended: Callable[[Job], None] | None = None) -> Job[State]:
        """Queue a computation, which runs on the worker thread.

        Args:
            work: Function that returns an iterator of states.
            ended: Function that is called with the job, on the worker thread, when it has ended.

        Raises:
            QueueFullError: The queue is full.
        """
        job = Job(work, ended)
        with self._changed:
            if len(self._jobs) >= self._limit:
                raise QueueFullError("Too many comparisons are being computed; please try again in a moment.")
            self._jobs.append(job)
            self._changed.notify()
        return job

    def jobs_ahead(self, job: Job) -> int:
        """Number of other jobs in the queue."""
        return sum(other is not job for other in list(self._jobs))

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs:
                    self._changed.wait()
                job = self._jobs[0]
            has_more = self._run_safely(job)
            with self._changed:
                # The job stays at the head during its turn, so that jobs_ahead() counts it.
                self._jobs.popleft()
                if has_more:
                    self._jobs.append(job)

    @staticmethod
    def _run_safely(job: Job) -> bool:
        try:
            return job._run_slice()
        except KdvizError as error:
            return job.finish("failed", error.sentence)
        except Exception:
            _log.exception("a job failed")
            return job.finish("failed", "The computation failed unexpectedly; the server's log says why.")


# a list of jobs -------------------------------------------------------------------------------------------------------

Work = Callable[..., Iterator[Any]]
"""``work(job, *shared)`` runs one job and yields its states. When it is repeated, it must only do what is left."""


def run_local(work: Work, jobs: Sequence[Any], shared: tuple[Any, ...] = ()) -> Iterator[tuple[int, Any]]:
    """Run the jobs one after the other; yield (number of the job, state), and (number, None) when it is done."""
    for number, job in enumerate(jobs):
        for state in work(job, *shared):
            yield number, state
        yield number, None


def run_on_ray(
    work: Work,
    jobs: Sequence[Any],
    shared: tuple[Any, ...] = (),
    *,
    address: str | None = None,
    cpus: float = 1,
    gpus: float = 0,
) -> Iterator[tuple[int, None]]:
    """Run the jobs as Ray tasks, as many at once as the cluster has room for; yield (number, None) as each is done.

    ``shared`` is sent to each machine once. A job whose machine fails is repeated elsewhere. The first job that raises
    an error ends all of them. kdviz must be installed on every machine.

    Args:
        work, jobs, shared: As in :func:`run_local`; all must be picklable.
        address: Address of the cluster (``ray://host:10001``, ``host:6379``, ``auto``); None: start one on this
            machine.
        cpus, gpus: Resources that one job needs.

    Raises:
        SettingError: Ray is not installed, or there is no cluster at the address.
        KdvizError: A job raised it, or was lost.
    """
    ray = start_ray(address)
    task = ray.remote(_run_to_end).options(num_cpus=cpus, num_gpus=gpus, max_retries=10)
    references = [ray.put(value) for value in shared]
    pending = {task.remote(work, job, *references): number for number, job in enumerate(jobs)}
    try:
        while pending:
            (finished,), _ = ray.wait(list(pending), num_returns=1)
            _result_of(ray, finished)
            yield pending.pop(finished), None
    finally:
        _cancel(ray, list(pending))


def _cancel(ray: Any, references: list[Any]) -> None:
    """Cancel jobs, again where Ray missed one: a job that it was just sending to a machine would run to its end."""
    for _ in range(_CANCEL_ATTEMPTS):
        if not references:
            return
        for reference in references:
            ray.cancel(reference, force=True)
        _, references = ray.wait(references, num_returns=len(references), timeout=1)


def _run_to_end(work: Work, job: Any, *shared: Any) -> None:
    """Run one job to its end, on the machine that Ray chose."""
    deque(work(job, *shared), maxlen=0)


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        SettingError: It is not.
    """
    try:
        import ray  # noqa: F401  pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError('The engine ray needs Ray; install it with: pip install "kdviz[ray]"') from error


def start_ray(address: str | None) -> Any:
    """Connect Ray to the cluster at an address (None: start one on this machine), and return the module.

    Raises:
        SettingError: Ray is not installed, or there is no cluster.
    """
    require_ray()
    import ray  # pyright: ignore[reportMissingImports]

    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise SettingError(
                "No Ray cluster answers at '{address}'; start one with: ray start --head", address=address
            ) from error
    return ray


def _result_of(ray: Any, reference: Any) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, KdvizError) else error) from None
    except ray.exceptions.RayError as error:
        raise KdvizError(
            "A run was lost on the cluster; sweep again to continue: {reason}",
            reason=str(error).splitlines()[0],
        ) from error
