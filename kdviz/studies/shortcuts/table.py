"""The table of a study of shortcuts: conditions side by side, each with a note of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.studies.tables import damaged_study, notes_of, read_whole

NAME = "shortcuts"
"""Name of the table."""

ABOUT = "kdviz.shortcuts"
_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("shortcut", _TEXT),
        ("shown_to", _TEXT),
        ("split", _TEXT),
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("cue", pa.int16()),
        ("planted", pa.bool_()),
        ("role", _TEXT),
        ("method", _TEXT),
        ("predicted", pa.int16()),
        ("probability", pa.float32()),
        ("energy", pa.float32()),
        ("area", pa.float32()),
    ]
)
"""Of shortcuts.parquet: one row for a view of a picture, model and method. ``probability`` is that of ``cue``, the
class that the mark says and that the map explains; ``energy`` is the share of the map inside the mark's region."""


def read_table(experiment: Experiment) -> pa.Table | None:
    """Read shortcuts.parquet; None: there is none.

    Raises:
        ExperimentError: The table is damaged.
    """
    return read_whole(experiment, NAME, SCHEMA, damaged(experiment))


def damaged(experiment: Experiment) -> ExperimentError:
    return damaged_study(experiment, NAME)


def about_of(table: pa.Table) -> dict[str, Any]:
    """``shortcut/shown_to`` -> how that condition was made."""
    return notes_of(table, ABOUT)


def write_condition(
    experiment: Experiment, shortcut: str, shown_to: str, rows: pa.Table, about: Mapping[str, Any]
) -> None:
    """Write the rows of a condition in the place of its earlier ones; those of other conditions stay.

    Raises:
        ExperimentError: The table that is there is damaged.
    """
    earlier = read_table(experiment)
    notes = {} if earlier is None else about_of(earlier)
    notes[f"{shortcut}/{shown_to}"] = dict(about)
    tables = [] if earlier is None else [without(earlier.select(SCHEMA.names).cast(SCHEMA), shortcut, shown_to)]
    table = pa.concat_tables([*tables, rows.cast(SCHEMA)]).unify_dictionaries().combine_chunks()
    experiment.write_table(NAME, table.replace_schema_metadata({ABOUT: json.dumps(notes)}))


def without(table: pa.Table, shortcut: str, shown_to: str) -> pa.Table:
    """The rows of a table that are not of this condition."""
    conditions = zip(table["shortcut"].to_pylist(), table["shown_to"].to_pylist(), strict=True)
    return table.filter(pa.array([condition != (shortcut, shown_to) for condition in conditions], pa.bool_()))
