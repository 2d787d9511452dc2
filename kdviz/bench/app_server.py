"""The app, started as a person would, on a free port; it ends, with all its processes, after the measurement."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from kdviz.bench.app_processes import family, memory, pss
from kdviz.core.errors import KdvizError

_WORKER = "kdviz.serving.worker"
_SECONDS = 90.0
_LOG_TAIL = 2000  # characters of the log in a message


class Server:
    """A fresh server: ``with Server() as server``.

    Args:
        models: Folder of further experiments; None: only those that come with kdviz.

    Attributes:
        address: Address of its pages.
        seconds: Seconds from its start to its first answer.
    """

    def __init__(self, models: Path | None = None):
        self.address = ""
        self.seconds = 0.0
        self._models = models

    def __enter__(self) -> Server:
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        port = _free_port()
        self.address = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "kdviz", "app", "--headless", "--port", str(port)]
        if self._models is not None:
            command += ["--models", str(self._models)]
        environment = {**os.environ, "STREAMLIT_SERVER_ADDRESS": "127.0.0.1"}
        start = time.monotonic()
        # In a separate process group, so that Ctrl-C reaches this process alone, which ends the server in order.
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=environment, start_new_session=True
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        self.seconds = time.monotonic() - start
        return self

    def __exit__(self, *_: Any) -> None:
        end(self._process)
        self._log.close()

    def _wait(self) -> None:
        limit = time.monotonic() + _SECONDS
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                raise KdvizError("The app ended while it was starting: {log}", log=self.log()[-_LOG_TAIL:].strip())
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(self.address, timeout=5):
                return
            time.sleep(0.02)
        raise KdvizError(
            "The app did not answer within {seconds:.0f} seconds: {log}",
            seconds=_SECONDS,
            log=self.log()[-_LOG_TAIL:].strip(),
        )

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    @property
    def problems(self) -> int:
        """Number of errors in its log so far."""
        return self.log().count("Traceback (most recent call last)")

    @property
    def pids(self) -> list[int]:
        """Its process ids."""
        return list(family(self._process.pid))

    @property
    def worker(self) -> int:
        """The id of the process that computes.

        Raises:
            KdvizError: There is no such process.
        """
        commands = family(self._process.pid)
        server_command = commands.pop(self._process.pid, "")
        workers = [
            pid for pid, command in commands.items() if _WORKER in command or command == server_command
        ]  # or a copy
        if not workers:
            raise KdvizError("The app has no process that computes on this machine.")
        return workers[0]

    def memory(self) -> tuple[float, str]:
        """Megabytes of all its processes, and how they were counted."""
        return memory(self.pids)

    def pss(self) -> float:
        return pss(self.pids)


def end(process: subprocess.Popen) -> None:
    """End a process and its group; killed after five seconds."""
    for signal_number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # processes that outlived it


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def end_on_sigterm() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that the processes that it started are ended too."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
