"""The tidy tables in an experiment's folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import ExperimentError
from kdviz.core.files import open_parquet, replacing
from kdviz.core.processes.folder_lock import writing_within


class ExperimentTables:
    """The tables of an experiment: its part of :class:`kdviz.experiment.Experiment`.

    Attributes:
        folder: The experiment's folder.
    """

    folder: Path

    def has_table(self, name: str) -> bool:
        return (self.folder / f"{name}.parquet").is_file()

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a tidy table of this experiment, by file name without ``.parquet``.

        Args:
            name: Name of the table.
            columns: Those that are read, as far as the table has them; None: all.

        Raises:
            ExperimentError: The table is missing or damaged.
        """
        with self.open_table(name) as file:
            return file.read(columns=None if columns is None else list(columns), use_threads=False)

    @contextmanager
    def open_table(self, name: str) -> Iterator[pq.ParquetFile]:
        """A tidy table of this experiment, to be read in parts.

        Raises:
            ExperimentError: The table is missing or damaged.
        """
        path = self.folder / f"{name}.parquet"
        try:
            with open_parquet(path) as file:
                yield file
        except FileNotFoundError as error:
            raise ExperimentError(
                "'{folder}' has no {name}.parquet; see README on how to make it.", folder=self.folder, name=name
            ) from error
        except (pa.ArrowException, OSError) as error:
            raise ExperimentError("'{path}' is damaged; please make it again.", path=path) from error

    def write_table(self, name: str, table: pa.Table) -> None:
        """Replace the table ``name`` atomically."""
        self.write_table_parts(name, table.schema, [table])

    def write_table_parts(self, name: str, schema: pa.Schema, parts: Iterable[pa.Table], **options: Any) -> None:
        """Replace the table ``name`` atomically by rows that are never in memory together.

        Args:
            name: Name of the table.
            schema: Its columns.
            parts: Its rows; each part becomes a row group.
            options: Of ``pyarrow.parquet.ParquetWriter``.
        """
        with (
            writing_within(self.folder),
            replacing(self.folder / f"{name}.parquet") as path,
            pq.ParquetWriter(path, schema, compression="zstd", **options) as writer,
        ):
            for part in parts:
                writer.write_table(part)
