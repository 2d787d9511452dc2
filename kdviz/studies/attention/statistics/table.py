"""agreement.parquet, which is written as a stream: memory does not grow with its length."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import ExperimentError
from kdviz.core.files import parquet_of, replacing, rows_where
from kdviz.experiment import Experiment
from kdviz.studies.attention.statistics.pairs import SCHEMA, in_schema

NAME = "agreement"
_ABOUT = b"kdviz.studies"
_ROWS = 65_536  # in a row group
_WRITER_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 9,
    "use_dictionary": [column.name for column in SCHEMA if column.type != pa.float32()],
    "use_byte_stream_split": [column.name for column in SCHEMA if column.type == pa.float32()],
}


def about_studies(experiment: Experiment) -> dict[str, Any]:
    """Study -> how it was made: settings, models, cost; empty without a table."""
    path = _path(experiment)
    if not path.is_file():
        return {}
    try:
        return json.loads((pq.read_schema(path).metadata or {}).get(_ABOUT, b"{}"))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ExperimentError("'{path}' is damaged; please make it again.", path=path) from error


def write_agreement(experiment: Experiment, study: str, tables: Iterable[pa.Table], about: Mapping[str, Any]) -> None:
    """Replace a study's rows; those of the other studies stay.

    Args:
        experiment: The experiment whose folder has the table.
        study: Name of the study.
        tables: Its rows, a group at a time.
        about: How it was made: settings, models, cost.
    """
    studies = {**about_studies(experiment), study: dict(about)}
    schema = SCHEMA.with_metadata({_ABOUT: json.dumps(studies)})
    path = _path(experiment)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, **_WRITER_OPTIONS) as writer:
        for part in _in_row_groups(_with_other_studies(path, study, tables)):
            writer.write_table(part.replace_schema_metadata(schema.metadata))


def _path(experiment: Experiment) -> Path:
    return experiment.folder / f"{NAME}.parquet"


def _with_other_studies(path: Path, study: str, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The rows of other studies, followed by these."""
    if path.is_file():
        other_rows = in_schema(rows_where(parquet_of(path.read_bytes()), "study", study, without=True))
        yield from (other_rows.slice(start, _ROWS) for start in range(0, len(other_rows), _ROWS))
    yield from tables


def _in_row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    pending: list[pa.Table] = []
    for table in tables:
        pending.append(table.replace_schema_metadata(None))
        if sum(map(len, pending)) >= _ROWS:
            yield _concatenate(pending)
            pending = []
    if pending:
        yield _concatenate(pending)


def _concatenate(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(map(in_schema, tables)).unify_dictionaries().combine_chunks()
