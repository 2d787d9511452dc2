"""Folders that are costly to make: the first process of a test run makes them, the others wait for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder of this name, the same one in every process of this test run; nobody may change it.

    Args:
        factory: pytest's factory of temporary folders.
        name: Relative path of the folder.
        make: Writes it; the folder does not exist before.
    """
    from filelock import FileLock  # not on every machine that runs the tests of a GPU

    base = factory.getbasetemp()
    # Each process of pytest-xdist has a folder of its own inside that of the test run.
    shared = (base.parent if base.name.startswith("popen-gw") else base) / "shared" / name
    shared.parent.mkdir(parents=True, exist_ok=True)
    done = shared.with_name(f"{shared.name}.done")
    with FileLock(f"{shared}.lock"):
        if not done.exists():
            shutil.rmtree(shared, ignore_errors=True)  # what a test run left that was stopped
            make(shared)
            done.touch()
    return shared
