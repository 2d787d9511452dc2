"""Reader of folders of parquet files as Hugging Face's ``datasets`` writes them: a picture and its label a row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from kdviz.core.decoding.guarded import open_image_guarded
from kdviz.core.errors import DatasetError, ImageError
from kdviz.core.files import from_home
from kdviz.core.vocabulary import Split
from kdviz.data.readers.labelled_pictures import Decode, Label, LabelledPictures, PicturePart
from kdviz.data.readers.parquet_columns import Columns, class_names, find_columns, require_columns
from kdviz.data.readers.parquet_files import (
    UNLABELLED,
    UNREADABLE,
    damaged,
    files_by_split,
    has_labels,
    open_parquet_file,
    parquet_files,
    split_name,
)
from kdviz.data.samples import LabelledImages

_ROWS = 256  # that are read at once
_EXAMPLES = 64


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
    folder = from_home(data)
    files = parquet_files(folder)
    split_files, left_out = files_by_split(folder, files)
    if Split.TRAIN not in split_files:
        raise DatasetError(
            "'{folder}' has parquet files of the split {split} and none to train on; add one whose name "
            "begins with train.",
            folder=folder,
            split=next(iter(split_files)),
        )
    first = open_parquet_file(split_files[Split.TRAIN][0])
    columns = find_columns(folder, first.schema_arrow, image_column, label_column)
    all_files = [path for paths in split_files.values() for path in paths]
    require_columns(((path, open_parquet_file(path).schema_arrow) for path in all_files), first.schema_arrow, columns)
    parts = {split: _part(paths, columns) for split, paths in split_files.items()}
    notes = (
        [f"{len(left_out)} parquet files of other splits are left out, the first is '{left_out[0]}'."]
        if left_out
        else []
    )
    for split in (Split.VALIDATION, Split.TEST):
        if split in parts and not has_labels(split_files[split], columns):
            notes.append(f"The split {split} has no labels and is left out.")
            del parts[split]
    if Split.TEST not in parts and Split.VALIDATION in parts:
        parts[Split.TEST] = parts.pop(Split.VALIDATION)
        notes.append("There is no test split with labels: the validation split is the test split.")
    return LabelledPictures(f"'{folder}'", parts, class_names(first.schema_arrow, columns.label), tuple(notes))


# rows -----------------------------------------------------------------------------------------------------------------


def _part(files: Sequence[Path], columns: Columns) -> PicturePart:
    counts = [open_parquet_file(path).metadata.num_rows for path in files]
    name = split_name(files[0])
    return PicturePart(
        name, sum(counts), partial(_rows, name, files, columns), partial(_some_rows, name, files, columns)
    )


def _rows(name: str, files: Sequence[Path], columns: Columns) -> Iterator[Decode]:
    number = 0
    for path in files:
        try:
            for batch in open_parquet_file(path).iter_batches(
                _ROWS, columns=[columns.image, columns.label], use_threads=False
            ):
                for image, label in _pairs(batch, columns):
                    yield partial(_decode, f"{name}/{number}", image, label)
                    number += 1
        except UNREADABLE as error:
            raise damaged(path) from error


def _some_rows(name: str, files: Sequence[Path], columns: Columns) -> Iterator[Decode]:
    """A few rows of a few row groups from the beginning to the end."""
    groups = [(path, group) for path in files for group in range(open_parquet_file(path).metadata.num_row_groups)]
    chosen = groups[:: max(1, len(groups) // 8)]
    each = max(1, _EXAMPLES // max(1, len(chosen)))
    for path, group in chosen:
        try:
            table = open_parquet_file(path).read_row_group(
                group, columns=[columns.image, columns.label], use_threads=False
            )
            pairs = list(_pairs(table.take(_evenly(table.num_rows, each)), columns))
        except UNREADABLE as error:
            raise damaged(path) from error
        for image, label in pairs:
            yield partial(_decode, name, image, label)


def _evenly(count: int, chosen: int) -> list[int]:
    return list(range(0, count, max(1, count // chosen)))


def _pairs(rows: pa.RecordBatch | pa.Table, columns: Columns) -> Iterator[tuple[Any, Any]]:
    return zip(rows[columns.image].to_pylist(), rows[columns.label].to_pylist(), strict=True)


def _decode(name: str, image: Any, label: Label | None) -> tuple[Image.Image, Label]:
    if label is None or label in UNLABELLED:
        raise ImageError("{name} has no label.", name=name)
    content = image.get("bytes") if isinstance(image, dict) else image
    if content is None:
        raise ImageError("{name} has no bytes, only a path or nothing: the picture is not in the file.", name=name)
    return open_image_guarded(content, name), label
