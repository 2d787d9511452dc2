"""Work that a page starts, and that runs in a process of its own: followed line by line, and killed to stop it.

The process calls :func:`kdviz.core.processes.with_parent.end_with_parent`, so that it ends with this one even where
that is killed; the command ``kdviz`` does so.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, ClassVar

from kdviz.core.processes.with_parent import VARIABLE

_ROOT = Path(__file__).resolve().parents[2]  # the folder that holds the package kdviz
_CHUNK = 4096  # bytes that are read at once
_VARIABLES = {"PYTHONUTF8": "1", VARIABLE: "1"}


class ProcessJob:
    """One such work. Any thread may read its attributes at any time.

    A subclass says what its process is and reads what that writes; :meth:`follow` starts it.

    Attributes:
        longest: Seconds after which the process is killed.
        status: ``running``, ``done``, ``stopped`` or ``failed``.
        error: What to tell the user when it failed.
    """

    longest: ClassVar[float] = 900.0

    def __init__(self) -> None:
        self.status, self.error = "running", ""
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop, so that its result is not needed."""
        return self._stopped.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False if the timeout came first."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """Kill the process, or keep it from being started."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def finish(self) -> None:
        """Wake the threads that wait for the end."""
        self._ended.set()

    def read_line(self, line: str) -> None:
        """Take in one whole line of the process, without spaces around it."""

    def read_progress(self, text: str) -> None:
        """Take in a line that is not ended yet: a progress bar writes its line again and again."""

    def follow(
        self, command: Sequence[str], *, log: IO[str] | None = None, variables: dict[str, str] | None = None
    ) -> int:
        """Run a command to its end, and return its exit status.

        Args:
            command: The program and its arguments.
            log: A file for the process's errors; its output is read then. Without it its errors are read.
            variables: Further environment variables of the process.

        Raises:
            OSError: The process cannot be started.
        """
        self._process = process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # nothing is written: it ends with this process, by which the other one knows
            stdout=subprocess.DEVNULL if log is None else subprocess.PIPE,
            stderr=subprocess.PIPE if log is None else log,
            env={**os.environ, **_VARIABLES, "PYTHONPATH": _python_path(), **(variables or {})},
            start_new_session=True,  # the server's Ctrl-C does not reach it: it is killed below
        )
        atexit.register(process.kill)
        limit = threading.Timer(self.longest, process.kill)
        limit.daemon = True
        limit.start()
        try:
            if self.stopped:
                process.kill()
            self._read(process.stderr if log is None else process.stdout)
            return process.wait()
        finally:
            limit.cancel()
            atexit.unregister(process.kill)
            if process.stdin is not None:
                process.stdin.close()

    def _read(self, stream: IO[bytes] | None) -> None:
        assert stream is not None
        begun = b""
        while chunk := stream.read1(_CHUNK):  # pyright: ignore[reportAttributeAccessIssue]
            *lines, begun = re.split(rb"[\r\n]", begun + chunk)
            for line in lines:
                self.read_line(line.decode(errors="replace").strip())
            self.read_progress(begun.decode(errors="replace").strip())
        self.read_line(begun.decode(errors="replace").strip())


def this_python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of kdviz."""
    return [sys.executable, "-m", module, *arguments]


def _python_path() -> str:
    """Where the process finds this kdviz, wherever it starts."""
    return os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
