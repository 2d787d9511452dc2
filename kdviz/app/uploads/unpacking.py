"""An experiment that somebody sends, as a zip or as the files of a folder: out of it into a folder, and no further.

Nothing that is sent is trusted. A zip is read like this: its directory must be small, which is checked before it is
parsed; every name must stay inside; links, encryption and rare compressions are refused; sizes are added up before
anything is written. Only files whose kind is known are written, under plain names.
"""

from __future__ import annotations

import io
import re
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from kdviz.app import limits
from kdviz.core.errors import ExperimentError

DOCUMENT = "experiment.json"
KINDS = (".safetensors", ".parquet")
_ONNX = ".onnx"  # see kdviz.app.limits.onnx_allowed
MOST_FILES = 64
_LARGEST_DIRECTORY = 1_000_000  # bytes of a zip's own list of its files, each of some 50 bytes and its name
_LARGEST_DOCUMENT = 2_000_000
_EXPANSION = 20  # a zip that unpacks to more than this many times its size
_SMALL = 64_000_000  # is refused, unless it is small all the same
_PIECE = 1_000_000
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)")  # what systems add, and nobody means


@dataclass(frozen=True)
class Sent:
    """One file.

    Attributes:
        path: As it was sent, with slashes.
        size: In bytes, when unpacked.
        open: Its content.
    """

    path: str
    size: int
    open: Callable[[], IO[bytes]]

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Package:
    """The files of an experiment that will be written, and what is left out.

    Attributes:
        files: experiment.json, weights and tables.
        ignored: Paths of the others.
    """

    files: tuple[Sent, ...]
    ignored: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(one.size for one in self.files)

    def write(self, folder: Path) -> None:
        """Into a new folder, which is removed again if anything goes wrong.

        Raises:
            ExperimentError: A file is damaged, or the disk is full.
        """
        folder.mkdir(parents=True)
        try:
            for one in self.files:
                _write(one, folder / one.name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def from_folder(files: Sequence[tuple[str, bytes]]) -> Package:
    """The files of a folder, each with its path in it.

    Raises:
        ExperimentError: It is refused; the text says why.
    """
    return _package([from_memory(path, content) for path, content in files])


def from_memory(path: str, content: bytes) -> Sent:
    """A file that was sent by itself, or as part of a folder."""
    # Browsers begin the path of a dropped folder with "/" or "./", which mean the folder itself.
    return Sent(path.removeprefix(".").lstrip("/"), len(content), lambda: io.BytesIO(content))


@contextmanager
def from_zip(content: bytes) -> Iterator[Package]:
    """The files of a zip, while it is open.

    Raises:
        ExperimentError: It is refused; the text says why.
    """
    with zip_files(content) as sent:
        yield _package(sent)


@contextmanager
def zip_files(
    content: bytes, most: int = MOST_FILES, largest_directory: int = _LARGEST_DIRECTORY
) -> Iterator[list[Sent]]:
    """All files in a zip, while it is open; their names are not checked yet: see :func:`write_files`.

    Args:
        content: Of the zip.
        most: Files that are expected at most, for the message about a directory that is too large.
        largest_directory: Bytes of the zip's list of its files.

    Raises:
        ExperimentError: It is refused; the text says why.
    """
    try:
        archive = zipfile.ZipFile(_CarefulFile(content, largest_directory))
    except _DirectoryTooLargeError:
        _refuse(f"it lists far more files than the {most} an experiment may have")
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, UnicodeError, EOFError) as error:
        raise ExperimentError("The file is not a zip, or is damaged; please make it again.") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        for entry in entries:
            _check_entry(entry)
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(_SMALL, _EXPANSION * len(content)):
            _refuse(
                f"its {len(content) / 1e6:.1f} MB would unpack to {unpacked / 1e6:,.0f} MB, "
                "which no experiment's files do"
            )
        yield [Sent(one.filename, one.file_size, lambda one=one: archive.open(one)) for one in entries]


def meant(sent: Sequence[Sent]) -> list[Sent]:
    """The files without those that systems add.

    Raises:
        ExperimentError: The name of one leads out of its folder.
    """
    for one in sent:
        _check_path(one.path)
    return [one for one in sent if not _HIDDEN.search(one.path)]


def write_files(sent: Sequence[Sent], folder: Path, most: int) -> None:
    """Write files under their paths into a new folder, which is removed again if anything goes wrong.

    Args:
        sent: As :func:`meant` gives them.
        folder: To be made.
        most: Files that are taken.

    Raises:
        ExperimentError: There are too many, one is damaged, two have one name, or the disk is full.
    """
    if len(sent) > most:
        _refuse(f"it has {len(sent)} files, and {most} are taken here")
    if len({one.path.lower() for one in sent}) < len(sent):
        _refuse("two of its files have the same name")
    folder.mkdir(parents=True)
    try:
        for one in sent:
            _make_folder((folder / one.path).parent, one)
            _write(one, folder / one.path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _make_folder(folder: Path, one: Sent) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ExperimentError(f"'{one.name}' cannot be written on the server: {reason}.") from error


class _DirectoryTooLargeError(zipfile.BadZipFile):
    pass


class _CarefulFile(io.BytesIO):
    """A zip in memory whose directory of files is not read when it is far too long: each entry becomes an object."""

    def __init__(self, content: bytes, largest_directory: int):
        super().__init__(content)
        self._largest = largest_directory

    def read(self, size: int | None = -1, /) -> bytes:
        left = len(self.getbuffer()) - self.tell()
        if (left if size is None or size < 0 else min(size, left)) > self._largest:
            raise _DirectoryTooLargeError
        return super().read(size)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        _refuse(f"'{entry.filename[:80]}' in it is a link or a device, not a file")
    if entry.flag_bits & 0x1:
        _refuse("it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse(f"'{entry.filename[:80]}' in it is compressed in a way that is not usual; make a plain zip")


def _refuse(why: str) -> NoReturn:
    raise ExperimentError(f"The experiment is refused: {why}.")


def _package(sent: Sequence[Sent]) -> Package:
    shown = meant(sent)
    here = _its_folder(shown)
    files = tuple(one for one in shown if one.folder == here and _is_known(one.name))
    if len(files) > MOST_FILES:
        _refuse(f"it has {len(files)} files, and an experiment may have {MOST_FILES}")
    names = [one.name.lower() for one in files]
    if len(set(names)) < len(names):
        _refuse("two of its files have the same name")
    document = next(one for one in files if one.name == DOCUMENT)
    if document.size > _LARGEST_DOCUMENT:
        _refuse(f"its {DOCUMENT} is larger than {_LARGEST_DOCUMENT / 1e6:.0f} MB")
    return Package(files, tuple(one.path for one in shown if one not in files))


def _check_path(path: str) -> None:
    parts = path.split("/")
    outside = path.startswith("/") or ".." in parts or "\\" in path or ":" in path
    if outside or any(ord(letter) < 32 for letter in path):
        _refuse(f"the name {path[:80]!r} in it leads out of its folder")


def _its_folder(sent: Sequence[Sent]) -> str:
    """Where experiment.json is: the one nearest to the top."""
    found = sorted((one.folder for one in sent if one.name == DOCUMENT), key=lambda one: one.count("/") + bool(one))
    if not found:
        _refuse(f"it has no {DOCUMENT}")
    depths = [one.count("/") + bool(one) for one in found]
    if depths.count(depths[0]) > 1:
        _refuse("it holds more than one experiment; send them one by one")
    return found[0]


def _is_known(name: str) -> bool:
    kinds = (*KINDS, _ONNX) if limits.onnx_allowed() else KINDS
    return name == DOCUMENT or (_PLAIN_NAME.fullmatch(name) is not None and name.endswith(kinds))


def _write(one: Sent, path: Path) -> None:
    left = one.size
    try:
        with one.open() as source, path.open("xb") as target:
            while piece := source.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    _refuse(f"'{one.name}' is longer than it says")
                target.write(piece)
    except ExperimentError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise ExperimentError(f"'{one.name}' cannot be written on the server: {reason}.") from error
    except Exception as error:  # zipfile lets through whatever zlib says of bad data
        raise ExperimentError(f"'{one.name}' cannot be unpacked: it is damaged; please make the zip again.") from error
    if left:
        raise ExperimentError(f"'{one.name}' cannot be unpacked: it is damaged; please make the zip again.")
