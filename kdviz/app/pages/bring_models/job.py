"""One import of models that a session sent, in a process of its own.

It must not share a process with the pages: it parses files of strangers, takes as much memory as their networks do, and
can be stopped only by ending the process. The experiment is made in a working folder, and moved to the session's others
when it is done.
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
from kdviz.core.errors import KdvizError, ModelError, Sentence, SettingError

_log = logging.getLogger(__name__)
_LONGEST = 1800.0  # seconds after which an import is given up
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


class ImportJob:
    """One import. Any thread may read its attributes at any time.

    Attributes:
        status: ``running``, ``done``, ``stopped`` or ``failed``.
        stage: ``read``, ``evaluate`` or ``maps``; empty at first.
        about: Name of the file that is being read.
        done, total: How far the stage has come.
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
        """The share that is done, from 0 to 1."""
        low, high = _SHARES.get(self.stage, (0.0, 0.0))
        return low + (high - low) * (min(1.0, self.done / self.total) if self.total else 0.0)

    def start(self) -> None:
        """Start the process.

        Raises:
            SettingError: Too many other imports are under way.
        """
        if not _slots.acquire(blocking=False):
            raise SettingError("Other imports are under way on this server; please try again in a minute.")
        threading.Thread(target=self._run_in_thread, name="kdviz-import", daemon=True).start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the import has ended; False if the timeout came first."""
        return self._ended.wait(timeout)

    def stop(self) -> None:
        """Kill the process; nothing of the import is kept."""
        self._stopped.set()
        if self._process is not None:
            self._process.kill()

    def _run_in_thread(self) -> None:
        try:
            succeeded = self._run()
            if succeeded and not self._stopped.is_set():
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
                self.status = "stopped" if self._stopped.is_set() else "failed"
            shutil.rmtree(self._plan.work, ignore_errors=True)
            _slots.release()
            self._ended.set()

    def _run(self) -> bool:
        """Run the process, and return whether it made the experiment."""
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
                start_new_session=True,  # the server's Ctrl-C does not reach it: it is killed below
            )
            status = self._wait_for_process(process)
            if status and not self._stopped.is_set() and not self.error:
                log.seek(0)
                last = log.read()[-300:].strip().rpartition("\n")[2]
                _log.warning("%s: %s", status, last)
                raise ModelError(
                    "The import ended before it was done, perhaps for want of memory; try it with kdviz import in a "
                    "terminal."
                )
        return status == 0

    def _wait_for_process(self, process: subprocess.Popen[str]) -> int:
        """Read the messages of a process until it ends, and return its exit status."""
        atexit.register(process.kill)
        limit = threading.Timer(_LONGEST, process.kill)
        limit.daemon = True
        limit.start()
        try:
            if self._stopped.is_set():
                process.kill()
            assert process.stdout is not None
            for line in process.stdout:
                self._read_message(line)
            return process.wait()
        finally:
            limit.cancel()
            atexit.unregister(process.kill)

    def _read_message(self, line: str) -> None:
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
