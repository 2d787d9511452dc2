"""The table of a study of regions: how much of each map lies inside."""

from __future__ import annotations

import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.studies.tables import read_whole

NAME = "regions"
"""Name of the table."""

ABOUT = "kdviz.regions"
_TEXT = pa.dictionary(pa.int16(), pa.string())
SCHEMA = pa.schema(
    [
        ("split", _TEXT),
        ("sample", pa.int32()),
        ("label", pa.int16()),
        ("target", pa.int16()),
        ("role", _TEXT),
        ("method", _TEXT),
        ("predicted", pa.int16()),
        ("right", pa.bool_()),
        ("energy", pa.float32()),
        ("pointing", pa.float32()),
        ("area", pa.float32()),
        ("chance", pa.float32()),
        ("others_inside", pa.float32()),
        ("inside_others", pa.float32()),
    ]
)
"""Of regions.parquet: one row for a picture, model and method. ``chance`` is that of ``energy``; the last two are the
energy of other pictures' maps in this region, and of this map in their regions."""


def read_table(experiment: Experiment) -> pa.Table | None:
    """Read regions.parquet; None: there is none.

    Raises:
        ExperimentError: The table is damaged.
    """
    damaged = ExperimentError(
        "regions.parquet of '{folder}' is damaged; make it anew with: kdviz study --study regions",
        folder=experiment.folder,
    )
    return read_whole(experiment, NAME, SCHEMA, damaged)
