"""Fetching of an experiment's pictures, for everybody on this server: one at a time, each in a process of its own.

The process is ``kdviz get``. It downloads hundreds of megabytes and can be stopped only by ending it; what was written
by then is harmless: samples.parquet appears at the end, whole, and a cut-off download is begun anew the next time.
"""

from __future__ import annotations

import json
import re
import threading
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from kdviz.core.errors import ERRORS_VARIABLE, KdvizError, Sentence
from kdviz.serving.process_job import ProcessJob, this_python

_BAR = re.compile(r"(\d+)%\|")  # torchvision's download shows one


class BusyError(KdvizError):
    """Other pictures are being fetched."""


class PictureJob(ProcessJob):
    """One run of ``kdviz get``.

    Attributes:
        folder: Folder of the experiment.
        share: The share of the download that is done, from 0 to 1.
    """

    longest = 3600.0

    def __init__(self, folder: Path):
        super().__init__()
        self.folder, self.share = folder, 0.0

    @property
    def command(self) -> list[str]:
        """The command of the process."""
        return this_python("kdviz", "get", str(self.folder.resolve()), "--json")

    def run(self) -> None:
        """Fetch the pictures, and set the status."""
        try:
            status = self.follow(self.command, variables={ERRORS_VARIABLE: "json"})
            self.status = "stopped" if self.stopped else "failed" if status else "done"
            if self.status == "failed" and not self.error:
                self.error = Sentence("The pictures could not be fetched; try kdviz get in a terminal.")
        except OSError as error:
            self.status = "failed"
            self.error = Sentence(
                "The pictures could not be fetched: {strerror}.", strerror=error.strerror or type(error).__name__
            )
        finally:
            self.status = "failed" if self.status == "running" else self.status
            self.finish()

    def read_progress(self, text: str) -> None:
        """Take in the progress bar."""
        progress = _BAR.search(text)
        if progress:
            self.share = min(1.0, int(progress[1]) / 100)

    def read_line(self, line: str) -> None:
        """Take in the progress bar or the error."""
        self.read_progress(line)
        if line.startswith("kdviz: {"):
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
