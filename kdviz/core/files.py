"""Locations of kdviz's own files, atomic writing, and a store for files of long computations."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import fsspec
from fsspec.implementations.local import LocalFileSystem

from kdviz.core.errors import KdvizError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PACKAGE = Path(__file__).resolve().parents[1]
# In a checkout, assets/ and models/ are beside the package; an installed wheel has them inside it.
_ROOT = _PACKAGE.parent if (_PACKAGE.parent / "assets").is_dir() else _PACKAGE / "bundled"
ASSETS = _ROOT / "assets"
MODELS = _ROOT / "models"
_log = logging.getLogger(__name__)
PART = ".part"
"""How the names of files and folders end that are being written, and are then renamed."""


def from_home(path: str | Path) -> Path:
    """A path whose ``~`` is a person's home; one of a person who does not exist stays, and is then not found."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises RuntimeError there


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path`` through a temporary file in the same folder.

    Raises:
        KdvizError: The folder cannot be made or the file cannot be written; an older file then stays intact.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary file in the folder of ``path``, to be written, which takes the place of ``path`` at the end.

    Raises:
        KdvizError: The folder cannot be made or the file cannot be written; an older file then stays intact, as after
            any other error.
    """
    path = Path(path)
    # Named before it is made, so that it is removed wherever a signal ends this.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            lock_file(descriptor)
            yield temporary
            os.fsync(descriptor)  # of the file, whoever has written it
        finally:
            os.close(descriptor)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise KdvizError("Cannot write '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    finally:
        with suppress(OSError):  # a folder that is none, or a name that is too long, was refused above
            temporary.unlink(missing_ok=True)  # already moved if all went well


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files in a folder whose writers were killed; those of living ones are locked."""
    for path in folder.glob(f".*{PART}") if folder.is_dir() else ():
        with suppress(OSError), path.open("rb") as file:
            if lock_file(file.fileno()):
                path.unlink()


def lock_file(descriptor: int) -> bool | None:
    """Lock a file until it is closed or its process ends, however it does.

    Returns:
        False if another process has it, None where files cannot be locked.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system of a network
        return None
    return True


def parquet_of(content: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a table from the content of a Parquet file, without starting a thread.

    A thread of pyarrow that still waits when the program ends may abort it, with "terminate called without an active
    exception" (apache/arrow, issue 34314). ``pq.read_table``, paths and filters by an expression start one even with
    ``use_threads=False``. A path would also be opened more than once, while a study may replace the file.

    Raises:
        pyarrow.ArrowException: The content is no Parquet file, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    return file.read(columns=None if columns is None else list(columns), use_threads=False)


@contextmanager
def open_parquet(path: str | Path) -> Iterator[pq.ParquetFile]:
    """A Parquet file, of which only what is asked for is read; it is opened once. See :func:`parquet_of` on threads.

    Raises:
        FileNotFoundError, OSError: It cannot be opened.
        pyarrow.ArrowException: It is no Parquet file, or is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pa.memory_map(str(path)) as source:
        yield pq.ParquetFile(pa.BufferReader(source.read_buffer()))  # a file itself would be read in a thread


def rows_where(table: pa.Table, column: str, *values: str, without: bool = False) -> pa.Table:
    """The rows whose text in ``column`` is one of ``values``, or with ``without`` the others; starts no thread."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = table[column].cast(pa.string())
    is_selected = pc.call_function("is_in", [texts], pc.SetLookupOptions(pa.array(values, pa.string())))
    return table.filter(pc.call_function("invert", [is_selected]) if without else is_selected)


def require_writable(folder: str | Path) -> None:
    """Make ``folder`` if it is missing, and check that it is writable, before hours of work.

    Raises:
        KdvizError: Nothing can be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KdvizError(
            "Cannot write into '{folder}': {strerror}.", folder=folder, strerror=error.strerror or error
        ) from error


class Store:
    """A folder for the files of a long computation, local or anywhere that fsspec reaches (``s3://bucket/folder``).

    Args:
        url: A path or an fsspec URL, which must denote the same folder on all machines; a path is made absolute.

    Raises:
        KdvizError: fsspec cannot open it.
    """

    def __init__(self, url: str | Path):
        self.url = str(url)
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError, OSError) as error:
            raise KdvizError("Cannot open the folder '{url}': {error}", url=url, error=error) from error
        if isinstance(self._files, LocalFileSystem):
            self.url = self._root

    def read(self, name: str) -> bytes | None:
        """Read a file's content; None if there is no such file."""
        try:
            return self._files.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KdvizError(
                "Cannot read '{path}': {strerror}.", path=self._path(name), strerror=error.strerror or error
            ) from error

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically: concurrent readers get the old content or the new one.

        Raises:
            KdvizError: The file cannot be written; an older file then stays intact.
        """
        path = self._path(name)
        if isinstance(self._files, LocalFileSystem):
            atomic_write(path, content)
            return
        try:
            self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(path, content)  # an object store shows it only when it is complete
        except OSError as error:
            raise KdvizError("Cannot write '{path}': {error}.", path=path, error=error) from error

    def has(self, name: str) -> bool:
        return bool(self._files.exists(self._path(name)))

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        try:
            self._files.rm_file(self._path(name))
        except FileNotFoundError:
            return
        except OSError as error:
            raise KdvizError(
                "Cannot remove '{path}': {strerror}.", path=self._path(name), strerror=error.strerror or error
            ) from error

    def set_aside(self, name: str) -> None:
        """Keep a damaged file as ``NAME.damaged``, and say so; it can then be made again."""
        path = self._path(name)
        with suppress(OSError):
            self._files.mv(path, f"{path}.damaged")
            kept = f"{path.rpartition('/')[2]}.damaged"
            _log.warning("kdviz: warning: '%s' was damaged; it is kept as '%s', and made again.", path, kept)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


Stamp = tuple[tuple[int, int] | None, ...]
"""Times and sizes of files; None for one that is missing."""


def stamp_of(folder: Path, *names: str) -> Stamp:
    """Times and sizes of files, which change when a file does."""
    states = []
    for name in names:
        try:
            status = (folder / name).stat()
        except OSError:
            states.append(None)
        else:
            states.append((status.st_mtime_ns, status.st_size))
    return tuple(states)
