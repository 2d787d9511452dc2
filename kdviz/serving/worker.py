"""The worker, a process of its own that computes for page servers; it does not import Streamlit."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import signal
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any

from kdviz.core.environment import cores, threads_from_environment
from kdviz.core.errors import KdvizError
from kdviz.core.jobs import Job, JobQueue
from kdviz.experiment import Experiment, load_experiment
from kdviz.serving.memory import RegularReturn, give_back_memory
from kdviz.serving.tasks import Task, check_fingerprint

_SEND_SECONDS = 0.06  # the shortest time between two states of a job
_BYTES_A_SECOND = 20e6  # large states are sent less often
_LIMIT = 100_000  # jobs under way; the client, which knows those of all workers, has a lower limit

_MOST_EXPERIMENTS = 8
_experiments: OrderedDict[str, tuple[int, Experiment]] = OrderedDict()
"""Folder -> time of its last change and the loaded experiment, for the most recently used ones."""
_lock = threading.Lock()

Message = tuple[Any, ...]
"""To a worker: ("submit", number, task), ("cancel", number), ("forget", folder). From it: ("ready",), ("state", number,
index, state), ("ended", number, status, error). States are sent as bytes, so that each is unpickled in one process
only."""


class Worker:
    """Executes tasks in turn, a chunk at a time, and publishes their states.

    Args:
        publish: Function that sends a message; it may be called from any thread.
    """

    def __init__(self, publish: Callable[[Message], None]):
        self._publish = publish
        self._queue = JobQueue(limit=_LIMIT)
        self._jobs: dict[int, Job] = {}

    def handle(self, message: Message) -> None:
        """Handle a message; returns at once."""
        if message[0] == "submit":
            self._submit(message[1], message[2])
        elif message[0] == "forget":
            forget(message[1])
        elif message[1] in self._jobs:
            self._jobs[message[1]].cancel()

    def _submit(self, number: int, task: Task) -> None:
        outgoing = _StateSender(number, self._publish)

        def ended(job: Job) -> None:
            self._jobs.pop(number, None)
            outgoing.flush()
            self._publish(("ended", number, job.status, job.error))
            if not self._jobs:
                give_back_memory()

        self._jobs[number] = self._queue.submit(lambda: map(outgoing.offer, task.states(opened)), ended)


class _StateSender:
    """The outgoing states of one job: at a limited rate, but always the last one of each part."""

    def __init__(self, number: int, publish: Callable[[Message], None]):
        self._number = number
        self._publish = publish
        self._pending: tuple[int, Any] | None = None
        self._next = 0.0

    def offer(self, indexed_state: tuple[int, Any]) -> tuple[int, Any]:
        if self._pending is not None and self._pending[0] != indexed_state[0]:
            self.flush()  # the last state of the previous part
        self._pending = indexed_state
        if time.monotonic() >= self._next:
            self.flush()
        return indexed_state

    def flush(self) -> None:
        if self._pending is None:
            return
        index, state = self._pending
        content = pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
        self._publish(("state", self._number, index, content))
        self._pending = None
        self._next = time.monotonic() + max(_SEND_SECONDS, len(content) / _BYTES_A_SECOND)


def opened(folder: str, expected: str) -> Experiment:
    """An experiment, which is loaded once, and again when its files have changed.

    Raises:
        ExperimentError: It does not validate, or its fingerprint is not ``expected``.
    """
    changed = (Path(folder) / "experiment.json").stat().st_mtime_ns if Path(folder).exists() else 0
    return check_fingerprint(_load_once(folder, changed), expected)


def forget(folder: str) -> None:
    """Drop a loaded experiment whose folder was removed."""
    with _lock:
        _experiments.pop(folder, None)
    give_back_memory()


def _load_once(folder: str, changed: int) -> Experiment:
    with _lock:
        cached = _experiments.get(folder)
    experiment = cached[1] if cached is not None and cached[0] == changed else load_experiment(folder)
    with _lock:
        _experiments[folder] = changed, experiment
        _experiments.move_to_end(folder)
        while len(_experiments) > _MOST_EXPERIMENTS:
            _experiments.popitem(last=False)
    return experiment


def set_threads(threads: int | None = None) -> None:
    """Set torch's threads, leaving a core to the page server: sharing one makes both many times slower."""
    import torch

    from_environment = threads_from_environment()
    if threads is None:
        threads = from_environment or max(1, cores() - 1)
    torch.set_num_threads(threads if from_environment else min(threads, torch.get_num_threads()))


def main() -> None:
    """Serve the page server whose address and key are read from standard input, until it ends."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    address, key = pickle.load(sys.stdin.buffer)  # from the page server, which started this process
    serve(Client(address, authkey=key))


def main_of_fork(connection: Connection) -> None:
    """Serve the page server that this process is a fork of; never returns."""
    signal.set_wakeup_fd(-1)  # it would be that of the page server's event loop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # from a terminal; the page server ends, and so does this process
    for descriptor in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if descriptor > 2 and descriptor != connection.fileno():
            with suppress(OSError):  # the descriptor of the listing itself is closed already
                os.close(descriptor)  # above all sockets: a port would stay in use, and the server's end unnoticed
    serve(connection)


def serve(connection: Connection) -> None:
    """Handle messages from the connection until it ends; never returns."""
    lock = threading.Lock()

    def publish(message: Message) -> None:
        with lock:
            connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    if hasattr(os, "nice"):
        os.nice(5)  # pages come first
    set_threads()
    worker = Worker(publish)
    gc.collect()
    gc.freeze()
    RegularReturn().start()  # where many people compute, there is always some job
    publish(("ready",))
    try:
        while True:
            worker.handle(pickle.loads(connection.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)  # the page server has ended; nobody waits for the jobs under way


if __name__ == "__main__":
    try:
        main()
    except KdvizError as error:
        sys.exit(f"kdviz: {error}")
