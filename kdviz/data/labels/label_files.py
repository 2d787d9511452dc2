"""CSV files that say which picture is of which class, as people have them: of any header, delimiter and habit."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kdviz.core.errors import DatasetError
from kdviz.core.images import ENDINGS

LABEL_FILES = ("labels.csv", "annotations.csv", "metadata.csv")
"""What such a file in a data folder is called."""

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
    """One picture.

    Attributes:
        file: As the file has it, with ``/`` between folders.
        label: A name or a number; empty: there is none.
        name: Of the class, where the label is a number; empty: there is none.
        split: In small letters; empty: there is none.
    """

    file: str
    label: str = ""
    name: str = ""
    split: str = ""


def read_label_file(path: Path) -> list[LabelRow]:
    """The rows of a CSV file in their order.

    A column file, path, image or filename is needed; without a header the first column is the file and the second the
    label. Commas, semicolons, tabs or bars may separate them.

    Raises:
        DatasetError: It cannot be read, has no rows, no column with files, or a row without a file.
    """
    rows = _rows_of(_text_of(path), path)
    header = [_plain(cell) for cell in rows[0]]
    columns = _columns(header)
    if "file" not in columns:
        if not _is_file_name(rows[0][0]):
            raise DatasetError(
                f"'{path}' has no column with the pictures' files; call one of {_listed(rows[0])} file, and that of "
                "the classes label."
            )
        columns, rows = {"file": 0, **({"label": 1} if len(rows[0]) > 1 else {})}, [[], *rows]
    if len(rows) < 2:
        raise DatasetError(f"'{path}' has a header but no rows.")
    found = [_row(row, columns) for row in rows[1:]]
    empty = sum(not row.file for row in found)
    if empty:
        raise DatasetError(f"{empty} of {len(found)} rows of '{path}' name no file; fill them in, or remove them.")
    return found


def has_files(path: Path) -> bool:
    """Whether a CSV file has a column with pictures' files, or starts with one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = _rows_of(file.readline(), path)[0]
    except (OSError, ValueError, DatasetError):
        return False
    return "file" in _columns([_plain(cell) for cell in header]) or _is_file_name(header[0])


def preferred_split(
    rows: Sequence[LabelRow], splits: Mapping[str, Sequence[str]]
) -> tuple[list[LabelRow], str, bool | None]:
    """The rows of one split, its name, and whether the file keeps them apart from pictures to train on.

    Args:
        rows: Of a file.
        splits: Name -> what files call it; the first that is there is taken. Without any, all rows are test.
    """
    called = {name: split for split, names in splits.items() for name in names}
    present = {called.get(row.split, "") for row in rows}
    split = next((split for split in splits if split in present), None)
    if split is None:
        return list(rows), "test", None
    held_out = False if split == "train" else (True if len(present) > 1 else None)
    return [row for row in rows if called.get(row.split) == split], split, held_out


def once(rows: Sequence[LabelRow], path: Path) -> list[LabelRow]:
    """Each file once.

    Raises:
        DatasetError: A file has two labels.
    """
    found: dict[str, LabelRow] = {}
    for row in rows:
        if found.setdefault(row.file, row).label != row.label:
            raise DatasetError(
                f"'{path}' labels the file '{row.file}' as '{found[row.file].label}' and as '{row.label}'; leave one."
            )
    return list(found.values())


def folder_of(path: Path, names: Sequence[str], *, inside: bool = False) -> Path:
    """The folder to which the files in a CSV file are relative: its own, or ``images`` in it, as MHIST has them.

    Args:
        path: The CSV file.
        names: Files, as it has them.
        inside: Whether files outside its folder are refused.

    Raises:
        DatasetError: Some are in neither.
    """
    root = os.path.realpath(path.parent) + os.sep
    bases = (path.parent, path.parent / "images")
    if inside:  # before anything is looked for: whether a file of the server exists is nobody's business
        outside = [name for name in names if _leaves(bases[0] / name, root) or _leaves(bases[1] / name, root)]
        if outside:
            raise DatasetError(f"'{outside[0]}' is outside the folder of '{path.name}'; put the pictures beside it.")
    missing = [[name for name in names if not (base / name).is_file()] for base in bases]
    base, absent = min(zip(bases, missing, strict=True), key=lambda pair: len(pair[1]))
    if absent:
        raise DatasetError(
            f"{len(absent)} of the {len(names)} pictures in '{path}' are not there, the first is '{absent[0]}'; their "
            f"paths are relative to the folder '{base}'."
        )
    return base


def _leaves(file: Path, root: str) -> bool:
    return not os.path.realpath(file).startswith(root)


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise DatasetError(f"'{path}' is larger than {_MOST_BYTES // 2**20} MB: that is no list of pictures.")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DatasetError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except ValueError as error:
        raise DatasetError(f"'{path}' is not a CSV file in UTF-8; please save it as one.") from error


def _rows_of(text: str, path: Path) -> list[list[str]]:
    first = text.partition("\n")[0]
    delimiter = max(_DELIMITERS, key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DatasetError(f"'{path}' is not a CSV file ({error}); please save it as one.") from error
    if not rows:
        raise DatasetError(f"'{path}' is empty; it needs the columns file and label.")
    return rows


def _plain(cell: str) -> str:
    return cell.strip().casefold().replace(" ", "_")


def _columns(header: Sequence[str]) -> dict[str, int]:
    """Which column is what."""
    wanted = {"file": _FILE, "label": _LABEL, "name": _NAME, "split": _SPLIT}
    found = {
        what: next((header.index(name) for name in names if name in header), None) for what, names in wanted.items()
    }
    if found["label"] is None:
        found["label"], found["name"] = found["name"], None
    return {what: column for what, column in found.items() if column is not None}


def _row(row: Sequence[str], columns: Mapping[str, int]) -> LabelRow:
    cells = {what: row[column].strip() if column < len(row) else "" for what, column in columns.items()}
    file = cells["file"].replace("\\", "/")
    label = cells.get("label", "")
    whole = label.removesuffix(".0")  # pandas writes numbers with gaps so
    return LabelRow(
        PurePosixPath(file).as_posix() if file else "",
        whole if whole.isdigit() else label,
        cells.get("name", ""),
        cells.get("split", "").casefold(),
    )


def _is_file_name(cell: str) -> bool:
    return PurePosixPath(cell.strip()).suffix.lower() in ENDINGS


def _listed(cells: Sequence[str]) -> str:
    return ", ".join(f"'{cell.strip()}'" for cell in cells[:6])
