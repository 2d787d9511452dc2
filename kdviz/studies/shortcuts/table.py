"""The table of a study of shortcuts: conditions side by side, each with a note of how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
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
        ("loss", _TEXT),
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


@dataclass(frozen=True)
class Condition:
    """What a study's rows have in common.

    Attributes:
        shortcut: Name of the mark.
        shown_to: In whose training pictures it was: one of :class:`kdviz.data.shortcuts.planting.ShownTo`, or ``none``.
        loss: By which the KD student was distilled, as a value of a study of losses; empty for the softened targets.
    """

    shortcut: str
    shown_to: str
    loss: str = ""

    @property
    def name(self) -> str:
        """Its name among the notes of a table."""
        return "/".join(filter(None, (self.shortcut, self.shown_to, self.loss)))


def conditions_of(table: pa.Table) -> list[Condition]:
    """The condition of each row."""
    columns = (table[name].to_pylist() for name in ("shortcut", "shown_to", "loss"))
    return [Condition(*values) for values in zip(*columns, strict=True)]


def read_table(experiment: Experiment) -> pa.Table | None:
    """Read shortcuts.parquet; None: there is none.

    Raises:
        ExperimentError: The table is damaged.
    """
    return read_conditions(experiment, NAME, SCHEMA, damaged(experiment))


def read_conditions(experiment: Experiment, name: str, schema: pa.Schema, damaged: ExperimentError) -> pa.Table | None:
    """Read a table whose rows have conditions; see :func:`kdviz.studies.tables.read_whole`.

    Tables of earlier versions have no column for the loss: all their KD students had softened targets.
    """
    table = read_whole(experiment, name, schema.remove(schema.get_field_index("loss")), damaged)
    if table is not None and "loss" not in table.column_names:
        field = schema.field("loss")
        table = table.append_column(field, pa.array([""] * len(table)).cast(field.type))
    return table if table is None else table.select(schema.names)


def damaged(experiment: Experiment) -> ExperimentError:
    return damaged_study(experiment, NAME)


def about_of(table: pa.Table) -> dict[str, Any]:
    """Name of a condition -> how it was made."""
    return notes_of(table, ABOUT)


def write_condition(experiment: Experiment, condition: Condition, rows: pa.Table, about: Mapping[str, Any]) -> None:
    """Write the rows of a condition in the place of its earlier ones; those of other conditions stay.

    Raises:
        ExperimentError: The table that is there is damaged.
    """
    earlier = read_table(experiment)
    notes = {} if earlier is None else about_of(earlier)
    notes[condition.name] = dict(about)
    tables = [] if earlier is None else [without(earlier.cast(SCHEMA), condition)]
    table = pa.concat_tables([*tables, rows.cast(SCHEMA)]).unify_dictionaries().combine_chunks()
    experiment.write_table(NAME, table.replace_schema_metadata({ABOUT: json.dumps(notes)}))


def without(table: pa.Table, condition: Condition) -> pa.Table:
    """The rows of a table that are not of this condition."""
    return table.filter(pa.array([other != condition for other in conditions_of(table)], pa.bool_()))
