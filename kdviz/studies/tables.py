"""Tables of studies, read from an experiment."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment


def read_whole(experiment: Experiment, name: str, schema: pa.Schema, damaged: ExperimentError) -> pa.Table | None:
    """Read a table that has rows and all its columns; None: there is none of this name.

    Args:
        experiment: The experiment.
        name: Name of the table.
        schema: Its columns.
        damaged: Raised where the table has no rows or lacks a column.

    Raises:
        ExperimentError: The table is damaged.
    """
    if not experiment.has_table(name):
        return None
    table = experiment.table(name)
    if not len(table) or not set(schema.names) <= set(table.column_names):
        raise damaged
    return table


def damaged_study(experiment: Experiment, study: str) -> ExperimentError:
    """The error for a table that the study of the same name writes.

    Args:
        experiment: The experiment.
        study: Name of the table and of the study.
    """
    return ExperimentError(
        "{study}.parquet of '{folder}' is damaged; make it anew with: kdviz study --study {study}",
        study=study,
        folder=experiment.folder,
    )


def notes_of(table: pa.Table, key: str) -> dict[str, Any]:
    """How a table was made: the JSON document that its schema has under a key; empty without."""
    return json.loads((table.schema.metadata or {}).get(key.encode(), b"{}"))
