"""Tables of studies, read from an experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment

_WEIGHTS = "weights"  # key of a table's note: the hashes of the models that it is about


def read_whole(
    experiment: Experiment, name: str, schema: pa.Schema, damaged: ExperimentError, later: Sequence[str] = ()
) -> pa.Table | None:
    """Read a table that has rows and all its columns; None: there is none of this name.

    Args:
        experiment: The experiment.
        name: Name of the table.
        schema: Its columns.
        damaged: Raised where the table has no rows or lacks a column.
        later: Columns that tables of earlier versions lack; there they are null.

    Raises:
        ExperimentError: The table is damaged.
    """
    if not experiment.has_table(name):
        return None
    table = experiment.table(name)
    missing = [column for column in schema.names if column not in table.column_names]
    if not len(table) or not set(missing) <= set(later):
        raise damaged
    for column in missing:
        table = table.append_column(column, pa.nulls(len(table), schema.field(column).type))
    return table


def damaged_study(experiment: Experiment, study: str) -> ExperimentError:
    """The error for a table that the study of the same name writes.

    Args:
        experiment: The experiment.
        study: Name of the table and of the study.
    """
    return ExperimentError(
        "{table}.parquet of '{folder}' is damaged; make it anew with: kdviz study --study {study}",
        table=study,
        study=study.replace("_", "-"),
        folder=experiment.folder,
    )


def notes_of(table: pa.Table, key: str) -> dict[str, Any]:
    """How a table was made: the JSON document that its schema has under a key; empty without."""
    return json.loads((table.schema.metadata or {}).get(key.encode(), b"{}"))


@dataclass(frozen=True)
class StudyTable:
    """A table that the study of the same name writes as a whole, with a note of how it was made.

    Attributes:
        name: Its name, and the study's.
        schema: Its columns.
        roles: The models of the experiment that its figures are about, whose weights it knows.
        later: Columns that tables of earlier versions lack; there they are null.
    """

    name: str
    schema: pa.Schema
    roles: tuple[str, ...] = ()
    later: tuple[str, ...] = ()

    def write(self, experiment: Experiment, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
        """Replace the table; what a row lacks is null."""
        complete = [{name: row.get(name) for name in self.schema.names} for row in rows]
        table = pa.Table.from_pylist(complete, self.schema)
        note = {**about, _WEIGHTS: self._weights_in(experiment)}
        experiment.write_table(self.name, table.replace_schema_metadata({self._note: json.dumps(note)}))

    def read(self, experiment: Experiment) -> pa.Table | None:
        """Read the table; None: there is none.

        Raises:
            ExperimentError: The table is damaged, or of other models than the experiment's.
        """
        table = read_whole(experiment, self.name, self.schema, self.damaged(experiment), self.later)
        if table is not None:
            self._require_own(experiment, table)
        return table

    def _require_own(self, experiment: Experiment, table: pa.Table) -> None:
        """Refuse a table that says whose it is, when the experiment's models have other weights."""
        own = self._weights_in(experiment)
        for role, weights in notes_of(table, self._note).get(_WEIGHTS, {}).items():
            if own.get(role) != weights:
                raise ExperimentError(
                    "{table}.parquet of '{folder}' is about another {role} than the one in the folder; make it anew "
                    "with: kdviz study --study {study}",
                    table=self.name,
                    folder=experiment.folder,
                    role=role,
                    study=self.name.replace("_", "-"),
                )

    def _weights_in(self, experiment: Experiment) -> dict[str, str]:
        """Role -> hash of its weights, of the models that the table is about."""
        return {role: run.sha256 for role, run in experiment.runs.items() if role in self.roles and run.sha256}

    def damaged(self, experiment: Experiment) -> ExperimentError:
        return damaged_study(experiment, self.name)

    def about(self, table: pa.Table) -> dict[str, Any]:
        """How the table was made."""
        return {key: value for key, value in notes_of(table, self._note).items() if key != _WEIGHTS}

    @property
    def _note(self) -> str:
        return f"kdviz.{self.name}"
