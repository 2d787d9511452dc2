"""The app, started as a person would, on a free port; it and all that it started end with the measurement."""

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
_LAST = 2000  # characters of the log in a message


class Server:
    """A fresh server: ``with Server() as server``.

    Args:
        models: Folder of further experiments; None: only those that come with kdviz.

    Attributes:
        address: Of its pages.
        seconds: From its start to its first answer.
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
        variables = {**os.environ, "STREAMLIT_SERVER_ADDRESS": "127.0.0.1"}
        begun = time.monotonic()
        # In a group of its own, so that Ctrl-C comes to us alone and we end it in order.
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, env=variables, start_new_session=True
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        self.seconds = time.monotonic() - begun
        return self

    def __exit__(self, *_: Any) -> None:
        end(self._process)
        self._log.close()

    def _wait(self) -> None:
        limit = time.monotonic() + _SECONDS
        while time.monotonic() < limit:
            if self._process.poll() is not None:
                raise KdvizError(f"The app ended while it was starting: {self.log()[-_LAST:].strip()}")
            with suppress(urllib.error.URLError, OSError), urllib.request.urlopen(self.address, timeout=5):
                return
            time.sleep(0.02)
        raise KdvizError(f"The app did not answer within {_SECONDS:.0f} seconds: {self.log()[-_LAST:].strip()}")

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    @property
    def problems(self) -> int:
        """Errors in its log so far."""
        return self.log().count("Traceback (most recent call last)")

    @property
    def pids(self) -> list[int]:
        """Its processes."""
        return list(family(self._process.pid))

    @property
    def worker(self) -> int:
        """The number of the process that computes.

        Raises:
            KdvizError: There is none.
        """
        commands = family(self._process.pid)
        own = commands.pop(self._process.pid, "")
        found = [pid for pid, command in commands.items() if _WORKER in command or command == own]  # or a copy
        if not found:
            raise KdvizError("The app has no process that computes on this machine.")
        return found[0]

    def memory(self) -> tuple[float, str]:
        """Megabytes of all its processes, and how they were counted."""
        return memory(self.pids)

    def pss(self) -> float:
        return pss(self.pids)


def end(process: subprocess.Popen) -> None:
    """End a process and its group; killed after five seconds."""
    for number, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            break
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # what has outlived it


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def end_in_order() -> None:
    """Let SIGTERM end this process as Ctrl-C does, so that what it started is ended too."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)
