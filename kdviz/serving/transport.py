"""Transport of messages to a worker and back: through a socket on this machine, or as calls of a Ray actor."""

from __future__ import annotations

import atexit
import gc
import logging
import multiprocessing
import os
import pickle
import queue
import secrets
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, Protocol

from kdviz.core.errors import SettingError

Message = tuple[Any, ...]
_log = logging.getLogger(__name__)
_POLL_SECONDS = 20.0
_END_SECONDS = 5.0


class Transport(Protocol):
    """A connection to one worker.

    Attributes:
        problem: Why it ended, in one sentence; empty where that is not known.
    """

    problem: str

    def send(self, message: Message) -> None:
        """Send a message as soon as the worker is ready; returns at once."""
        ...

    def receive(self) -> Message | None:
        """Wait for the next message; None when the worker has ended."""
        ...

    def close(self) -> None:
        """End the worker."""
        ...


class _WriterThread:
    """A queue of messages to a worker, which a thread of its own sends."""

    def __init__(self) -> None:
        self.problem = ""
        self._outgoing: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def send(self, message: Message) -> None:
        self._outgoing.put(message)

    def _start_writing(self, connection: Connection) -> None:
        threading.Thread(target=self._write, args=(connection,), daemon=True).start()

    def _write(self, connection: Connection) -> None:
        while message := self._outgoing.get():
            try:
                connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
            except OSError:
                return  # receive() notices the end, too

    def _end_writing(self) -> None:
        self._outgoing.put(())


class ProcessTransport(_WriterThread):
    """A worker process on this machine.

    It is a fresh interpreter, since forking a server with threads and a GPU is not safe.

    Args:
        environment: Environment variables for the process, besides those of this one.
    """

    def __init__(self, environment: Mapping[str, str] | None = None):
        super().__init__()
        key = secrets.token_bytes(32)
        self._listener = Listener(authkey=key)
        command = [sys.executable, "-m", "kdviz.serving.worker"]
        variables = {**os.environ, "PYTHONPATH": _python_path(), **(environment or {})}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, env=variables)
        assert self._process.stdin is not None
        pickle.dump((self._listener.address, key), self._process.stdin)
        self._process.stdin.close()
        self._connection: Connection | None = None
        threading.Thread(target=self._unblock, daemon=True).start()
        atexit.register(self.close)

    def receive(self) -> Message | None:
        try:
            if self._connection is None:
                self._connection = self._listener.accept()
                self._listener.close()
                self._start_writing(self._connection)
            return pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError, AuthenticationError):
            self.close()
            return None

    def close(self) -> None:
        atexit.unregister(self.close)
        self._end_writing()
        if self._process.poll() is None:
            self._process.terminate()
        self._listener.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _unblock(self) -> None:
        """Unblock ``accept`` when the worker ends before it has connected."""
        status = self._process.wait()
        if self._connection is None:
            _log.error("the worker process ended with status %s before it was ready", status)
            self.problem = "The process that computes could not start; the server's log says why."
            self._fail_accept()

    def _fail_accept(self) -> None:
        try:
            Client(self._listener.address).close()  # without the key, so that accept() fails
        except (OSError, EOFError):
            return


class ForkTransport(_WriterThread):
    """A worker that is a fork of this process: what both have loaded is in memory once.

    It is only for a process that has computed nothing and has no GPU, since computing threads and the state of a GPU's
    driver do not survive a fork; and only on Linux, where libraries support it.
    """

    def __init__(self) -> None:
        from kdviz.serving import worker  # imports all that it needs before the fork

        super().__init__()
        context = multiprocessing.get_context("fork")
        self._connection, worker_end = context.Pipe()
        self._process = context.Process(
            target=worker.main_of_fork, args=(worker_end,), name="kdviz-worker", daemon=True
        )
        gc.collect()
        gc.freeze()  # a collection would write to every object, and so copy its page
        with warnings.catch_warnings():
            # Python warns of other threads: those of a server that has just started wait for work, and hold nothing.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        worker_end.close()
        self._start_writing(self._connection)

    def receive(self) -> Message | None:
        try:
            return pickle.loads(self._connection.recv_bytes())
        except (EOFError, OSError):
            self.close()
            return None

    def close(self) -> None:
        self._end_writing()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(_END_SECONDS)

    @property
    def pid(self) -> int | None:
        return self._process.pid


def _python_path() -> str:
    """``PYTHONPATH`` with kdviz's own folder, so that a checkout need neither be installed nor the working folder."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join([str(Path(__file__).parents[2]), *([inherited] if inherited else [])])


class RayTransport:
    """A worker that is an actor of a Ray cluster."""

    def __init__(self, actor: Callable[[], Any]):
        self.problem = ""
        self._actor = actor()
        self._received: list[Message] = []

    def send(self, message: Message) -> None:
        self._actor.handle.remote(message)

    def receive(self) -> Message | None:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]

        while not self._received:
            try:
                self._received = ray.get(self._actor.messages.remote(_POLL_SECONDS))
            except RayError as error:
                _log.error("a Ray worker ended: %s", str(error).splitlines()[0])
                return None
        return self._received.pop(0)

    def close(self) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        ray.kill(self._actor)


class RayWorker:
    """A worker inside a Ray actor, from which the client fetches messages.

    Experiments must have the same paths on every machine, for example on a shared disk.
    """

    def __init__(self) -> None:
        from kdviz.serving.worker import Worker, set_threads

        set_threads()
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._worker = Worker(self._messages.put)

    def handle(self, message: Message) -> None:
        self._worker.handle(message)

    def messages(self, seconds: float) -> list[Message]:
        """Messages for the client; waits up to ``seconds`` for the first one."""
        try:
            received = [self._messages.get(timeout=seconds)]
        except queue.Empty:
            return []
        while not self._messages.empty():
            received.append(self._messages.get())
        return received


def ray_actors(address: str, requested: str) -> list[Callable[[], Any]]:
    """For each worker, a function that starts its actor: one for each GPU of the cluster, or as many as requested.

    Raises:
        SettingError: Ray is not installed, there is no cluster at the address, or the number is not valid.
    """
    from kdviz.core.jobs import start_ray

    if requested and not (requested.isdecimal() and int(requested)):
        raise SettingError("KDVIZ_RAY_ACTORS is '{requested}'; it must be a whole number from 1.", requested=requested)
    ray = start_ray(address)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    count = int(requested) if requested else max(1, gpus)
    share = {"num_cpus": 1, "num_gpus": min(1.0, gpus / count)}
    options = {**share, "max_concurrency": 2, "max_restarts": 0}  # while one call waits for messages, others come in

    def start() -> Any:
        return ray.remote(RayWorker).options(**options).remote()

    return [start] * count
