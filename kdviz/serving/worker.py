"""Where the computing happens: a process of its own, which page servers talk to. It does not know streamlit."""

from __future__ import annotations

import ctypes
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

from kdviz.core.environment import threads_from_environment
from kdviz.core.errors import KdvizError
from kdviz.core.jobs import Job, JobQueue
from kdviz.experiment import Experiment, load_experiment
from kdviz.serving.tasks import Task, check_fingerprint

_SEND_SECONDS = 0.06  # at most one state of a job in so much time
_BYTES_A_SECOND = 20e6  # large states come less often
_LIMIT = 100_000  # jobs under way: the client, who knows all, refuses earlier

_MOST_EXPERIMENTS = 8
_experiments: OrderedDict[str, tuple[int, Experiment]] = OrderedDict()
"""Folder -> when it was last changed, and what was loaded of it; the last ones used."""
_lock = threading.Lock()

Message = tuple[Any, ...]
"""To a worker: ("submit", number, task), ("cancel", number), ("forget", folder). From it: ("ready",), ("state", number,
place, state), ("ended", number, status, error). The states travel as bytes, so that only one process is busy with
each pickle."""


class Worker:
    """Does tasks in turn, a chunk each, and publishes their states.

    Args:
        publish: Sends a message; may be called from any thread.
    """

    def __init__(self, publish: Callable[[Message], None]):
        self._publish = publish
        self._queue = JobQueue(limit=_LIMIT)
        self._jobs: dict[int, Job] = {}

    def handle(self, message: Message) -> None:
        """Do what a message asks for; returns at once."""
        if message[0] == "submit":
            self._submit(message[1], message[2])
        elif message[0] == "forget":
            forget(message[1])
        elif message[1] in self._jobs:
            self._jobs[message[1]].cancel()

    def _submit(self, number: int, task: Task) -> None:
        outgoing = _Outgoing(number, self._publish)

        def ended(job: Job) -> None:
            self._jobs.pop(number, None)
            outgoing.flush()
            self._publish(("ended", number, job.status, job.error))
            if not self._jobs:
                give_back_memory()

        self._jobs[number] = self._queue.submit(lambda: map(outgoing.offer, task.states(opened)), ended)


class _Outgoing:
    """The states of one job on their way out: not too many, but always the last one of each part."""

    def __init__(self, number: int, publish: Callable[[Message], None]):
        self._number = number
        self._publish = publish
        self._waiting: tuple[int, Any] | None = None
        self._next = 0.0

    def offer(self, found: tuple[int, Any]) -> tuple[int, Any]:
        if self._waiting is not None and self._waiting[0] != found[0]:
            self.flush()  # the last state of the part before
        self._waiting = found
        if time.monotonic() >= self._next:
            self.flush()
        return found

    def flush(self) -> None:
        if self._waiting is None:
            return
        place, state = self._waiting
        content = pickle.dumps(state, pickle.HIGHEST_PROTOCOL)
        self._publish(("state", self._number, place, content))
        self._waiting = None
        self._next = time.monotonic() + max(_SEND_SECONDS, len(content) / _BYTES_A_SECOND)


def opened(folder: str, wanted: str) -> Experiment:
    """An experiment, loaded once; again when its files have changed.

    Raises:
        ExperimentError: It does not validate, or is not the one that is wanted.
    """
    changed = (Path(folder) / "experiment.json").stat().st_mtime_ns if Path(folder).exists() else 0
    return check_fingerprint(_loaded(folder, changed), wanted)


def forget(folder: str) -> None:
    """Drop an experiment: its folder was removed."""
    with _lock:
        _experiments.pop(folder, None)
    give_back_memory()


def _loaded(folder: str, changed: int) -> Experiment:
    with _lock:
        known = _experiments.get(folder)
    experiment = known[1] if known is not None and known[0] == changed else load_experiment(folder)
    with _lock:
        _experiments[folder] = changed, experiment
        _experiments.move_to_end(folder)
        while len(_experiments) > _MOST_EXPERIMENTS:
            _experiments.popitem(last=False)
    return experiment


def give_back_memory() -> None:
    """Return to the system what was read or computed and is free again: Arrow, glibc and torch would keep it.

    A GPU's too: other processes that share it could not have it.
    """
    import pyarrow as pa
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc's alone
        trim(0)


def set_threads(threads: int | None = None) -> None:
    """Leave a core to the page server: two threads that fight for one are many times slower than one."""
    import torch

    asked = threads_from_environment()
    if threads is None:
        threads = asked or max(1, (os.cpu_count() or 2) - 1)
    torch.set_num_threads(threads if asked else min(threads, torch.get_num_threads()))


def main() -> None:
    """Serve the page server whose address and key come on standard input, until it leaves."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    address, key = pickle.load(sys.stdin.buffer)  # from the page server itself, which started us
    serve(Client(address, authkey=key))


def main_of_fork(connection: Connection) -> None:
    """Serve the page server that this process is a copy of; never returns."""
    signal.set_wakeup_fd(-1)  # that of the page server's event loop
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the page server takes its leave, and so do we
    for number in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if number > 2 and number != connection.fileno():
            with suppress(OSError):  # that of the listing itself
                os.close(number)  # sockets above all: a port would stay taken, and no end of the server be seen
    serve(connection)


def serve(connection: Connection) -> None:
    """Do what comes through the connection until it ends; never returns."""
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
    publish(("ready",))
    try:
        while True:
            worker.handle(pickle.loads(connection.recv_bytes()))
    except (EOFError, OSError):
        os._exit(0)  # the page server is gone; what is under way is nobody's


if __name__ == "__main__":
    try:
        main()
    except KdvizError as error:
        sys.exit(f"kdviz: {error}")
