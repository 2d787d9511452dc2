"""CSV files that come with a data set."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from kdviz.core.errors import DatasetError


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Read the named columns of a CSV file with a header: one tuple a row, without surrounding spaces.

    Raises:
        DatasetError: The file is missing, cannot be read, has no rows, or lacks a column.
    """
    header, rows = _read(path)
    missing = [column for column in columns if column not in header]
    if missing:
        raise DatasetError(
            "'{path}' lacks the column '{missing}'; it needs {quoted}.",
            path=path,
            missing=missing[0],
            quoted=_quoted(columns),
        )
    if not rows:
        raise DatasetError("'{path}' has a header but no rows.", path=path)
    return [tuple((row[column] or "").strip() for column in columns) for row in rows]


def read_header(path: Path) -> list[str]:
    """The names of the columns, without surrounding spaces.

    Raises:
        DatasetError: The file is missing, or cannot be read.
    """
    return _read(path)[0]


def _read(path: Path) -> tuple[list[str], list[dict[str, str | None]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = [(name or "").strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            return header, list(reader)
    except OSError as error:
        raise DatasetError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    except (csv.Error, ValueError) as error:
        raise DatasetError("'{path}' is not a CSV file in UTF-8; please save it as one.", path=path) from error


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f"'{column}'" for column in columns)
