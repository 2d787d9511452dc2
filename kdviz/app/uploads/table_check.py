"""Read every table of an experiment that somebody sent, in a process of its own: ``table_check.py FILE...``.

A small parquet file can claim to hold billions of rows, or a page of gigabytes, and its reader is C++ code that has
crashed on forged files before. So the first reader of a file is this process, with little memory; it imports nothing of
kdviz. It prints the name of the first file that does not pass, with the reason, and exits with status 3.
"""

from __future__ import annotations

import sys
from pathlib import Path

MEMORY = 4_000_000_000  # bytes of address space; pyarrow reserves more than it uses
SECONDS = 60
MOST_ROWS = 5_000_000
MOST_BYTES = 1_000_000_000  # of a table in memory
LARGEST_GROUP = 64_000_000  # bytes of rows that are read together to show one picture


def main(paths: list[str]) -> int:
    """Check the files, and return the exit status."""
    _limit_memory()
    for path in paths:
        reason = _problem(path)
        if reason:
            print(f"{Path(path).name}\t{reason}")
            return 3
    return 0


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


def _problem(path: str) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        if not all(_is_plain(field.type) for field in file.schema_arrow):
            return "kind"
        if file.metadata.num_rows > MOST_ROWS:
            return "large"
        return _size_problem(file, Path(path).name == "samples.parquet")
    except MemoryError:
        return "large"
    except (pa.ArrowException, OSError, ValueError, OverflowError):
        return "damaged"


def _size_problem(file, pictures: bool) -> str:
    total = 0
    for group in range(file.metadata.num_row_groups):
        start = total
        for batch in file.iter_batches(batch_size=_rows_at_once(file, group), row_groups=[group], use_threads=False):
            total += sum(map(_bytes_written_out, batch.columns))
            if total > MOST_BYTES or (pictures and total - start > LARGEST_GROUP):
                return "large"
    return ""


def _bytes_written_out(column) -> int:
    """Bytes of a column in memory; for a dictionary, as if every row had its own copy of the longest text."""
    import pyarrow.compute as pc
    from pyarrow import types

    if not types.is_dictionary(column.type) or not len(column.dictionary):
        return column.nbytes
    lengths = pc.call_function("binary_length", [column.dictionary])
    return column.nbytes + len(column) * max(lengths.drop_null().to_pylist(), default=0)


def _rows_at_once(file, group: int) -> int:
    """Rows to read at once: few if values may be long, as a dictionary holds a value once and the rows repeat it."""
    row_group = file.metadata.row_group(group)
    longest = max(
        (row_group.column(column).total_uncompressed_size for column in range(row_group.num_columns)), default=1
    )
    return max(1, min(4096, 64_000_000 // max(1, longest)))


def _is_plain(dtype) -> bool:
    """Whether a column holds texts, numbers or lists of them, and nothing that has a reader of its own."""
    from pyarrow import types

    if types.is_dictionary(dtype):
        return types.is_string(dtype.value_type) or types.is_large_string(dtype.value_type)
    if types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype):
        return any(is_type(dtype.value_type) for is_type in (types.is_integer, types.is_floating, types.is_string))
    scalars = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string)
    return any(is_type(dtype) for is_type in (*scalars, types.is_binary, types.is_large_binary))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
