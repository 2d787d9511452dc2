"""One import of models that a session sent, in a process of its own.

It must not share a process with the pages: it parses files of strangers, takes as much memory as their networks do, and
can be stopped only by ending it. It makes the experiment beside the session's others, where it is moved when done.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import kdviz
from kdviz.core.errors import KdvizError, ModelError, SettingError

_log = logging.getLogger(__name__)
_LONGEST = 1800.0  # seconds, after which it is given up
_MOST = 2  # imports of all sessions at once
_slots = threading.Semaphore(_MOST)
_SHARES = {"read": (0.0, 0.25), "evaluate": (0.25, 0.9), "maps": (0.9, 1.0)}
"""Stage -> from which to which share of the whole it goes, roughly."""


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
    """What the process is to do.

    Attributes:
        work: A folder of its own, which is removed afterwards.
        title: Of the experiment.
        models: One at least.
        data: Folder or table of the pictures; None: there are none.
        classes: A file with their names; empty: none.
        renamed: (Path here, what the person calls it), for messages.
        largest: Bytes of the largest file that may be written.
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


class ImportJob:
    """One import. Threads may read its attributes at any time.

    Attributes:
        status: ``running``, ``done``, ``stopped`` or ``failed``.
        stage: ``read``, ``evaluate`` or ``maps``; empty at first.
        about: The file that is read.
        done, total: How far the stage is.
        error: What to tell the user when it failed.
    """

    def __init__(self, plan: JobPlan, keep: Callable[[Path], None]):
        self.status = "running"
        self.stage = self.about = self.error = ""
        self.done = self.total = 0
        self._plan, self._keep = plan, keep
        self._process: subprocess.Popen[str] | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        low, high = _SHARES.get(self.stage, (0.0, 0.0))
        return low + (high - low) * (min(1.0, self.done / self.total) if self.total else 0.0)

    def start(self) -> None:
        """Begin.

        Raises:
            SettingError: Too many others are under way.
        """
        if not _slots.acquire(blocking=False):
            raise SettingError("Other imports are under way on this server; please try again in a minute.")
        threading.Thread(target=self._work, name="kdviz-import", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the end; True when it has come."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """End its process; nothing is kept of it."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def _work(self) -> None:
        try:
            made = self._run()
            if made and not self._stopped.is_set():
                self._keep(self._plan.out)
                self.status = "done"
        except KdvizError as error:
            self.error = str(error)
        except OSError as error:
            self.error = str(SettingError(f"The import could not be run: {error.strerror or error}."))
        except Exception:
            self.error = str(
                ModelError("The import failed for a reason that kdviz does not know; try kdviz import in a terminal.")
            )
            _log.exception("an import failed")
        finally:
            if self.status != "done":
                self.status = "stopped" if self._stopped.is_set() else "failed"
            shutil.rmtree(self._plan.work, ignore_errors=True)
            _slots.release()
            self._ended.set()

    def _run(self) -> bool:
        """Whether the experiment was made."""
        plan = self._plan.work / "plan.json"
        plan.write_text(json.dumps({**asdict(self._plan), "work": str(self._plan.work)}), encoding="utf-8")
        paths = [str(Path(kdviz.__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUTF8": "1"}
        with (self._plan.work / "log.txt").open("w+", encoding="utf-8") as log:
            self._process = process = subprocess.Popen(
                [sys.executable, "-m", "kdviz.app.pages.bring_models.process", str(plan)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=environment,
                start_new_session=True,  # the server's Ctrl-C is not its own: it is killed below
            )
            status = self._followed(process)
            if status and not self._stopped.is_set() and not self.error:
                log.seek(0)
                last = log.read()[-300:].strip().rpartition("\n")[2]
                _log.warning("%s: %s", status, last)
                raise ModelError(
                    "The import ended before it was done, perhaps for want of memory; try it with kdviz import in a "
                    "terminal."
                )
        return status == 0

    def _followed(self, process: subprocess.Popen[str]) -> int:
        """Its exit status, once it has ended."""
        atexit.register(process.kill)
        limit = threading.Timer(_LONGEST, process.kill)
        limit.daemon = True
        limit.start()
        try:
            if self._stopped.is_set():
                process.kill()
            assert process.stdout is not None
            for line in process.stdout:
                self._hear(line)
            return process.wait()
        finally:
            limit.cancel()
            atexit.unregister(process.kill)

    def _hear(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return  # a library that prints
        if not isinstance(said, dict):
            return
        self.error = said.get("error", self.error)
        self.stage, _space, self.about = said.get("stage", self.stage).partition(" ")
        self.done, self.total = said.get("done", self.done), said.get("total", self.total)
