"""Reader of folders of parquet files as Hugging Face's ``datasets`` writes them: a picture and its label a row."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from kdviz.core.errors import DatasetError, ImageError
from kdviz.core.images import open_image
from kdviz.core.vocabulary import Split
from kdviz.data.pictures import files_below
from kdviz.data.readers.labelled_pictures import Decode, Label, LabelledPictures, PicturePart
from kdviz.data.readers.parquet_columns import Columns, class_names, find_columns, require_columns
from kdviz.data.samples import LabelledImages

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

_ROWS = 256  # that are read at once
_EXAMPLES = 64
_UNLABELLED = (None, -1)  # datasets writes -1 for a test split whose labels are not published


def parquet_folder(
    data: str | Path,
    size: tuple[int, int] = (224, 224),
    *,
    channels: int = 3,
    image_column: str | None = None,
    label_column: str | None = None,
    **shares: Any,
) -> dict[str, LabelledImages]:
    """Read a folder of parquet files whose rows are pictures with a label, as Hugging Face's ``datasets`` writes them.

    A file belongs to the split whose name is a word of its path (``data/train-00000-of-00001.parquet``); without such
    words, all are to train on. A picture is a struct with the field bytes, or a binary column. A label is a whole
    number, named by the ClassLabel in the schema's metadata where there is one, or a text.

    Args:
        data: The folder, or one file.
        size, channels, shares: See :meth:`kdviz.data.readers.labelled_pictures.LabelledPictures.read`.
        image_column, label_column: Names of the columns; default: found by their types.

    Returns:
        The splits ``train``, ``validation`` and ``test``. Without a test split that has labels, the validation split is
        the test split. Further splits that are missing are taken from train.

    Raises:
        DatasetError: The folder, a file or a row cannot be used.
        UnknownNameError: There is no such column.
        SettingError: A share, the size or the channels are out of range.
    """
    return open_parquet(data, image_column, label_column).read(size, channels, **shares)


def open_parquet(
    data: str | Path, image_column: str | None = None, label_column: str | None = None
) -> LabelledPictures:
    """Open a folder of parquet files without decoding a picture; see :func:`parquet_folder`."""
    folder = Path(data).expanduser()
    files = _files(folder)
    split_files, left_out = _by_split(folder, files)
    first = _open(split_files[Split.TRAIN][0])
    columns = find_columns(folder, first.schema_arrow, image_column, label_column)
    all_files = [path for paths in split_files.values() for path in paths]
    require_columns(((path, _open(path).schema_arrow) for path in all_files), first.schema_arrow, columns)
    parts = {split: _part(paths, columns) for split, paths in split_files.items()}
    notes = (
        [f"{len(left_out)} parquet files of other splits are left out, the first is '{left_out[0]}'."]
        if left_out
        else []
    )
    for split in (Split.VALIDATION, Split.TEST):
        if split in parts and not _has_labels(split_files[split], columns):
            notes.append(f"The split {split} has no labels and is left out.")
            del parts[split]
    if Split.TEST not in parts and Split.VALIDATION in parts:
        parts[Split.TEST] = parts.pop(Split.VALIDATION)
        notes.append("There is no test split with labels: the validation split is the test split.")
    return LabelledPictures(f"'{folder}'", parts, class_names(first.schema_arrow, columns.label), tuple(notes))


# files ----------------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DatasetError("There is no folder '{folder}'; name the one with the parquet files.", folder=folder)
    names = [name for name in files_below(folder, folder) if name.lower().endswith(".parquet")]
    if not names:
        raise DatasetError(
            "'{folder}' has no parquet files; name the folder that holds data/train-00000-of-00001.parquet or the "
            "like.",
            folder=folder,
        )
    return [folder / name for name in names]


def _by_split(folder: Path, files: Sequence[Path]) -> tuple[dict[str, list[Path]], list[str]]:
    """Split -> its files, and the names of those that belong to none."""
    names = [path.relative_to(folder).as_posix() if folder.is_dir() else path.name for path in files]
    splits = [_split_of(name) for name in names]
    if not any(splits):
        splits = [Split.TRAIN] * len(splits)
    by_split: dict[str, list[Path]] = {}
    for path, split in zip(files, splits, strict=True):
        if split is not None:
            by_split.setdefault(split, []).append(path)
    if Split.TRAIN not in by_split:
        raise DatasetError(
            "'{folder}' has parquet files of the split {split} and none to train on; add one whose name "
            "begins with train.",
            folder=folder,
            split=next(iter(by_split)),
        )
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


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> DatasetError:
    return DatasetError("'{path}' is damaged or no parquet file; please get it again.", path=path)


# rows -----------------------------------------------------------------------------------------------------------------


def _part(files: Sequence[Path], columns: Columns) -> PicturePart:
    counts = [_open(path).metadata.num_rows for path in files]
    name = _split_name(files[0])
    return PicturePart(
        name, sum(counts), partial(_rows, name, files, columns), partial(_some_rows, name, files, columns)
    )


def _split_name(path: Path) -> str:
    """The word for the split in a path, which names its samples; ``all`` for a file without one."""
    words = re.split(r"[-_. 0-9]+", path.stem.lower())
    return next(
        (word for word in words if word in _SPLITS),
        path.parent.name.lower() if path.parent.name.lower() in _SPLITS else "all",
    )


def _rows(name: str, files: Sequence[Path], columns: Columns) -> Iterator[Decode]:
    number = 0
    for path in files:
        try:
            for batch in _open(path).iter_batches(_ROWS, columns=[columns.image, columns.label], use_threads=False):
                for image, label in _pairs(batch, columns):
                    yield partial(_decode, f"{name}/{number}", image, label)
                    number += 1
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path) from error


def _some_rows(name: str, files: Sequence[Path], columns: Columns) -> Iterator[Decode]:
    """A few rows of a few row groups from the beginning to the end."""
    groups = [(path, group) for path in files for group in range(_open(path).metadata.num_row_groups)]
    chosen = groups[:: max(1, len(groups) // 8)]
    each = max(1, _EXAMPLES // max(1, len(chosen)))
    for path, group in chosen:
        try:
            table = _open(path).read_row_group(group, columns=[columns.image, columns.label], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path) from error
        for image, label in _pairs(table.take(_evenly(table.num_rows, each)), columns):
            yield partial(_decode, name, image, label)


def _evenly(count: int, chosen: int) -> list[int]:
    return list(range(0, count, max(1, count // chosen)))


def _pairs(rows: pa.RecordBatch | pa.Table, columns: Columns) -> Iterator[tuple[Any, Any]]:
    return zip(rows[columns.image].to_pylist(), rows[columns.label].to_pylist(), strict=True)


def _decode(name: str, image: Any, label: Label | None) -> tuple[Image.Image, Label]:
    if label is None or label in _UNLABELLED:
        raise ImageError("{name} has no label.", name=name)
    content = image.get("bytes") if isinstance(image, dict) else image
    if content is None:
        raise ImageError("{name} has no bytes, only a path or nothing: the picture is not in the file.", name=name)
    return open_image(content, name), label


def _has_labels(files: Sequence[Path], columns: Columns) -> bool:
    """Whether any row has a label."""
    for path in files:
        try:
            labels = _open(path).read([columns.label], use_threads=False)[columns.label]
        except (pa.ArrowException, OSError) as error:
            raise _damaged(path) from error
        if any(label not in _UNLABELLED for label in labels.unique().to_pylist()):
            return True
    return False
