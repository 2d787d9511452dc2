"""compression.parquet: what each step of a compression cost, saved and broke."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.studies.tables import read_whole

NAME = "compression"
"""Name of the table."""

SCHEMA = pa.schema(
    [
        ("child", pa.string()),
        ("parent", pa.string()),
        ("step", pa.string()),  # prune 0.5, qat, int8, int8 dynamic, seed...
        ("with_teacher", pa.bool_()),  # in the step's training; null: it has none
        ("weights", pa.string()),  # SHA-256 of the child's weights
        ("parent_weights", pa.string()),
        ("teacher_weights", pa.string()),
        ("split", pa.string()),
        ("samples", pa.int32()),
        ("accuracy", pa.float64()),
        ("parent_accuracy", pa.float64()),
        ("fixed", pa.int32()),  # samples that only the child has right
        ("broken", pa.int32()),  # samples that only the parent has right
        ("difference", pa.float64()),  # accuracy of the child less the parent's
        ("low", pa.float64()),  # its 95 % interval over samples (Tango, 1998)
        ("high", pa.float64()),
        ("changed", pa.binary()),  # one bit a sample: another answer than the parent's
        ("right", pa.binary()),  # one bit a sample: the child's answer is right
        ("ece", pa.float64()),
        ("parent_ece", pa.float64()),
        ("worst_class", pa.string()),  # of the child: the one that it knows least
        ("worst_accuracy", pa.float64()),
        ("worst_in_parent", pa.float64()),  # the parent's accuracy on that class
        ("bytes", pa.int64()),  # of the file
        ("parent_bytes", pa.int64()),
        ("flops", pa.int64()),  # for one picture
        ("parent_flops", pa.int64()),
        ("root", pa.string()),  # where the chain of steps began; null where that is the parent
        ("root_accuracy", pa.float64()),
        ("root_fixed", pa.int32()),  # as fixed and broken, against it
        ("root_broken", pa.int32()),
        ("root_bytes", pa.int64()),
        ("zeros", pa.float64()),  # share of weights that are 0; null for an ONNX file
        ("masks", pa.int32()),  # of each map
        ("images", pa.list_(pa.int32())),  # samples whose maps were compared
        ("maps_parent", pa.list_(pa.float64())),  # for each, Pearson's correlation of child and parent, corrected
        ("maps_teacher", pa.list_(pa.float64())),  # the same of child and teacher
        ("parent_teacher", pa.list_(pa.float64())),  # and of parent and teacher
        ("ceiling", pa.list_(pa.float64())),  # noise ceiling of child and parent
    ]
)
"""One row a run that was made from another one. What does not apply is null; where a map's noise ceiling is too low to
divide by, the correlation is NaN."""


def write_compression(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> None:
    """Replace the table; what a row lacks is null."""
    complete = [{name: row.get(name) for name in SCHEMA.names} for row in rows]
    experiment.write_table(NAME, pa.Table.from_pylist(complete, SCHEMA))


def read_compression(experiment: Experiment) -> list[dict[str, Any]]:
    """The rows of the table; empty without it.

    Raises:
        ExperimentError: The table is damaged.
    """
    damaged = ExperimentError(
        "compression.parquet of '{folder}' is damaged; remove it, and compress a model again.", folder=experiment.folder
    )
    table = read_whole(experiment, NAME, SCHEMA, damaged)
    return [] if table is None else table.to_pylist()
