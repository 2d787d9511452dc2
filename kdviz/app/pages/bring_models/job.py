"""One import of models that a session sent, in a process of its own.

It must not share a process with the pages: it parses files of strangers, takes as much memory as their networks do, and
can be stopped only by ending the process. The experiment is made in a working folder, and moved to the session's others
when it is done.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kdviz.core.errors import KdvizError, ModelError, Sentence, SettingError
from kdviz.serving.process_job import ProcessJob, this_python

_log = logging.getLogger(__name__)
_MOST = 2  # imports at once, of all sessions together
_slots = threading.Semaphore(_MOST)
_SHARES = {"read": (0.0, 0.25), "evaluate": (0.25, 0.9), "maps": (0.9, 1.0)}
"""Stage -> the shares of the whole, roughly, at which it begins and ends."""


@dataclass(frozen=True)
class PlannedModel:
    """A model to import; see :class:`kdviz.importing.ModelSpec`. ``classes`` is a file, or empty."""

    role: str
    path: str
    title: str
    network: str
    given: Mapping[str, Any]
    classes: str


@dataclass(frozen=True)
class JobPlan:
    """What the process of an import has to do.

    Attributes:
        work: A folder of its own, which is removed when it has ended.
        title: Title of the experiment.
        models: The models, at least one.
        data: Folder or table of the pictures; None without pictures.
        classes: A file with the names of the classes; empty without one.
        renamed: Pairs of a path on the server and the name that the person gave to it, for messages.
        largest: Bytes of the largest file that the process may write.
    """

    work: Path
    title: str
    models: Sequence[PlannedModel]
    data: str | None
    classes: str
    renamed: Sequence[tuple[str, str]]
    largest: int

    @property
    def out(self) -> Path:
        return self.work / "experiment"


class ImportJob(ProcessJob):
    """One import.

    Attributes:
        stage: ``read``, ``evaluate`` or ``maps``; empty at first.
        about: Name of the file that is being read.
        done, total: How far the stage has come.
    """

    longest = 1800.0

    def __init__(self, plan: JobPlan, keep: Callable[[Path], None]):
        super().__init__()
        self.stage = self.about = ""
        self.done = self.total = 0
        self._plan, self._keep = plan, keep

    @property
    def share(self) -> float:
        """The share that is done, from 0 to 1."""
        low, high = _SHARES.get(self.stage, (0.0, 0.0))
        return low + (high - low) * (min(1.0, self.done / self.total) if self.total else 0.0)

    def start(self) -> None:
        """Start the process; nothing of an import that is stopped is kept.

        Raises:
            SettingError: Too many other imports are under way.
        """
        if not _slots.acquire(blocking=False):
            raise SettingError("Other imports are under way on this server; please try again in a minute.")
        threading.Thread(target=self._run_in_thread, name="kdviz-import", daemon=True).start()

    def _run_in_thread(self) -> None:
        try:
            succeeded = self._run()
            if succeeded and not self.stopped:
                self._keep(self._plan.out)
                self.status = "done"
        except KdvizError as error:
            self.error = error.sentence
        except OSError as error:
            self.error = Sentence("The import could not be run: {strerror}.", strerror=error.strerror or error)
        except Exception:
            self.error = Sentence(
                "The import failed for a reason that kdviz does not know; try kdviz import in a terminal."
            )
            _log.exception("an import failed")
        finally:
            if self.status != "done":
                self.status = "stopped" if self.stopped else "failed"
            shutil.rmtree(self._plan.work, ignore_errors=True)
            _slots.release()
            self.finish()

    def _run(self) -> bool:
        """Run the process, and return whether it made the experiment."""
        plan = self._plan.work / "plan.json"
        plan.write_text(json.dumps({**asdict(self._plan), "work": str(self._plan.work)}), encoding="utf-8")
        with (self._plan.work / "log.txt").open("w+", encoding="utf-8") as log:
            status = self.follow(this_python("kdviz.app.pages.bring_models.process", str(plan)), log=log)
            if status and not self.stopped and not self.error:
                log.seek(0)
                last = log.read()[-300:].strip().rpartition("\n")[2]
                _log.warning("%s: %s", status, last)
                raise ModelError(
                    "The import ended before it was done, perhaps for want of memory; try it with kdviz import in a "
                    "terminal."
                )
        return status == 0

    def read_line(self, line: str) -> None:
        """Take in a message of the process."""
        try:
            message = json.loads(line)
        except ValueError:
            return  # a library has printed something
        if not isinstance(message, dict):
            return
        if "error" in message:
            self.error = Sentence.from_json(message["error"])
        self.stage, _space, self.about = message.get("stage", self.stage).partition(" ")
        self.done, self.total = message.get("done", self.done), message.get("total", self.total)
