"""Tables as CSV files that are safe to open in a spreadsheet."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pandas import DataFrame, Series
from pandas.api.types import is_bool_dtype, is_numeric_dtype

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a cell begins with that a spreadsheet computes (OWASP, CSV injection): a name of a class could be a formula."""


def csv_text(table: DataFrame | pa.Table) -> str:
    """A table as CSV, with its columns' names and without an index; texts that look like formulas get an apostrophe.

    Args:
        table: A table; its numbers stay numbers.
    """
    frame = table.to_pandas() if isinstance(table, pa.Table) else table
    safe = DataFrame({number: _inert_column(frame.iloc[:, number]) for number in range(frame.shape[1])})
    safe.columns = [_inert(name) for name in frame.columns]
    return safe.to_csv(index=False)


def _inert_column(column: Series) -> Series:
    if is_numeric_dtype(column.dtype) or is_bool_dtype(column.dtype):
        return column
    return Series([_inert(value) for value in column.astype(object)], index=column.index, dtype=object)


def _inert(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = f"'{value}" if value.startswith(_FORMULA) else value
    return text.replace("\r", " ")  # which pandas does not quote: it would begin a row
