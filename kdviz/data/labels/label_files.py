"""CSV files that assign pictures to classes, with any of the usual headers and delimiters."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdviz.core.errors import DatasetError
from kdviz.core.images import ENDINGS
from kdviz.core.vocabulary import Split

LABEL_FILES = ("labels.csv", "annotations.csv", "metadata.csv")
"""Names of such a file in a data folder."""

_MOST_BYTES = 512 * 2**20
_DELIMITERS = ",;\t|"
_FILE = ("file", "path", "image", "filename", "file_name", "filepath", "file_path", "image_path", "image_name", "img")
_LABEL = (
    *("label", "class", "target", "label_index", "class_index", "class_id", "label_id", "category", "wnid", "y"),
    *("majority_vote_label", "ground_truth", "diagnosis"),
)
_NAME = ("name", "class_name", "label_name", "classname", "description")
_SPLIT = ("split", "partition", "subset", "set")


@dataclass(frozen=True)
class LabelRow:
    """One picture of a label file.

    Attributes:
        file: Path as the label file has it, with ``/`` between folders.
        label: Name or number of its class; empty: none given.
        name: Name of the class if the label is a number; empty: none given.
        split: Name of its split in lower case; empty: none given.
    """

    file: str
    label: str = ""
    name: str = ""
    split: str = ""


def read_label_file(path: Path) -> list[LabelRow]:
    """Read the rows of a CSV file, in their order.

    A column file, path, image or filename is needed; without a header the first column is the file and the second the
    label. Columns may be separated by commas, semicolons, tabs or vertical bars.

    Raises:
        DatasetError: The file cannot be read, has no rows, no column with files, or a row without a file.
    """
    rows = _parse_rows(_read_text(path), path)
    header = [_normalise(cell) for cell in rows[0]]
    columns = _columns(header)
    if "file" not in columns:
        if not _is_file_name(rows[0][0]):
            raise DatasetError(
                "'{path}' has no column with the pictures' files; call one of {quoted} file, and that "
                "of the classes label.",
                path=path,
                quoted=_quoted(rows[0]),
            )
        columns, rows = {"file": 0, **({"label": 1} if len(rows[0]) > 1 else {})}, [[], *rows]
    if len(rows) < 2:
        raise DatasetError("'{path}' has a header but no rows.", path=path)
    label_rows = [_label_row(row, columns) for row in rows[1:]]
    empty = sum(not row.file for row in label_rows)
    if empty:
        raise DatasetError(
            "{empty} of {n_label_rows} rows of '{path}' name no file; fill them in, or remove them.",
            empty=empty,
            n_label_rows=len(label_rows),
            path=path,
        )
    return label_rows


def lists_files(path: Path) -> bool:
    """Whether a CSV file has a column with picture files, or begins with the name of one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = _parse_rows(file.readline(), path)[0]
    except (OSError, ValueError, DatasetError):
        return False
    return "file" in _columns([_normalise(cell) for cell in header]) or _is_file_name(header[0])


def preferred_split(
    rows: Sequence[LabelRow], splits: Mapping[str, Sequence[str]]
) -> tuple[list[LabelRow], str, bool | None]:
    """The rows of the preferred split, its name, and whether the file keeps them apart from pictures to train on.

    Args:
        rows: Rows of a label file.
        splits: Name -> what label files call it; the first split that the file has is used. If it has none, all rows
            are test.
    """
    split_of_name = {name: split for split, names in splits.items() for name in names}
    present = {split_of_name.get(row.split, "") for row in rows}
    split = next((split for split in splits if split in present), None)
    if split is None:
        return list(rows), Split.TEST, None
    held_out = False if split == Split.TRAIN else (True if len(present) > 1 else None)
    return [row for row in rows if split_of_name.get(row.split) == split], split, held_out


def distinct_rows(rows: Sequence[LabelRow], path: Path) -> list[LabelRow]:
    """Drop repeated rows, so that each file is there once.

    Raises:
        DatasetError: A file has two labels.
    """
    distinct: dict[str, LabelRow] = {}
    for row in rows:
        if distinct.setdefault(row.file, row).label != row.label:
            raise DatasetError(
                "'{path}' labels the file '{file}' as '{first}' and as '{second}'; leave one.",
                path=path,
                file=row.file,
                first=distinct[row.file].label,
                second=row.label,
            )
    return list(distinct.values())


def folder_of(path: Path, names: Sequence[str], *, inside: bool = False) -> Path:
    """The folder to which the files in a CSV file are relative: its own, or ``images`` in it, as with MHIST.

    Args:
        path: The CSV file.
        names: The files that it lists.
        inside: Whether to refuse files outside its folder.

    Raises:
        DatasetError: Some files are in neither.
    """
    root = os.path.realpath(path.parent) + os.sep
    bases = (path.parent, path.parent / "images")
    if inside:  # first, since an error must not reveal whether a file of the server exists
        outside = [name for name in names if _is_outside(bases[0] / name, root) or _is_outside(bases[1] / name, root)]
        if outside:
            raise DatasetError(
                "'{outside}' is outside the folder of '{name}'; put the pictures beside it.",
                outside=outside[0],
                name=path.name,
            )
    missing = [[name for name in names if not (base / name).is_file()] for base in bases]
    base, absent = min(zip(bases, missing, strict=True), key=lambda pair: len(pair[1]))
    if absent:
        raise DatasetError(
            "{n_absent} of the {n_names} pictures in '{path}' are not there, the first is '{absent}'; "
            "their paths are relative to the folder '{base}'.",
            n_absent=len(absent),
            n_names=len(names),
            path=path,
            absent=absent[0],
            base=base,
        )
    return base


def _is_outside(file: Path, root: str) -> bool:
    return not os.path.realpath(file).startswith(root)


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(
                "'{path}' is larger than {most_bytes} MB: that is no list of pictures.",
                path=path,
                most_bytes=_MOST_BYTES // 2**20,
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    except ValueError as error:
        raise DatasetError("'{path}' is not a CSV file in UTF-8; please save it as one.", path=path) from error


def _parse_rows(text: str, path: Path) -> list[list[str]]:
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DatasetError(
            "'{path}' is not a CSV file ({error}); please save it as one.", path=path, error=error
        ) from error
    if not rows:
        raise DatasetError("'{path}' is empty; it needs the columns file and label.", path=path)
    return rows


def _normalise(cell: str) -> str:
    return cell.strip().casefold().replace(" ", "_")


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Kind (``file``, ``label``, ``name`` or ``split``) -> number of its column."""
    spellings = {"file": _FILE, "label": _LABEL, "name": _NAME, "split": _SPLIT}
    columns = {
        kind: next((header.index(name) for name in names if name in header), None) for kind, names in spellings.items()
    }
    if columns["label"] is None:
        columns["label"], columns["name"] = columns["name"], None
    return {kind: column for kind, column in columns.items() if column is not None}


def _label_row(row: Sequence[str], columns: Mapping[str, int]) -> LabelRow:
    cells = {kind: row[column].strip() if column < len(row) else "" for kind, column in columns.items()}
    file = cells["file"].replace("\\", "/")
    label = cells.get("label", "")
    integer = label.removesuffix(".0")  # pandas writes integers as floats where values are missing
    return LabelRow(
        PurePosixPath(file).as_posix() if file else "",
        integer if integer.isdigit() else label,
        cells.get("name", ""),
        cells.get("split", "").casefold(),
    )


def _is_file_name(cell: str) -> bool:
    return PurePosixPath(cell.strip()).suffix.lower() in ENDINGS


def _quoted(cells: Sequence[str]) -> str:
    return ", ".join(f"'{cell.strip()}'" for cell in cells[:6])
