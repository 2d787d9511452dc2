"""Experiments that somebody sends, as a zip or as the files of a folder: they are written into a folder, not opened.

Nothing that is sent is trusted. The directory of a zip must be small, which is checked before it is parsed; every name
must stay inside of its folder; links, encryption and rare compressions are refused; sizes are added up before anything
is written. Only files of known kinds are written, under plain names.
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
from typing import IO, Any, NoReturn

from kdviz.app import limits
from kdviz.core.errors import ExperimentError, Sentence

DOCUMENT = "experiment.json"
KINDS = (".safetensors", ".parquet")
_ONNX = ".onnx"  # see kdviz.app.limits.onnx_allowed
MOST_FILES = 64
_LARGEST_DIRECTORY = 1_000_000  # bytes of a zip's own list of its files, each of some 50 bytes and its name
_LARGEST_DOCUMENT = 2_000_000
_EXPANSION = 20  # a zip that unpacks to more than this many times its size is refused,
_SMALL = 64_000_000  # unless it unpacks to no more than these bytes
_PIECE = 1_000_000
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_HIDDEN = re.compile(r"(^|/)(\.|__MACOSX/|Thumbs\.db$|desktop\.ini$)")  # files that operating systems add


@dataclass(frozen=True)
class SentFile:
    """A file that was sent.

    Attributes:
        path: Its path as it was sent, with slashes.
        size: Bytes when it is unpacked.
        open: Opens its content for reading.
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
        files: The document experiment.json, weights and tables.
        ignored: Paths of the other files.
    """

    files: tuple[SentFile, ...]
    ignored: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(file.size for file in self.files)

    def write(self, folder: Path) -> None:
        """Write the files into a new folder, which is removed again if anything goes wrong.

        Raises:
            ExperimentError: A file is damaged, or the disk is full.
        """
        folder.mkdir(parents=True)
        try:
            for file in self.files:
                _write(file, folder / file.name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def from_folder(files: Sequence[tuple[str, bytes]]) -> Package:
    """The package in the files of a folder, each given with its path in it.

    Raises:
        ExperimentError: It is refused; the message says why.
    """
    return _package([from_memory(path, content) for path, content in files])


def from_memory(path: str, content: bytes) -> SentFile:
    """A file that was sent by itself, or as part of a folder."""
    # Browsers begin the path of a dropped folder with "/" or "./", which mean the folder itself.
    return SentFile(path.removeprefix(".").lstrip("/"), len(content), lambda: io.BytesIO(content))


@contextmanager
def from_zip(content: bytes) -> Iterator[Package]:
    """The package in a zip, while the zip is open.

    Raises:
        ExperimentError: It is refused; the message says why.
    """
    with zip_files(content) as files:
        yield _package(files)


@contextmanager
def zip_files(
    content: bytes, max_files: int = MOST_FILES, largest_directory: int = _LARGEST_DIRECTORY
) -> Iterator[list[SentFile]]:
    """All files in a zip, while it is open; their names are not checked yet: see :func:`write_files`.

    Args:
        content: The bytes of the zip.
        max_files: Largest number of files that is expected, for the message about a directory that is too large.
        largest_directory: Largest size in bytes of the zip's list of its files.

    Raises:
        ExperimentError: It is refused; the message says why.
    """
    try:
        archive = zipfile.ZipFile(_CarefulFile(content, largest_directory))
    except _DirectoryTooLargeError:
        _refuse("it lists far more files than the {max_files} an experiment may have", max_files=max_files)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, UnicodeError, EOFError) as error:
        raise ExperimentError("The file is not a zip, or is damaged; please make it again.") from error
    with archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        for entry in entries:
            _check_entry(entry)
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(_SMALL, _EXPANSION * len(content)):
            _refuse(
                "its {size:.1f} MB would unpack to {unpacked:,.0f} MB, which no experiment's files do",
                size=len(content) / 1e6,
                unpacked=unpacked / 1e6,
            )
        yield [SentFile(entry.filename, entry.file_size, lambda entry=entry: archive.open(entry)) for entry in entries]


def relevant_files(files: Sequence[SentFile]) -> list[SentFile]:
    """The files without those that operating systems add.

    Raises:
        ExperimentError: The path of a file leads out of its folder.
    """
    for file in files:
        _check_path(file.path)
    return [file for file in files if not _HIDDEN.search(file.path)]


def write_files(files: Sequence[SentFile], folder: Path, max_files: int) -> None:
    """Write files under their paths into a new folder, which is removed again if anything goes wrong.

    Args:
        files: The files, from :func:`relevant_files`.
        folder: The folder to make.
        max_files: Largest number of files that is accepted.

    Raises:
        ExperimentError: There are too many files, one is damaged, two have the same name, or the disk is full.
    """
    if len(files) > max_files:
        _refuse("it has {n_files} files, and {max_files} are taken here", n_files=len(files), max_files=max_files)
    if len({file.path.lower() for file in files}) < len(files):
        _refuse("two of its files have the same name")
    folder.mkdir(parents=True)
    try:
        for file in files:
            _make_folder((folder / file.path).parent, file)
            _write(file, folder / file.path)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _make_folder(folder: Path, file: SentFile) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise ExperimentError(
            "'{name}' cannot be written on the server: {reason}.", name=file.name, reason=reason
        ) from error


class _DirectoryTooLargeError(zipfile.BadZipFile):
    pass


class _CarefulFile(io.BytesIO):
    """A zip in memory whose directory is not read if it is far too long, as each entry would become an object."""

    def __init__(self, content: bytes, largest_directory: int):
        super().__init__(content)
        self._largest = largest_directory

    def read(self, size: int | None = -1, /) -> bytes:
        remaining = len(self.getbuffer()) - self.tell()
        if (remaining if size is None or size < 0 else min(size, remaining)) > self._largest:
            raise _DirectoryTooLargeError
        return super().read(size)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        _refuse("'{filename}' in it is a link or a device, not a file", filename=entry.filename[:80])
    if entry.flag_bits & 0x1:
        _refuse("it is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        _refuse(
            "'{filename}' in it is compressed in a way that is not usual; make a plain zip",
            filename=entry.filename[:80],
        )


def _refuse(why: str, /, **values: Any) -> NoReturn:
    raise ExperimentError(Sentence(why, **values).within("The upload is refused: {}."))


def _package(files: Sequence[SentFile]) -> Package:
    relevant = relevant_files(files)
    folder = _experiment_folder(relevant)
    kept = tuple(file for file in relevant if file.folder == folder and _is_known(file.name))
    if len(kept) > MOST_FILES:
        _refuse(
            "it has {n_kept} files, and an experiment may have {most_files}", n_kept=len(kept), most_files=MOST_FILES
        )
    names = [file.name.lower() for file in kept]
    if len(set(names)) < len(names):
        _refuse("two of its files have the same name")
    document = next(file for file in kept if file.name == DOCUMENT)
    if document.size > _LARGEST_DOCUMENT:
        _refuse(
            "its experiment.json is larger than {largest_document:.0f} MB",
            largest_document=_LARGEST_DOCUMENT / 1e6,
        )
    return Package(kept, tuple(file.path for file in relevant if file not in kept))


def _check_path(path: str) -> None:
    parts = path.split("/")
    outside = path.startswith("/") or ".." in parts or "\\" in path or ":" in path
    if outside or any(ord(letter) < 32 for letter in path):
        _refuse("the name {path!r} in it leads out of its folder", path=path[:80])


def _experiment_folder(files: Sequence[SentFile]) -> str:
    """The folder of experiment.json, of several the one nearest to the top."""
    folders = sorted(
        (file.folder for file in files if file.name == DOCUMENT), key=lambda path: path.count("/") + bool(path)
    )
    if not folders:
        _refuse("it has no experiment.json")
    depths = [file.count("/") + bool(file) for file in folders]
    if depths.count(depths[0]) > 1:
        _refuse("it holds more than one experiment; send them one by one")
    return folders[0]


def _is_known(name: str) -> bool:
    kinds = (*KINDS, _ONNX) if limits.onnx_allowed() else KINDS
    return name == DOCUMENT or (_PLAIN_NAME.fullmatch(name) is not None and name.endswith(kinds))


def _write(file: SentFile, path: Path) -> None:
    remaining = file.size
    try:
        with file.open() as source, path.open("xb") as target:
            while piece := source.read(_PIECE):
                remaining -= len(piece)
                if remaining < 0:
                    _refuse("'{name}' is longer than it says", name=file.name)
                target.write(piece)
    except ExperimentError:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise ExperimentError(
            "'{name}' cannot be written on the server: {reason}.", name=file.name, reason=reason
        ) from error
    except Exception as error:  # zipfile does not translate the errors of zlib
        raise ExperimentError(
            "'{name}' cannot be unpacked: it is damaged; please make the zip again.", name=file.name
        ) from error
    if remaining:
        raise ExperimentError("'{name}' cannot be unpacked: it is damaged; please make the zip again.", name=file.name)
