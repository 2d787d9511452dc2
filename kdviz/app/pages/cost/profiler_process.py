"""Measurements of what models cost on the server's machine: one at a time, each in a process of its own.

A measurement must not share a process with the pages, whose work would be in the times. The results are kept in memory
for everybody who opens the same experiment; nothing is written into its folder.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

import kdviz
from kdviz.app.uploads import session_store
from kdviz.core.errors import ERRORS_VARIABLE, KdvizError, Sentence
from kdviz.core.files import parquet_of

_SECONDS = 15.0  # for measuring times
_LONGEST = 900.0  # seconds after which a measurement is given up
_MOST_RESULTS = 16  # results
_BAR = re.compile(r"([^\r\n]*?):\s+(\d+)%\|")


class BusyError(KdvizError):
    """Another measurement is under way."""


class Measurement:
    """One run of ``kdviz profile``. Any thread may read its attributes at any time.

    Attributes:
        folder: Folder of the experiment.
        status: ``running``, ``done``, ``stopped`` or ``failed``.
        share: The share that is done, from 0 to 1.
        activity: What it does just now, in the words of the command.
        notes: Sentences on what could not be measured, and why.
        error: What to tell the user when it failed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.status, self.share, self.activity = "running", 0.0, ""
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
        """Whether it was told to stop, so that its result is not needed."""
        return self._stopped.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the measurement has ended; False if the timeout came first."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """Kill the process; nothing of the measurement is kept."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def run(self) -> pa.Table | None:
        """Measure, and return the table; None if the measurement was stopped or failed."""
        try:
            with tempfile.TemporaryDirectory(prefix="kdviz-") as folder:
                table = self._run(Path(folder) / "cost.parquet")
        except OSError as error:
            self.error, table = (
                Sentence("The measurement could not be started: {strerror}.", strerror=error.strerror or error),
                None,
            )
        self.status = "done" if table is not None else "stopped" if self._stopped.is_set() else "failed"
        return table

    def finish(self) -> None:
        """Wake the threads that wait for the end."""
        self._ended.set()

    def _run(self, out: Path) -> pa.Table | None:
        command = [sys.executable, "-m", "kdviz", "profile", "-e", str(self.folder.resolve()), "--out", str(out)]
        paths = [str(Path(kdviz.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONUTF8": "1",
            ERRORS_VARIABLE: "json",
        }
        self._process = subprocess.Popen(
            [*command, "--seconds", f"{_SECONDS:g}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # the server's Ctrl-C does not reach it: it is killed below
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
        """Read the progress bar and the sentences of the process until it ends."""
        assert process.stderr is not None
        remainder = ""
        while chunk := process.stderr.read1(4096):  # pyright: ignore[reportAttributeAccessIssue]
            *lines, remainder = re.split(r"[\r\n]", remainder + chunk.decode(errors="replace"))
            for line in lines:
                self._parse_line(line.strip())
            progress = _BAR.match(remainder)
            if progress:
                self.activity, self.share = progress[1].strip(), int(progress[2]) / 100

    def _parse_line(self, line: str) -> None:
        progress = _BAR.match(line)
        if progress:
            self.activity, self.share = progress[1].strip(), int(progress[2]) / 100
        elif line.startswith("kdviz: "):
            self.notes.append(_sentence(line.removeprefix("kdviz: ")))
            self.error = self.notes[-1]


def _sentence(line: str) -> str:
    """What the command says: an error with its template, or a plain text."""
    if not line.startswith("{"):
        return line
    with suppress(ValueError, LookupError, TypeError):
        return Sentence.from_json(json.loads(line))
    return line


class Measurer:
    """The measurement under way, and the last results."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: Measurement | None = None
        self._tables: OrderedDict[tuple[str, str], tuple[pa.Table, tuple[str, ...]]] = OrderedDict()

    @property
    def current(self) -> Measurement | None:
        """The measurement that was started last, whether it has ended or not."""
        return self._current

    def start(self, folder: Path, fingerprint: str) -> Measurement:
        """Start to measure an experiment.

        Raises:
            BusyError: Another measurement is under way.
        """
        with self._lock:
            if self._current is not None and not self._current.ended:
                raise BusyError("Another measurement is under way; two at once would disturb each other.")
            self._current = Measurement(folder)
        threading.Thread(
            target=self._measure, args=(self._current, fingerprint), name="kdviz-measuring", daemon=True
        ).start()
        return self._current

    def result(self, folder: Path, fingerprint: str) -> tuple[pa.Table, tuple[str, ...]] | None:
        """The last table of an experiment with exactly these models, and its notes."""
        with self._lock:
            return self._tables.get((str(folder), fingerprint))

    def forget(self, folder: Path) -> None:
        """Stop measuring an experiment that was removed, and drop its results."""
        with self._lock:
            for key in [key for key in self._tables if key[0] == str(folder)]:
                del self._tables[key]
            current = self._current
            if current is not None and current.folder == folder:
                current.stop()
                self._current = None if current.ended else current

    def _measure(self, measurement: Measurement, fingerprint: str) -> None:
        try:
            table = measurement.run()
            if table is not None and not measurement.stopped:
                with self._lock:
                    self._tables[str(measurement.folder), fingerprint] = table, tuple(measurement.notes)
                    while len(self._tables) > _MOST_RESULTS:
                        self._tables.popitem(last=False)
        except Exception as error:  # whatever happens, nobody must wait for ever
            measurement.status, measurement.error = "failed", Sentence("The measurement failed: {error}", error=error)
            raise
        finally:
            measurement.finish()


@lru_cache(maxsize=1)
def measurer() -> Measurer:
    """The measurer of this server."""
    instance = Measurer()
    session_store.when_removed(instance.forget)
    return instance


class SessionMeasurement:
    """The measurement that a session started last; it is stopped when the session ends."""

    def __init__(self) -> None:
        self.measurement: Measurement | None = None

    def end(self) -> None:
        if self.measurement is not None and not self.measurement.ended:
            self.measurement.stop()
