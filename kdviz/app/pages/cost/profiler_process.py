"""Measuring what models cost, on the server's machine: one measurement at a time, in a process of its own.

It must not share a process with the pages: their work would be in the times, and its threads would be theirs. What it
finds is kept in memory for everybody who opens the same experiment; nothing is written into its folder.
"""

from __future__ import annotations

import atexit
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

import kdviz
from kdviz.app.uploads import session_store
from kdviz.core.errors import KdvizError
from kdviz.core.files import parquet_of

_SECONDS = 15.0  # of measuring times
_LONGEST = 900.0  # seconds, after which it is given up
_KEPT = 16  # results
_BAR = re.compile(r"([^\r\n]*?):\s+(\d+)%\|")


class BusyError(KdvizError):
    """Another measurement is under way."""


class Measurement:
    """One run of ``kdviz profile``. Threads may read its attributes at any time.

    Attributes:
        folder: Of the experiment.
        status: ``running``, ``done``, ``stopped`` or ``failed``.
        share: How much is done, 0 to 1.
        doing: What it does, in the command's words.
        notes: What could not be measured, and why.
        error: What to tell the user when it failed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.status, self.share, self.doing = "running", 0.0, ""
        self.notes: list[str] = []
        self.error = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def stopped(self) -> bool:
        """Whether its result is no longer wanted."""
        return self._stopped.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; True when it has come."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """End its process; nothing is kept of it."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def run(self) -> pa.Table | None:
        """Measure; the table, or None when it was stopped or failed."""
        try:
            with tempfile.TemporaryDirectory(prefix="kdviz-") as place:
                table = self._run(Path(place) / "cost.parquet")
        except OSError as error:
            self.error, table = f"The measurement could not be started: {error.strerror or error}.", None
        self.status = "done" if table is not None else "stopped" if self._stopped.is_set() else "failed"
        return table

    def finish(self) -> None:
        """Tell those who wait."""
        self._ended.set()

    def _run(self, out: Path) -> pa.Table | None:
        command = [sys.executable, "-m", "kdviz", "profile", "-e", str(self.folder.resolve()), "--out", str(out)]
        paths = [str(Path(kdviz.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUTF8": "1"}
        self._process = subprocess.Popen(
            [*command, "--seconds", f"{_SECONDS:g}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # the server's Ctrl-C is not its own: it is killed below
        )
        process = self._process
        atexit.register(process.kill)
        limit = threading.Timer(_LONGEST, process.kill)
        limit.start()
        try:
            if self._stopped.is_set():
                process.kill()
            self._follow(process)
            status = process.wait()
        finally:
            limit.cancel()
            atexit.unregister(process.kill)
        if status or self._stopped.is_set():
            self.error = self.error or "The measurement ended before it was done; try again, or use the command."
            return None
        return parquet_of(out.read_bytes())

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read its progress bar and its sentences until it ends."""
        assert process.stderr is not None
        rest = ""
        while chunk := process.stderr.read1(4096):  # pyright: ignore[reportAttributeAccessIssue]
            *lines, rest = re.split(r"[\r\n]", rest + chunk.decode(errors="replace"))
            for line in lines:
                self._parse_line(line.strip())
            found = _BAR.match(rest)
            if found:
                self.doing, self.share = found[1].strip(), int(found[2]) / 100

    def _parse_line(self, line: str) -> None:
        found = _BAR.match(line)
        if found:
            self.doing, self.share = found[1].strip(), int(found[2]) / 100
        elif line.startswith("kdviz: "):
            self.notes.append(line.removeprefix("kdviz: "))
            self.error = self.notes[-1]


class Measurer:
    """What is measured, and the last results."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Measurement | None = None
        self._tables: OrderedDict[tuple[str, str], tuple[pa.Table, tuple[str, ...]]] = OrderedDict()

    @property
    def current(self) -> Measurement | None:
        """The last that was begun, ended or not."""
        return self._current

    def start(self, folder: Path, fingerprint: str) -> Measurement:
        """Begin to measure an experiment.

        Raises:
            BusyError: Another one is being measured.
        """
        with self._lock:
            if self._current is not None and not self._current.ended:
                raise BusyError("Another measurement is under way; two at once would disturb each other.")
            self._current = Measurement(folder)
        threading.Thread(
            target=self._work, args=(self._current, fingerprint), name="kdviz-measuring", daemon=True
        ).start()
        return self._current

    def result(self, folder: Path, fingerprint: str) -> tuple[pa.Table, tuple[str, ...]] | None:
        """The last table of an experiment with just these models, and its notes."""
        with self._lock:
            return self._tables.get((str(folder), fingerprint))

    def forget(self, folder: Path) -> None:
        """Stop measuring an experiment that was removed, and drop what was measured."""
        with self._lock:
            for key in [key for key in self._tables if key[0] == str(folder)]:
                del self._tables[key]
            current = self._current
            if current is not None and current.folder == folder:
                current.stop()
                self._current = None if current.ended else current

    def _work(self, measurement: Measurement, fingerprint: str) -> None:
        try:
            table = measurement.run()
            if table is not None and not measurement.stopped:
                with self._lock:
                    self._tables[str(measurement.folder), fingerprint] = table, tuple(measurement.notes)
                    while len(self._tables) > _KEPT:
                        self._tables.popitem(last=False)
        except Exception as error:  # whatever happens, nobody must wait for ever
            measurement.status, measurement.error = "failed", f"The measurement failed: {error}"
            raise
        finally:
            measurement.finish()


@lru_cache(maxsize=1)
def measurer() -> Measurer:
    """The one of this server."""
    made = Measurer()
    session_store.when_removed(made.forget)
    return made


class SessionMeasurement:
    """The measurement that one session began last; it ends with the session."""

    def __init__(self) -> None:
        self.begun: Measurement | None = None

    def end(self) -> None:
        if self.begun is not None and not self.begun.ended:
            self.begun.stop()
