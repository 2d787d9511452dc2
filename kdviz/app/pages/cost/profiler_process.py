"""Measurements of what models cost on the server's machine: one at a time, each in a process of its own.

A measurement must not share a process with the pages, whose work would be in the times. The results are kept in memory
for everybody who opens the same experiment; nothing is written into its folder.
"""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections import OrderedDict
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from kdviz.app.uploads import session_store
from kdviz.app.uploads.server_folder import server_folder
from kdviz.core.errors import ERRORS_VARIABLE, KdvizError, Sentence
from kdviz.core.files import parquet_of
from kdviz.serving.process_job import ProcessJob, this_python

_SECONDS = 15.0  # for measuring times
_MOST_RESULTS = 16  # results
_BAR = re.compile(r"([^\r\n]*?):\s+(\d+)%\|")


class BusyError(KdvizError):
    """Another measurement is under way."""


class Measurement(ProcessJob):
    """One run of ``kdviz profile``.

    Attributes:
        folder: Folder of the experiment.
        share: The share that is done, from 0 to 1.
        activity: What it does just now, in the words of the command.
        notes: Sentences on what could not be measured, and why.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.share, self.activity = 0.0, ""
        self.notes: list[str] = []

    def run(self) -> pa.Table | None:
        """Measure, and return the table; None if the measurement was stopped or failed."""
        try:
            with tempfile.TemporaryDirectory(prefix="cost-", dir=server_folder()) as folder:
                table = self._run(Path(folder) / "cost.parquet")
        except OSError as error:
            self.error, table = (
                Sentence("The measurement could not be started: {strerror}.", strerror=error.strerror or error),
                None,
            )
        self.status = "done" if table is not None else "stopped" if self.stopped else "failed"
        return table

    def _run(self, out: Path) -> pa.Table | None:
        command = this_python("kdviz", "profile", "-e", str(self.folder.resolve()), "--out", str(out))
        status = self.follow([*command, "--seconds", f"{_SECONDS:g}"], variables={ERRORS_VARIABLE: "json"})
        if status or self.stopped:
            self.error = self.error or "The measurement ended before it was done; try again, or use the command."
            return None
        return parquet_of(out.read_bytes())

    def read_progress(self, text: str) -> None:
        """Take in the progress bar."""
        progress = _BAR.match(text)
        if progress:
            self.activity, self.share = progress[1].strip(), int(progress[2]) / 100

    def read_line(self, line: str) -> None:
        """Take in the progress bar, a note or the error."""
        self.read_progress(line)
        if line.startswith("kdviz: "):
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
