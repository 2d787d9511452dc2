"""One thread of one process at a time writes a folder, and others are told which one it is.

The lock between processes is a file beside the folder, ``.NAME.lock``, which the operating system holds locked for a
process and lets go however that ends; the process writes into it who it is. Threads of one process exclude each other
by a table in memory, also where files cannot be locked.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from kdviz.core.errors import KdvizError, Sentence
from kdviz.core.files import PART, lock_file, remove_abandoned

FROM_PYTHON = "kdviz in Python"
"""What a program does that writes a folder without a command."""

_LONGEST = 1000  # characters of what a holder says
_LONGEST_NAME = 255  # bytes of a file's name, on most file systems


class FolderInUseError(KdvizError):
    """Another process, or another thread of this one, is writing the folder."""


@dataclass(frozen=True, eq=False)
class _Holder:
    """Who writes a folder, of this process."""

    command: str
    thread: threading.Thread = field(default_factory=threading.current_thread)
    since: str = field(default_factory=lambda: time.strftime("%Y-%m-%d %H:%M", time.gmtime()))

    @property
    def is_this_thread(self) -> bool:
        """Whether this thread writes it, or goes on with what a thread has begun that has ended, such as a generator.

        After a fork, all threads of the parent have ended.
        """
        return self.thread is threading.current_thread() or not self.thread.is_alive()


_held: dict[Path, _Holder] = {}


@contextmanager
def writing_within(folder: str | Path, command: str = FROM_PYTHON) -> Iterator[None]:
    """As :func:`writing`, or nothing where this thread, such as a command's, writes the folder already.

    A folder that is being made under a name of its own, which ends with ``PART``, needs no lock.

    Raises:
        FolderInUseError: Another process or thread is writing it; the text says which.
    """
    with suppress(OSError, RuntimeError):
        folder = Path(folder).resolve()
    holder = _held.get(Path(folder))
    if (holder is not None and holder.is_this_thread) or Path(folder).name.endswith(PART):
        yield
        return
    with writing(folder, command):
        yield


@contextmanager
def writing(folder: str | Path, command: str) -> Iterator[None]:
    """Be the only one who writes a folder, which need not exist yet; readers are not hindered.

    What a killed process has left half-written there is removed, and a folder that it was just replacing is restored.
    Where nothing was written in the end, no new folder stays.
    Where no lock can be made, such as in a read-only folder, there is none: what is written will say why not.

    Args:
        folder: The folder.
        command: What is done there, as others read it.

    Raises:
        FolderInUseError: Another process or thread is writing it, or this thread is; the text says which.
    """
    try:
        folder = Path(folder).resolve()
    except (OSError, RuntimeError) as error:
        raise KdvizError("'{path}' is a link that leads nowhere.", path=folder) from error
    with _held_here(folder, command), _without_new_empty_folders(folder), _lock_held(folder, command):
        yield


@contextmanager
def _without_new_empty_folders(folder: Path) -> Iterator[None]:
    missing = [each for each in (folder, *folder.parents) if not _exists(each)]
    try:
        yield
    finally:
        for each in missing:
            with suppress(OSError):  # it is not empty, or was never made
                each.rmdir()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # not a possible name, or a folder that cannot be looked into
        return True


@contextmanager
def _held_here(folder: Path, command: str) -> Iterator[None]:
    """Be the only one of this process who writes a folder."""
    mine = _Holder(command)
    holder = _held.setdefault(folder, mine)  # at once, as no other thread comes between
    if holder is not mine:
        raise FolderInUseError(
            "This program is writing '{folder}' already ({command}, since {since} UTC); wait until that has ended.",
            folder=folder,
            command=holder.command,
            since=holder.since,
        )
    try:
        yield
    finally:
        del _held[folder]


@contextmanager
def _lock_held(folder: Path, command: str) -> Iterator[None]:
    path = _place_of(folder)
    file = None if path is None else _locked(path)
    if path is None or file is None:
        yield
        return
    with file:
        try:
            _write_holder(file, command)
            _tidy(folder)
            yield
        finally:
            with suppress(OSError):
                path.unlink()


def _place_of(folder: Path) -> Path | None:
    """The lock's file: beside the folder or, where nothing can be written there, in it."""
    for parent, name in ((folder.parent, f".{folder.name}.lock"), (folder, ".lock")):
        with suppress(OSError):
            parent.mkdir(parents=True, exist_ok=True)
            if os.access(parent, os.W_OK) and len(os.fsencode(name)) <= _LONGEST_NAME:
                return parent / name
    return None


def _locked(path: Path) -> IO[str] | None:
    """The lock's file, open and locked; None where files cannot be locked.

    Raises:
        FolderInUseError: Another process has it.
    """
    while True:
        try:
            file = path.open("a+", encoding="utf-8")
        except OSError:
            return None
        is_locked = lock_file(file.fileno())
        if is_locked and _is_at(file, path):
            return file
        holder = _holder(file)
        file.close()
        if is_locked is None:
            return None
        if not is_locked:
            raise _in_use(path, holder)


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is still the one at a path; its last holder may just have removed it."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _write_holder(file: IO[str], command: str) -> None:
    since = _Holder(command).since
    holder = {"command": command, "pid": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):  # a full disk: the lock holds all the same
        file.truncate(0)
        file.write(json.dumps(holder))
        file.flush()


def _holder(file: IO[str]) -> dict[str, Any] | None:
    """What the holder says of itself; None where it has not said it yet."""
    with suppress(OSError, ValueError):
        file.seek(0)
        holder = json.loads(file.read(_LONGEST))
        return holder if isinstance(holder, dict) else None
    return None


def _in_use(path: Path, holder: dict[str, Any] | None) -> FolderInUseError:
    folder = path.parent if path.name == ".lock" else path.with_name(path.name[1:].removesuffix(".lock"))
    if holder is None:
        return FolderInUseError("Another process is writing '{folder}'; wait until it has ended.", folder=folder)
    text = Sentence(
        "{command}, process {pid} on {host}, since {since} UTC",
        **{name: str(holder.get(name, "?"))[:100] for name in ("command", "pid", "host", "since")},
    )
    return FolderInUseError(
        "Another process is writing '{folder}' ({holder}); wait until it has ended, or stop it.",
        folder=folder,
        holder=text,
    )


# what killed processes leave ------------------------------------------------------------------------------------------


def _tidy(folder: Path) -> None:
    """Put back a folder that was just being replaced, and remove what was being written."""
    left = _left_beside(folder)
    with suppress(OSError):
        for earlier in [*(path / "earlier" for path in left), *left]:
            is_earlier = earlier.name == "earlier" or earlier.name.endswith("-old")
            if is_earlier and earlier.is_dir() and not folder.exists():
                earlier.rename(folder)
    for path in left:
        shutil.rmtree(path, ignore_errors=True)
    for part in (folder, folder / "runs", *folder.glob("runs/*"), folder / "study"):
        remove_abandoned(part)


def _left_beside(folder: Path) -> list[Path]:
    """The folders beside it in which a new content of it was made, or its earlier one was kept for a moment."""
    name = re.compile(rf"\.{re.escape(folder.name)}[-.][a-z0-9_]{{8}}{re.escape(PART)}(-old)?")
    with suppress(OSError):
        return sorted(path for path in folder.parent.iterdir() if name.fullmatch(path.name) and path.is_dir())
    return []
