"""The page server's side: which worker executes a task, and the states received so far."""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from kdviz.core.jobs import Job, QueueFullError
from kdviz.serving.tasks import Task
from kdviz.serving.transport import ForkTransport, ProcessTransport, RayTransport, Transport, ray_actors

_log = logging.getLogger(__name__)
_LIMIT = 64  # jobs under way on one worker
_LOST = "The process that computes ended unexpectedly, maybe for lack of memory; please try again."


class RemoteJob(Job[tuple[Any, ...]]):
    """A task that a worker executes; ``latest`` has the newest state of each of its parts so far."""

    def __init__(
        self,
        cancel: Callable[[], None] | None = None,
        ended: Callable[[Job], None] | None = None,
        known: tuple[Any, ...] = (),
    ):
        super().__init__(lambda: iter(()), ended)
        self._send_cancel = cancel
        self._known = known

    def cancel(self) -> None:
        super().cancel()
        if self._send_cancel is not None and not self.ended:
            self._send_cancel()

    def take(self, index: int, state: Any) -> None:
        self.status = "running"
        self.latest = (*(self.latest or self._known)[: len(self._known) + index], state)


def finished(states: tuple[Any, ...]) -> RemoteJob:
    """A finished job, for states that are already known."""
    job = RemoteJob()
    job.latest = states
    job.finish("done")
    return job


class _RemoteWorker:
    """The client of one worker, which is started when it is first needed, and again after it has died."""

    def __init__(self, connect: Callable[[], Transport]):
        self._connect = connect
        self._transport: Transport | None = None
        self._lock = threading.Lock()
        self._numbers = count(1)
        self.jobs: dict[int, RemoteJob] = {}

    def start(self) -> None:
        """Start the worker; returns before it is ready."""
        with self._lock:
            self._ensure_transport()

    def submit(self, task: Task, ended: Callable[[Job], None] | None, known: tuple[Any, ...]) -> RemoteJob:
        with self._lock:
            number = next(self._numbers)
            transport = self._ensure_transport()
            job = self.jobs[number] = RemoteJob(lambda: transport.send(("cancel", number)), ended, known)
            transport.send(("submit", number, task))
        return job

    def forget(self, folder: str) -> None:
        with self._lock:
            if self._transport is not None:
                self._transport.send(("forget", folder))

    def close(self) -> None:
        with self._lock:
            if self._transport is not None:
                self._transport.close()

    def _ensure_transport(self) -> Transport:
        if self._transport is None:
            self._transport = self._connect()
            threading.Thread(target=self._listen, args=(self._transport,), name="kdviz-worker", daemon=True).start()
        return self._transport

    def _listen(self, transport: Transport) -> None:
        while (message := transport.receive()) is not None:
            self._dispatch(message)
        with self._lock:
            self._transport = None
            lost, self.jobs = self.jobs, {}
        for job in lost.values():
            job.finish("failed", transport.problem or _LOST)

    def _dispatch(self, message: tuple[Any, ...]) -> None:
        if message[0] == "state":
            _, number, index, content = message
            job = self.jobs.get(number)
            if job is not None:
                job.take(index, pickle.loads(content))
        elif message[0] == "ended":
            _, number, status, error = message
            job = self.jobs.pop(number, None)
            if job is not None:
                job.finish(status, error)


class Pool:
    """The workers of a page server; each has a queue of its own, in which jobs take turns."""

    def __init__(self, connections: Sequence[Callable[[], Transport]], limit: int = _LIMIT):
        self._workers = [_RemoteWorker(connect) for connect in connections]
        self._limit = limit

    def start(self) -> None:
        """Start the workers; returns before they are ready."""
        for worker in self._workers:
            worker.start()

    def submit(self, task: Task, ended: Callable[[Job], None] | None = None, known: tuple[Any, ...] = ()) -> RemoteJob:
        """Submit a task to the worker with the fewest jobs.

        Args:
            task: The task.
            ended: Called with the job when it has ended.
            known: States that precede those of the task in the job's ``latest``.

        Raises:
            QueueFullError: All workers have too many jobs under way.
        """
        least_busy = min(self._workers, key=lambda worker: len(worker.jobs))
        if len(least_busy.jobs) >= self._limit:
            raise QueueFullError("Too many comparisons are being computed; please try again in a moment.")
        return least_busy.submit(task, ended, known)

    def jobs_ahead(self, job: Job) -> int:
        """Number of other jobs that the job's worker has under way."""
        for worker in self._workers:
            jobs = list(worker.jobs.values())
            if job in jobs:
                return len(jobs) - 1
        return 0

    @property
    def busy(self) -> int:
        """Number of jobs under way."""
        return sum(len(worker.jobs) for worker in self._workers)

    def forget(self, folder: str) -> None:
        """Make the workers drop a loaded experiment."""
        for worker in self._workers:
            worker.forget(folder)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()


def can_fork() -> bool:
    """Whether the worker can be a fork of this process, before it computes anything: on Linux, without GPU or Ray."""
    import torch

    return sys.platform == "linux" and not os.environ.get("KDVIZ_RAY") and not torch.cuda.device_count()


def start_pool(fork: bool = False) -> Pool:
    """The workers of this server: those of the Ray cluster at ``KDVIZ_RAY``, or else one for each GPU, or else one.

    Args:
        fork: Whether to make a single one that is a fork of this process; see :func:`can_fork`.

    Raises:
        SettingError: Ray is not installed, or there is no cluster at the address.
    """
    if fork:
        return Pool([_fork_first()])
    address = os.environ.get("KDVIZ_RAY", "")
    if address:
        actors = ray_actors(address, os.environ.get("KDVIZ_RAY_ACTORS", ""))
        return Pool([lambda actor=actor: RayTransport(actor) for actor in actors])
    import torch

    environments = _one_gpu_each(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    return Pool([lambda variables=variables: ProcessTransport(variables) for variables in environments])


def _one_gpu_each(gpus: int, visible: str) -> list[dict[str, str]]:
    """Environment variables of each worker's process, which give it one of the GPUs that this process may use.

    >>> _one_gpu_each(2, "3,5")
    [{'CUDA_VISIBLE_DEVICES': '3'}, {'CUDA_VISIBLE_DEVICES': '5'}]
    >>> _one_gpu_each(2, "")
    [{'CUDA_VISIBLE_DEVICES': '0'}, {'CUDA_VISIBLE_DEVICES': '1'}]
    >>> _one_gpu_each(1, "GPU-5f")
    [{}]
    """
    if gpus < 2:
        return [{}]
    names = [name.strip() for name in visible.split(",")] if visible else [str(number) for number in range(gpus)]
    return [{"CUDA_VISIBLE_DEVICES": name} for name in names[:gpus]]


def _fork_first() -> Callable[[], Transport]:
    """A fork of this process; after that has died, a fresh process, since this one has computed by then."""
    forks = [ForkTransport]
    return lambda: forks.pop()() if forks else ProcessTransport()
