"""The folder in which this server keeps what sessions send; folders of servers that are gone are removed."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path

_ROOT = "kdviz-own-"


@lru_cache(maxsize=1)
def server_folder() -> Path:
    """The folder of this server process; on first use, folders that killed servers have left behind are removed."""
    _sweep()
    root = Path(tempfile.mkdtemp(prefix=_ROOT))
    _lock_file(root)
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _lock_file(root: Path) -> bool:
    """Hold a lock in a folder as long as this process lives; False if another process holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    handle = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return False
    return True  # the handle stays open


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_ROOT}*"):
        if (folder / "lock").exists() and os.access(folder, os.W_OK) and _lock_file(folder):
            shutil.rmtree(folder, ignore_errors=True)
