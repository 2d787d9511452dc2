"""The folder of an import: made beside its target while nobody else writes that, and then moved into its place."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kdviz.core.errors import ExperimentError
from kdviz.core.files import PART
from kdviz.core.processes.folder_lock import writing_within

DATASET = "imported"
"""Data set of an imported experiment in experiment.json."""


def require_replaceable(out: Path) -> bool:
    """Whether ``out`` holds an earlier import, which may be replaced; False if it is empty or missing.

    Raises:
        ExperimentError: Something else is there.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    dataset: Any = None
    with suppress(OSError, ValueError, AttributeError):
        dataset = json.loads((out / "experiment.json").read_text(encoding="utf-8")).get("dataset")
    if dataset != DATASET:
        raise ExperimentError("'{out}' holds something that no import made; choose another folder with --out.", out=out)
    return True


def unfinished_of(out: Path) -> Path:
    """Where an import into ``out`` keeps the logits of the pictures until its end: beside it, since it is replaced."""
    return out.parent / f".{out.name}-unfinished"


@contextmanager
def staging_folder(out: Path) -> Iterator[Path]:
    """A temporary folder on the same disk as ``out``; it is removed afterwards unless it was moved.

    Raises:
        FolderInUseError: Another process is writing ``out``.
        ExperimentError: Nothing can be made there.
    """
    with writing_within(out):
        folder = _new_folder(out)
        try:
            folder.chmod(0o755)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _new_folder(out: Path) -> Path:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{out.name}-", suffix=PART, dir=out.parent))
    except OSError as error:
        raise ExperimentError(
            "No experiment can be made in '{parent}': {strerror}.", parent=out.parent, strerror=error.strerror or error
        ) from error


def move_into_place(folder: Path, out: Path) -> None:
    """Move a finished folder to ``out``, in place of what is there.

    Raises:
        ExperimentError: The folder cannot be moved; what was there stays.
    """
    old = folder.with_name(f"{folder.name}-old")
    if out.exists():
        out.replace(old)
    try:
        folder.replace(out)
    except OSError as error:
        if old.exists():
            old.replace(out)
        raise ExperimentError(
            "The experiment cannot be moved to '{out}': {strerror}.", out=out, strerror=error.strerror or error
        ) from error
    shutil.rmtree(old, ignore_errors=True)
