"""Pictures to measure models on in the rows of parquet files, as Hugging Face's ``datasets`` writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import pyarrow as pa

from kdviz.core.errors import DatasetError, ImageError
from kdviz.core.vocabulary import Split
from kdviz.data.labels.label_files import LabelRow
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

_PREFERRED = (Split.TEST, Split.VALIDATION, Split.TRAIN)
_LOCK = Lock()
_GROUPS_KEPT = 4  # row groups in memory: pictures are mostly read in order, by several threads


@dataclass(frozen=True)
class ParquetPicture:
    """A picture in a row of a parquet file.

    Attributes:
        path: The file.
        group: Number of the row group.
        row: Number of the row within the group.
        changed: When the file was last changed, in nanoseconds, as the pictures were listed.
        column: Name of the column of the pictures.
        size: Bytes by which a change of the data is seen: those of the whole group.
    """

    path: Path
    group: int
    row: int
    changed: int
    column: str
    size: int

    def read(self) -> bytes:
        """The picture as an encoded file.

        Raises:
            DatasetError: The parquet file is damaged or gone, or is another than the one whose rows were listed.
            ImageError: The row has no bytes.
        """
        if _time_of_change(self.path) != self.changed:
            raise DatasetError("'{path}' was changed while its pictures were read; please begin again.", path=self.path)
        with _LOCK:  # threads that meet wait for one reading of a group, which may be large
            images = _pictures_of_group(self.path, self.changed, self.group, self.column)
        image = images[self.row].as_py()
        content = image.get("bytes") if isinstance(image, dict) else image
        if content is None:
            raise ImageError(
                "Row {row} of '{path}' has no bytes, only a path or nothing: the picture is not in the file.",
                row=self.row,
                path=self.path.name,
            )
        return content


def _time_of_change(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise DatasetError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error


@lru_cache(_GROUPS_KEPT)
def _pictures_of_group(path: Path, changed: int, group: int, column: str) -> pa.ChunkedArray:
    try:
        return open_parquet_file(path).read_row_group(group, columns=[column], use_threads=False)[column]
    except UNREADABLE as error:
        raise damaged(path) from error


@dataclass(frozen=True)
class ParquetRows:
    """The rows of one split.

    Attributes:
        pictures: A picture a row.
        rows: Name, class and split of each.
        split: ``test``, ``validation`` or ``train``.
        held_out: Whether the files keep them apart from pictures to train on; None: not known.
        class_names: Names of the classes in the order of the numbers that are the rows' labels; None: not noted.
    """

    pictures: tuple[ParquetPicture, ...]
    rows: list[LabelRow]
    split: str
    held_out: bool | None
    class_names: tuple[str, ...] | None


def read_parquet_rows(data: Path, image_column: str | None = None, label_column: str | None = None) -> ParquetRows:
    """The rows of the test split of parquet files, or of the next one that has labels; no picture is read.

    Args:
        data: A folder with parquet files, or one file.
        image_column, label_column: Names of the columns; default: found by their types.

    Raises:
        DatasetError: The files cannot be used, or no row has a label.
        UnknownNameError: There is no such column.
    """
    split_files, _ = files_by_split(data, parquet_files(data))
    schema = open_parquet_file(next(iter(split_files.values()))[0]).schema_arrow
    columns = find_columns(data, schema, image_column, label_column)
    every_file = [path for paths in split_files.values() for path in paths]
    require_columns(((path, open_parquet_file(path).schema_arrow) for path in every_file), schema, columns)
    ordered = [split for split in _PREFERRED if split in split_files]
    split = next((split for split in ordered if has_labels(split_files[split], columns)), None)
    if split is None:
        raise DatasetError("No picture in '{data}' has a label; a measurement needs them.", data=data)
    files, names = split_files[split], class_names(schema, columns.label)
    return ParquetRows(
        tuple(_pictures(files, columns.image)),
        list(_label_rows(files, columns, names)),
        *_split_and_whether_held_out(split, ordered, files),
        names,
    )


def _split_and_whether_held_out(split: str, present: Sequence[str], files: Sequence[Path]) -> tuple[str, bool | None]:
    if split_name(files[0]) == "all":  # nothing says that one trains on it
        return Split.TEST, None
    return split, False if split == Split.TRAIN else (True if len(present) > 1 else None)


def _pictures(files: Sequence[Path], column: str) -> Iterator[ParquetPicture]:
    for path in files:
        changed, metadata = _time_of_change(path), open_parquet_file(path).metadata
        for group in range(metadata.num_row_groups):
            about = metadata.row_group(group)
            for row in range(about.num_rows):
                yield ParquetPicture(path, group, row, changed, column, about.total_byte_size)


def _label_rows(files: Sequence[Path], columns: Columns, names: tuple[str, ...] | None) -> Iterator[LabelRow]:
    number = 0
    for path in files:
        try:
            labels = open_parquet_file(path).read([columns.label], use_threads=False)[columns.label].to_pylist()
        except UNREADABLE as error:
            raise damaged(path) from error
        split = split_name(path)
        for label in labels:
            yield _label_row(f"{split}/{number}", label, names, path)
            number += 1


def _label_row(file: str, label: int | str | None, names: tuple[str, ...] | None, path: Path) -> LabelRow:
    if label in UNLABELLED:
        return LabelRow(file)
    if names is None or not isinstance(label, int):
        return LabelRow(file, str(label))
    if not 0 <= label < len(names):
        raise DatasetError(
            "'{path}' has the label {label}, and its classes are 0 to {last}; please correct it.",
            path=path,
            label=label,
            last=len(names) - 1,
        )
    return LabelRow(file, str(label), names[label])
