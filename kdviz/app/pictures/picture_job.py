"""Fetching of an experiment's pictures, for everybody on this server: one at a time, each in a process of its own.

The process is ``kdviz get``. It downloads hundreds of megabytes and can be stopped only by ending it; what was written
by then is harmless: samples.parquet appears at the end, whole, and a cut-off download is begun anew the next time.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import kdviz
from kdviz.core.errors import ERRORS_VARIABLE, KdvizError, Sentence

_LONGEST = 3600.0  # seconds after which it is given up
_BAR = re.compile(r"(\d+)%\|")  # torchvision's download shows one


class BusyError(KdvizError):
    """Other pictures are being fetched."""


class PictureJob:
    """One run of ``kdviz get``. Any thread may read its attributes at any time.

    Attributes:
        folder: Folder of the experiment.
        status: ``running``, ``done``, ``stopped`` or ``failed``.
        share: The share of the download that is done, from 0 to 1.
        error: What to tell the user when it failed.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.status, self.share, self.error = "running", 0.0, ""
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def command(self) -> list[str]:
        """The command of the process."""
        return [sys.executable, "-m", "kdviz", "get", str(self.folder.resolve()), "--json"]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; False if the timeout came first."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """Kill the process."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def run(self) -> None:
        """Fetch the pictures, and set the status."""
        try:
            status = self._run()
            self.status = "stopped" if self._stopped.is_set() else "failed" if status else "done"
            if self.status == "failed" and not self.error:
                self.error = Sentence("The pictures could not be fetched; try kdviz get in a terminal.")
        except OSError as error:
            self.status = "failed"
            self.error = Sentence(
                "The pictures could not be fetched: {strerror}.", strerror=error.strerror or type(error).__name__
            )
        finally:
            self.status = "failed" if self.status == "running" else self.status
            self._ended.set()

    def _run(self) -> int:
        paths = [str(Path(kdviz.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUTF8": "1"}
        self._process = process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**environment, ERRORS_VARIABLE: "json"},
            start_new_session=True,  # the server's Ctrl-C does not reach it: it is killed below
        )
        atexit.register(process.kill)
        limit = threading.Timer(_LONGEST, process.kill)
        limit.daemon = True
        limit.start()
        try:
            if self._stopped.is_set():
                process.kill()
            self._follow(process)
            return process.wait()
        finally:
            limit.cancel()
            atexit.unregister(process.kill)

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Read the progress bar and the error of the process until it ends."""
        assert process.stderr is not None
        remainder = ""
        while chunk := process.stderr.read1(4096):  # pyright: ignore[reportAttributeAccessIssue]
            *lines, remainder = re.split(r"[\r\n]", remainder + chunk.decode(errors="replace"))
            for line in (*lines, remainder):
                self._read_line(line.strip())

    def _read_line(self, line: str) -> None:
        progress = _BAR.search(line)
        if progress:
            self.share = min(1.0, int(progress[1]) / 100)
        elif line.startswith("kdviz: {"):
            with suppress(ValueError, LookupError, TypeError):
                self.error = Sentence.from_json(json.loads(line.removeprefix("kdviz: ")))


class PictureFetcher:
    """The job under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._current: PictureJob | None = None

    @property
    def current(self) -> PictureJob | None:
        """The job that was started last, whether it has ended or not."""
        return self._current

    def start(self, folder: Path) -> PictureJob:
        """Start to fetch the pictures of an experiment.

        Raises:
            BusyError: Those of another one are being fetched.
        """
        with self._lock:
            if self._current is not None and not self._current.ended:
                raise BusyError("Pictures are being fetched already; please wait until these are here.")
            self._current = PictureJob(folder)
        threading.Thread(target=self._current.run, name="kdviz-pictures", daemon=True).start()
        return self._current


@lru_cache(maxsize=1)
def picture_fetcher() -> PictureFetcher:
    """The fetcher of this server."""
    return PictureFetcher()
