"""Tables of studies, read from an experiment."""

from __future__ import annotations

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
