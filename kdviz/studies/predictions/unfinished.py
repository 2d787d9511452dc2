"""Logits of an evaluation under way, in files: they need no memory, and an evaluation that was stopped continues.

::

    <folder>/<identity>/<role>.logits    float32 (pictures, classes), in the order of the pictures
    <folder>/<identity>/thumbnails.*     see kdviz.data.thumbnails.ThumbnailParts
    <folder>/<identity>/state.json       how many pictures are done, and what was noted about them

The identity is a hash of everything that decides the logits. Other models or pictures are another evaluation, which
starts from the beginning and removes what is left of earlier ones.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import KdvizError
from kdviz.core.files import atomic_write
from kdviz.data.thumbnails import ThumbnailParts

_LOCK, _STATE = "lock", "state.json"
_SECONDS = 5.0  # between savings, and so what is lost when the process is killed


class LogitsFile:
    """Logits (N, classes) in a file, float32: rows are added at its end, and read as from a tensor.

    Args:
        path: The file; it is made if it is missing.
        classes: Number of columns.
    """

    def __init__(self, path: Path, classes: int):
        self._path, self._classes = path, classes
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._count = os.fstat(self._file.fileno()).st_size // (4 * classes)

    def __len__(self) -> int:
        return self._count

    @property
    def shape(self) -> torch.Size:
        return torch.Size((self._count, self._classes))

    def __getitem__(self, part: slice) -> Tensor:
        start, stop, _ = part.indices(self._count)
        rows = np.empty((max(0, stop - start), self._classes), np.float32)
        if rows.size:
            self._file.seek(4 * self._classes * start)
            self._file.readinto(rows.data.cast("B"))
        return torch.from_numpy(rows)

    def append(self, rows: Tensor) -> None:
        """Add rows (n, classes).

        Raises:
            KdvizError: The disk is full.
        """
        try:
            self._file.seek(4 * self._classes * self._count)
            self._file.write(np.ascontiguousarray(rows.numpy(), np.float32).data)
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        self._count += len(rows)

    def truncate(self, count: int) -> None:
        """Keep the first ``count`` rows."""
        self._file.truncate(4 * self._classes * count)
        self._count = count

    def sync(self) -> None:
        """Have all rows on the disk.

        Raises:
            KdvizError: The disk is full.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from error

    def close(self) -> None:
        with suppress(OSError):  # a full disk, which was reported where it mattered
            self._file.close()


class UnfinishedEvaluation:
    """The logits of the pictures that are done.

    Args:
        folder: Its own folder.
        roles: The models.
        classes: Number of logits.
        notes: Returns what is known of the pictures that are done; JSON values.

    Attributes:
        done: Number of pictures of which every model's logits are here.
        earlier_notes: What was noted when it was last saved.
        logits: Role -> its logits.
        thumbnails: Small copies of the pictures.
    """

    def __init__(self, folder: Path, roles: Sequence[str], classes: int, notes: Callable[[], Mapping[str, Any]]):
        self._folder, self._notes, self._saved = folder, notes, time.monotonic()
        done, earlier_notes = _read_state(folder / _STATE)
        self.logits = {role: LogitsFile(folder / f"{role}.logits", classes) for role in roles}
        self.thumbnails = ThumbnailParts(folder)
        self.done = min([done, len(self.thumbnails), *map(len, self.logits.values())])
        self.earlier_notes = earlier_notes if self.done else {}
        for file in self.logits.values():
            file.truncate(self.done)
        self.thumbnails.truncate(self.done)

    def add(self, logits: Mapping[str, Tensor], thumbnails: Sequence[bytes]) -> None:
        """Add the logits of the next pictures, and save them every few seconds.

        Args:
            logits: Role -> (n, classes).
            thumbnails: Of the same n pictures, as :func:`kdviz.data.thumbnails.thumbnail` makes them.

        Raises:
            KdvizError: The disk is full.
        """
        self.thumbnails.append(thumbnails)
        for role, rows in logits.items():
            self.logits[role].append(rows)
        self.done += len(thumbnails)
        if time.monotonic() - self._saved > _SECONDS:
            self.save()

    def save(self) -> None:
        """Save what is done, for an evaluation that continues."""
        for file in self.logits.values():
            file.sync()
        self.thumbnails.sync()
        state = {"done": self.done, "notes": dict(self._notes())}
        atomic_write(self._folder / _STATE, json.dumps(state).encode())
        self._saved = time.monotonic()

    def close(self) -> None:
        for file in (*self.logits.values(), self.thumbnails):
            file.close()


@contextmanager
def unfinished_evaluation(
    folder: Path, identity: str | None, roles: Sequence[str], classes: int, notes: Callable[[], Mapping[str, Any]]
) -> Iterator[UnfinishedEvaluation]:
    """An evaluation that is under way, which is removed at the end; after an error it stays, and can be continued.

    Args:
        folder: Where such evaluations are.
        identity: Hash of everything that decides the logits; None: it cannot be continued.
        roles, classes, notes: See :class:`UnfinishedEvaluation`.

    Raises:
        KdvizError: Nothing can be written there.
    """
    own, keep = None, False
    try:
        with ExitStack() as stack:
            own, is_alone = _reserve(folder, identity, stack)
            try:
                evaluation = stack.enter_context(closing(UnfinishedEvaluation(own, roles, classes, notes)))
            except OSError as error:
                raise _cannot_write(own, error) from error
            try:
                yield evaluation
            except BaseException:  # the user may also have stopped it
                keep = is_alone and evaluation.done > 0
                with suppress(KdvizError):  # the disk is full, which the first error says
                    evaluation.save()
                raise
    finally:
        if own is not None and not keep:
            shutil.rmtree(own, ignore_errors=True)
        with suppress(OSError):  # others are there
            folder.rmdir()


def _reserve(folder: Path, identity: str | None, stack: ExitStack) -> tuple[Path, bool]:
    """The folder of an evaluation, and whether it may be continued: it has an identity, and nobody else works on it.

    Raises:
        KdvizError: Nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = None if identity is None else _lock(folder / identity)
        if identity is None or lock is None:
            return Path(tempfile.mkdtemp(prefix="once-", dir=folder)), False
        stack.enter_context(lock)
        _remove_others(folder, folder / identity)
        return folder / identity, True
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _lock(folder: Path) -> IO[bytes] | None:
    """Make a folder and reserve it for this process, until the returned file is closed; None: another has it."""
    folder.mkdir(exist_ok=True)
    file = (folder / _LOCK).open("wb")
    try:
        import fcntl
    except ImportError:  # Windows
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _remove_others(folder: Path, own: Path) -> None:
    """Remove the evaluations that were left by other processes, which ended."""
    for other in folder.iterdir():
        if other == own or not (other / _LOCK).is_file():
            continue
        lock = _lock(other)
        if lock is not None:
            lock.close()
            shutil.rmtree(other, ignore_errors=True)


def _read_state(path: Path) -> tuple[int, dict[str, Any]]:
    """The number of pictures that are done, and what was noted about them; 0 without a state, or a damaged one."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        return int(state["done"]), dict(state["notes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, {}


def _cannot_write(path: Path, error: OSError) -> KdvizError:
    return KdvizError("Cannot write '{path}': {strerror}.", path=path, strerror=error.strerror or error)
