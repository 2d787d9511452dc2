"""Where kdviz's own files are, and writing that leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from kdviz.errors import KdvizError

_PACKAGE = Path(__file__).resolve().parent
# In a checkout assets/ and models/ lie beside the package; an installed wheel carries them inside it.
_ROOT = _PACKAGE.parent if (_PACKAGE.parent / "assets").is_dir() else _PACKAGE
ASSETS = _ROOT / "assets"
MODELS = _ROOT / "models"


def atomic_write(path: str | Path, content: bytes) -> None:
    """Write ``content`` to ``path`` through a temporary file in the same folder.

    Raises:
        KdvizError: The folder cannot be made or the file cannot be written; an older file is then intact.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise KdvizError(f"Cannot write '{path}': {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)  # gone already when all went well


def require_writable(folder: str | Path) -> None:
    """Make ``folder`` if it is missing, and fail now rather than after hours of work.

    Raises:
        KdvizError: Nothing can be written there.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KdvizError(f"Cannot write into '{folder}': {error.strerror or error}.") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
