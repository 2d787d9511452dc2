"""Experiments that a session brought: files in a folder of its own, which only it sees and which is gone when it ends.

A session's folder is in a folder of the server process, in the system's place for temporary files. It is removed
some seconds after the tab is closed (a connection that breaks comes back within them), all of them when the server
stops, and those of a server that was killed when the next one starts.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import streamlit as st
from streamlit.runtime import exists, get_instance
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.app import limits
from kdviz.app.pages.bring_models.files import written_model, written_size
from kdviz.app.uploads import upload_validation
from kdviz.app.uploads.server_folder import server_folder
from kdviz.app.uploads.unpacking import Package
from kdviz.core.errors import ExperimentError, KdvizError, SettingError
from kdviz.experiment import Experiment

PREFIX = "own-"


GRACE = 8.0  # seconds in which a lost connection may come back


_LINKS_ONLY = 4096  # bytes that count for a folder without weights of its own


@dataclass
class UploadedExperiment:
    """An experiment of a session.

    Attributes:
        name: As in the address.
        folder: Its files.
        source: What the person sent, by its name.
        size: Bytes that count against the limits.
        ignored: Paths that were sent and left out.
        added: Roles that were added to it one by one, with the names of their files.
    """

    name: str
    folder: Path
    source: str
    size: int
    ignored: tuple[str, ...] = ()
    added: dict[str, str] = field(default_factory=dict)


class Draft(Protocol):
    """Files that a session sent and that are not an experiment yet."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        ...

    def end(self) -> None:
        """Stop what works on them."""
        ...


class SessionStore:
    """Everything that one session brought."""

    def __init__(self, session: str):
        self.session = session
        self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=server_folder()))
        self.experiments: dict[str, UploadedExperiment] = {}
        self.opened: dict[Path, tuple[Any, Any]] = {}
        self.reserved = 0  # bytes of what is being written just now
        self.draft: Draft | None = None  # what is being made into an experiment
        self._released = False

    @property
    def size(self) -> int:
        draft = 0 if self.draft is None else self.draft.size
        return self.reserved + draft + sum(one.size for one in self.experiments.values())

    def keep(self) -> None:
        """The session is there."""
        self._released = False

    def release(self) -> None:
        """The session is gone, or only its connection: look again in some seconds."""
        self._released = True
        self._look_again()

    def _look_again(self) -> None:
        timer = threading.Timer(GRACE, self._end_if_gone)
        timer.daemon = True
        timer.start()

    def _end_if_gone(self) -> None:
        if not self._released:
            return
        if exists() and get_instance().is_active_session(self.session):
            self._look_again()
        else:
            self.end()

    def end(self) -> None:
        """Remove every file."""
        with _lock:
            if _all.get(self.session) is self:
                del _all[self.session]
        if self.draft is not None:
            self.draft.end()
        for one in self.experiments.values():
            _tell_removed(one.folder)
        self.experiments.clear()
        self.opened.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_experiment(self, package: Package, source: str) -> UploadedExperiment:
        """Unpack an experiment and check it.

        Raises:
            KdvizError: It is refused, or there is no room; nothing is left of it then.
        """
        name = self._new_name(source)
        folder = self.folder / name
        with self.room_for(package.size):
            package.write(folder)
            try:
                upload_validation.validate_experiment(folder, source)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            one = self.experiments[name] = UploadedExperiment(name, folder, source, package.size, package.ignored)
        return one

    def add_model(
        self, experiment: Experiment, content: bytes, network: str, role: str, source: str
    ) -> UploadedExperiment:
        """Add weights to an experiment: to this session's copy of it, which is made if it has none yet.

        Args:
            experiment: The one that is open.
            content: Of a checkpoint, or of a zip of a model's folder.
            network: By name; empty: found from the file.
            role: The model's name.
            source: The file's name.

        Raises:
            KdvizError: It does not fit, or there is no room; nothing is changed then.
        """
        with self.room_for(3 * written_size(source, content)), tempfile.TemporaryDirectory(dir=self.folder) as place:
            path = written_model(Path(place) / "sent", source, content)
            try:
                return self._added(experiment, path, network, role, source)
            except KdvizError as error:
                raise type(error)(str(error).replace(str(path), source).replace(path.name, source)) from error

    def _added(self, experiment: Experiment, path: Path, network: str, role: str, source: str) -> UploadedExperiment:
        known = upload_validation.usual_networks(experiment)
        network = network or upload_validation.fitting_network(path, experiment, known)
        one = self.experiments.get(experiment.name)
        made = one is None
        if one is None:
            name = self._new_name(experiment.name)
            one = UploadedExperiment(name, self.folder / name, source, _LINKS_ONLY)
            title = f"{experiment.title or experiment.name} + {role}"
            experiment = upload_validation.derive_experiment(experiment, one.folder, title)
        try:
            run = upload_validation.add_weights(experiment, path, network, role, source)
        except BaseException:
            if made:
                shutil.rmtree(one.folder, ignore_errors=True)
            raise
        one.size += (one.folder / run.weights).stat().st_size
        one.added[role] = source
        self.experiments[one.name] = one
        return one

    def adopt(self, made: Path, source: str, name: str = "") -> UploadedExperiment:
        """Take over an experiment that the server made of what the session sent; its folder is moved.

        Args:
            made: Its folder, on the disk of the session's.
            source: What it was made of.
            name: Of an experiment of this session which it replaces; empty: none.

        Raises:
            SettingError: There is no room; ``made`` is then where it was.
        """
        size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        old = self.experiments.get(name)
        with self.room_for(size - (old.size if old else 0)):
            self.remove(name)
            one = UploadedExperiment(name if old else self._new_name(source), self.folder, source, size)
            one.folder = self.folder / one.name
            made.replace(one.folder)
            self.experiments[one.name] = one
        return one

    def remove(self, name: str) -> None:
        """Remove an experiment and its files."""
        one = self.experiments.pop(name, None)
        if one is not None:
            self.opened.pop(one.folder, None)
            _tell_removed(one.folder)
            shutil.rmtree(one.folder, ignore_errors=True)

    def _new_name(self, source: str) -> str:
        stem = Path(source.removeprefix(PREFIX)).stem.lower()
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
        # Another session's link must not open something else that happens to have the same name.
        return f"{PREFIX}{plain[:24] or 'experiment'}-{secrets.token_hex(3)}"

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Keep so many bytes for what is written within this block.

        Raises:
            SettingError: The session, or all of them, would have too much here.
        """
        session, total = limits.session_bytes(), limits.total_bytes()
        with _lock:
            others = sum(one.size for one in _all.values() if one is not self)
            if self.size + size > session:
                raise SettingError(
                    f"There is no room for {size / 1e6:,.0f} MB: a session may keep {session / 1e6:,.0f} MB here, and "
                    f"{self.size / 1e6:,.0f} MB are taken; remove what you no longer need."
                )
            if others + self.size + size > total:
                raise SettingError(
                    f"There is no room for {size / 1e6:,.0f} MB just now: all sessions together may keep "
                    f"{total / 1e6:,.0f} MB here; please try again later, or run kdviz on your own machine."
                )
            self.reserved += size
        try:
            yield
        finally:
            self.reserved -= size


_lock = threading.Lock()


_all: dict[str, SessionStore] = {}  # by session


_forgetting: list[Callable[[Path], None]] = []


def _session() -> str | None:
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


@st.cache_resource(scope="session", on_release=SessionStore.release, show_spinner=False)
def _held() -> SessionStore:
    """Of this session; made anew, or found again when the connection was lost for a moment."""
    session = _session() or ""
    with _lock:
        if session not in _all:
            _all[session] = SessionStore(session)
        found = _all[session]
    found.keep()
    return found


def current_store() -> SessionStore:
    """What this session brought; made when it brings the first."""
    return _held()


def experiments() -> dict[str, UploadedExperiment]:
    """Name -> experiment that this session brought; none outside of a session."""
    return dict(_held().experiments) if _session() in _all else {}


def folders() -> dict[str, Path]:
    """Name -> folder of them."""
    return {name: one.folder for name, one in experiments().items()}


def opened(folder: Path, stamp: Any, load: Any) -> Any:
    """What ``load()`` makes of a folder of this session, kept until its files change.

    Raises:
        ExperimentError: The folder is no longer one of this session's.
    """
    if folder not in folders().values():
        raise ExperimentError("This experiment was removed from the server; bring it again on the page Models.")
    kept = _held().opened
    if folder not in kept or kept[folder][0] != stamp:
        kept[folder] = stamp, load()
    return kept[folder][1]


def is_private(name: str) -> bool:
    """Whether an experiment's name is one that a session store gives."""
    return name.startswith(PREFIX)


def when_removed(forget: Callable[[Path], None]) -> None:
    """Call ``forget`` with the folder of each experiment that is removed; it must drop what is kept of it."""
    _forgetting.append(forget)


def _tell_removed(folder: Path) -> None:
    for forget in _forgetting:
        forget(folder)


def folder_in_a_command(name: str) -> str:
    """Where the person probably keeps what this session calls ``name``: not where the server does."""
    return f"models/{name.removeprefix(PREFIX).rpartition('-')[0]}"


def is_foreign(name: str, known: Sequence[str]) -> bool:
    """Whether a name in the address is that of an experiment of another session."""
    return is_private(name) and name not in known
