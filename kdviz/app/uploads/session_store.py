"""Experiments that a session uploaded: files in a folder that only this session sees and that is removed when it ends.

A session's folder lies in a folder of the server process, in the system's folder for temporary files. It is removed
some seconds after the tab is closed, as a connection that breaks may come back in that time. All of them are removed
when the server stops, and those of a server that was killed when the next one starts.
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
from kdviz.app.uploads.session_end import close_session
from kdviz.app.uploads.unpacking import Package
from kdviz.core.errors import ExperimentError, KdvizError, SettingError
from kdviz.experiment import Experiment

PREFIX = "own-"


GRACE = 8.0  # seconds in which a lost connection may come back


_LINKS_ONLY = 4096  # bytes that count for a folder without weights of its own


@dataclass
class UploadedExperiment:
    """An experiment that a session uploaded.

    Attributes:
        name: Its name in the address.
        folder: The folder of its files.
        source: Name of the file or folder that the person sent.
        size: Bytes that count towards the limits.
        ignored: Paths of files that were sent and left out.
        added: Roles of models that were added one by one, with the names of their files.
    """

    name: str
    folder: Path
    source: str
    size: int
    ignored: tuple[str, ...] = ()
    added: dict[str, str] = field(default_factory=dict)


class Draft(Protocol):
    """Files that a session sent and that are no experiment yet."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        ...

    def end(self) -> None:
        """Stop all work on the files, and remove them."""
        ...


class SessionStore:
    """Everything that one session uploaded."""

    def __init__(self, session: str):
        self.session = session
        self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=server_folder()))
        self.experiments: dict[str, UploadedExperiment] = {}
        self.opened: dict[Path, tuple[Any, Any]] = {}
        self.reserved = 0  # bytes that are being written just now
        self.draft: Draft | None = None  # files of which an experiment is being made
        self._released = False

    @property
    def size(self) -> int:
        draft = 0 if self.draft is None else self.draft.size
        return self.reserved + draft + sum(uploaded.size for uploaded in self.experiments.values())

    def keep(self) -> None:
        """Note that the session is connected."""
        self._released = False

    def release(self) -> None:
        """Note that the session is gone, or only its connection, and look again in some seconds."""
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
        """Remove every file of the session, and what is in memory."""
        with _lock:
            if _stores.get(self.session) is self:
                del _stores[self.session]
        if self.draft is not None:
            self.draft.end()
        for uploaded in self.experiments.values():
            _notify_removed(uploaded.folder)
        self.experiments.clear()
        self.opened.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        close_session(self.session)

    def add_experiment(self, package: Package, source: str) -> UploadedExperiment:
        """Unpack an experiment, and check it.

        Raises:
            KdvizError: It is refused, or there is no room; nothing of it is kept then.
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
            uploaded = self.experiments[name] = UploadedExperiment(name, folder, source, package.size, package.ignored)
        return uploaded

    def add_model(
        self, experiment: Experiment, content: bytes, network: str, role: str, source: str
    ) -> UploadedExperiment:
        """Add weights to this session's copy of an experiment, which is made if there is none yet.

        Args:
            experiment: The experiment that is open.
            content: The bytes of a checkpoint, or of a zip of a model's folder.
            network: Name of the network; if it is empty, it is identified from the file.
            role: Role of the new model.
            source: Name of the file.

        Raises:
            KdvizError: The weights do not fit, or there is no room; nothing is changed then.
        """
        with (
            self.room_for(3 * written_size(source, content)),
            tempfile.TemporaryDirectory(dir=self.folder) as temporary,
        ):
            path = written_model(Path(temporary) / "sent", source, content)
            try:
                return self._add_weights(experiment, path, network, role, source)
            except KdvizError as error:
                words = error.sentence.replaced(lambda text: text.replace(str(path), source).replace(path.name, source))
                raise type(error)(words) from error

    def _add_weights(
        self, experiment: Experiment, path: Path, network: str, role: str, source: str
    ) -> UploadedExperiment:
        candidates = upload_validation.candidate_networks(experiment)
        network = network or upload_validation.fitting_network(path, experiment, candidates)
        uploaded = self.experiments.get(experiment.name)
        is_new = uploaded is None
        if uploaded is None:
            name = self._new_name(experiment.name)
            uploaded = UploadedExperiment(name, self.folder / name, source, _LINKS_ONLY)
            title = f"{experiment.title or experiment.name} + {role}"
            experiment = upload_validation.derive_experiment(experiment, uploaded.folder, title)
        try:
            run = upload_validation.add_weights(experiment, path, network, role, source)
        except BaseException:
            if is_new:
                shutil.rmtree(uploaded.folder, ignore_errors=True)
            raise
        uploaded.size += (uploaded.folder / run.weights).stat().st_size
        uploaded.added[role] = source
        self.experiments[uploaded.name] = uploaded
        return uploaded

    def adopt(self, built: Path, source: str, name: str = "") -> UploadedExperiment:
        """Move an experiment that the server made of the session's files into this store.

        Args:
            built: Its folder, on the same disk as the session's folder.
            source: Name of what it was made of.
            name: Name of the session's experiment that it replaces; empty if it replaces none.

        Raises:
            SettingError: There is no room; ``built`` stays where it is then.
        """
        size = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
        replaced = self.experiments.get(name)
        with self.room_for(size - (replaced.size if replaced else 0)):
            self.remove(name)
            uploaded = UploadedExperiment(name if replaced else self._new_name(source), self.folder, source, size)
            uploaded.folder = self.folder / uploaded.name
            built.replace(uploaded.folder)
            self.experiments[uploaded.name] = uploaded
        return uploaded

    def remove(self, name: str) -> None:
        """Remove an experiment and its files."""
        uploaded = self.experiments.pop(name, None)
        if uploaded is not None:
            self.opened.pop(uploaded.folder, None)
            _notify_removed(uploaded.folder)
            shutil.rmtree(uploaded.folder, ignore_errors=True)

    def _new_name(self, source: str) -> str:
        stem = Path(source.removeprefix(PREFIX)).stem.lower()
        plain = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in stem).strip("-")
        # Another session's link must not open something else that happens to have the same name.
        return f"{PREFIX}{plain[:24] or 'experiment'}-{secrets.token_hex(3)}"

    @contextmanager
    def room_for(self, size: int) -> Iterator[None]:
        """Reserve bytes for what is written within this block.

        Raises:
            SettingError: The session, or all sessions together, would take too much.
        """
        session, total = limits.session_bytes(), limits.total_bytes()
        with _lock:
            others = sum(store.size for store in _stores.values() if store is not self)
            if self.size + size > session:
                raise SettingError(
                    "There is no room for {size:,.0f} MB: a session may keep {session:,.0f} MB here, "
                    "and {taken:,.0f} MB are taken; remove what you no longer need.",
                    size=size / 1e6,
                    session=session / 1e6,
                    taken=self.size / 1e6,
                )
            if others + self.size + size > total:
                raise SettingError(
                    "There is no room for {size:,.0f} MB just now: all sessions together may keep "
                    "{total:,.0f} MB here; please try again later, or run kdviz on your own machine.",
                    size=size / 1e6,
                    total=total / 1e6,
                )
            self.reserved += size
        try:
            yield
        finally:
            self.reserved -= size


_lock = threading.Lock()


_stores: dict[str, SessionStore] = {}  # session -> its store


_removal_callbacks: list[Callable[[Path], None]] = []


def _session_id() -> str | None:
    context = get_script_run_ctx(suppress_warning=True)
    return None if context is None else context.session_id


@st.cache_resource(scope="session", on_release=SessionStore.release, show_spinner=False)
def _session_store() -> SessionStore:
    """The store of this session, new or the one from before the connection was lost for a moment."""
    session = _session_id() or ""
    with _lock:
        if session not in _stores:
            _stores[session] = SessionStore(session)
        store = _stores[session]
    store.keep()
    return store


def current_store() -> SessionStore:
    """The store of this session; it is made on first use."""
    return _session_store()


def experiments() -> dict[str, UploadedExperiment]:
    """Name -> experiment that this session uploaded; empty outside of a session."""
    return dict(_session_store().experiments) if _session_id() in _stores else {}


def folders() -> dict[str, Path]:
    """Name -> folder of each experiment that this session uploaded."""
    return {name: uploaded.folder for name, uploaded in experiments().items()}


def opened(folder: Path, stamp: Any, load: Any) -> Any:
    """The result of ``load()`` for a folder of this session, kept until ``stamp`` changes.

    Raises:
        ExperimentError: The folder is no longer one of this session's.
    """
    if folder not in folders().values():
        raise ExperimentError("This experiment was removed from the server; bring it again on the page Models.")
    opened_folders = _session_store().opened
    if folder not in opened_folders or opened_folders[folder][0] != stamp:
        opened_folders[folder] = stamp, load()
    return opened_folders[folder][1]


def is_private(name: str) -> bool:
    """Whether an experiment has a name that session stores give."""
    return name.startswith(PREFIX)


def when_removed(forget: Callable[[Path], None]) -> None:
    """Register a function that is called with the folder of each experiment that is removed, to drop what it keeps."""
    _removal_callbacks.append(forget)


def _notify_removed(folder: Path) -> None:
    for forget in _removal_callbacks:
        forget(folder)


def folder_in_a_command(name: str) -> str:
    """Folder in which the person probably has the experiment ``name``, for commands; not the server's."""
    return f"models/{name.removeprefix(PREFIX).rpartition('-')[0]}"


def is_foreign(name: str, known: Sequence[str]) -> bool:
    """Whether a name in the address belongs to an experiment of another session."""
    return is_private(name) and name not in known
