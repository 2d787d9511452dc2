"""Parquet files of pictures: which files there are, and of which split each of them is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import DatasetError
from kdviz.core.vocabulary import Split
from kdviz.data.pictures import files_below
from kdviz.data.readers.parquet_columns import Columns

_SPLITS: dict[str, str] = {
    "train": Split.TRAIN,
    "training": Split.TRAIN,
    "validation": Split.VALIDATION,
    "valid": Split.VALIDATION,
    "val": Split.VALIDATION,
    "dev": Split.VALIDATION,
    "test": Split.TEST,
    "testing": Split.TEST,
    "eval": Split.TEST,
    "evaluation": Split.TEST,
}
"""Word in the name of a file or folder -> split, as ``datasets`` reads them."""

SUFFIX = ".parquet"
UNREADABLE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises where a file is damaged; the last, where a text in it is not UTF-8."""

UNLABELLED = (None, -1)  # datasets writes -1 for a test split whose labels are not published


def parquet_files(folder: Path) -> list[Path]:
    """The parquet files below a folder, or the one file that is named.

    Raises:
        DatasetError: There is no such folder, or it has none.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DatasetError("There is no folder '{folder}'; name the one with the parquet files.", folder=folder)
    names = [name for name in files_below(folder, folder) if name.lower().endswith(SUFFIX)]
    if not names:
        raise DatasetError(
            "'{folder}' has no parquet files; name the folder that holds data/train-00000-of-00001.parquet or the "
            "like.",
            folder=folder,
        )
    return [folder / name for name in names]


def files_by_split(folder: Path, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Split -> its files, and the names of those that belong to none."""
    names = [path.relative_to(folder).as_posix() if folder.is_dir() else path.name for path in files]
    splits = [_split_of(name) for name in names]
    if not any(splits):
        splits = [Split.TRAIN] * len(splits)
    by_split: dict[str, list[Path]] = {}
    for path, split in zip(files, splits, strict=True):
        if split is not None:
            by_split.setdefault(split, []).append(path)
    _require_one_configuration(folder, [name for name, split in zip(names, splits, strict=True) if split is not None])
    return by_split, [name for name, split in zip(names, splits, strict=True) if split is None]


def _split_of(name: str) -> str | None:
    """The split that a path names: in the file's name, else in the nearest folder's."""
    for part in reversed(name.removesuffix(".parquet").split("/")):
        split = next((_SPLITS[word] for word in re.split(r"[-_. 0-9]+", part.lower()) if word in _SPLITS), None)
        if split is not None:
            return split
    return None


def _require_one_configuration(folder: Path, names: Sequence[str]) -> None:
    """Refuse files in several folders that are no splits: these are several data sets, or forms of one."""
    configurations = {"/".join(part for part in name.split("/")[:-1] if _split_of(part) is None) for name in names}
    if len(configurations) > 1:
        raise DatasetError(
            "'{folder}' has parquet files of several data sets ({names}); name the folder of one of them.",
            folder=folder,
            names=", ".join(f"'{name or '.'}'" for name in sorted(configurations)),
        )


def has_parquet_files(names: Sequence[str]) -> bool:
    """Whether any of these files is one, by its name."""
    return any(name.lower().endswith(SUFFIX) for name in names)


def open_parquet_file(path: Path) -> pq.ParquetFile:
    """Open a file; its rows are not read.

    Raises:
        DatasetError: It is damaged or no parquet file.
    """
    try:
        return pq.ParquetFile(path)
    except UNREADABLE as error:
        raise damaged(path) from error


def damaged(path: Path) -> DatasetError:
    """The error of a file that cannot be read."""
    return DatasetError("'{path}' is damaged or no parquet file; please get it again.", path=path)


def split_name(path: Path) -> str:
    """The word for the split in a path, which names its samples; ``all`` for a file without one."""
    words = re.split(r"[-_. 0-9]+", path.stem.lower())
    return next(
        (word for word in words if word in _SPLITS),
        path.parent.name.lower() if path.parent.name.lower() in _SPLITS else "all",
    )


def has_labels(files: Sequence[Path], columns: Columns) -> bool:
    """Whether any row has a label."""
    for path in files:
        try:
            labels = open_parquet_file(path).read([columns.label], use_threads=False)[columns.label]
            is_labelled = any(label not in UNLABELLED for label in labels.unique().to_pylist())
        except UNREADABLE as error:
            raise damaged(path) from error
        if is_labelled:
            return True
    return False
