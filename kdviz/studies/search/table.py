"""search.parquet, search_grid.parquet and search_final.parquet: the trials, a grid beside them, and the test."""

from __future__ import annotations

import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment
from kdviz.studies.tables import StudyTable

COMPLETE, PRUNED, FAILED = "complete", "pruned", "failed"
WINNER, DEFAULT, GRID = "winner", "default", "grid"
"""Candidates that are trained again with new seeds."""

GRID_TEMPERATURES = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
GRID_ALPHAS = (0.1, 0.5, 0.9)
GRID_SEEDS = (0, 1, 2)
"""The grid that a search is held against: 54 runs, otherwise with the default recipe."""

_SETTINGS = [
    ("temperature", pa.float64()),
    ("alpha", pa.float64()),
    ("kd_loss", pa.string()),
    ("learning_rate", pa.float64()),
    ("epochs", pa.int32()),
    ("width", pa.float64()),
]


class _Table(StudyTable):
    def damaged(self, experiment: Experiment) -> ExperimentError:
        return ExperimentError(
            "{name}.parquet of '{folder}' is damaged; remove it, and search again.",
            name=self.name,
            folder=experiment.folder,
        )


SEARCH = _Table(
    "search",
    pa.schema(
        [
            ("trial", pa.int32()),
            ("state", pa.string()),  # complete, pruned (stopped early), failed
            ("run", pa.string()),  # identity of its training
            ("seed", pa.int32()),
            *_SETTINGS,
            ("epochs_done", pa.int32()),
            ("accuracy", pa.float64()),  # on the validation split, as all figures of this table
            ("mflop", pa.float64()),  # null where it is no objective, as the next three
            ("latency", pa.float64()),  # of one picture on one CPU thread, over that of the student in its own width
            ("agreement", pa.float64()),
            ("inherited", pa.float64()),
            ("seconds", pa.float64()),  # of training
            ("front", pa.bool_()),  # no complete trial is better in one objective and no worse in the others
            ("reason", pa.string()),  # why it failed
        ]
    ),
    later=("latency",),
)
"""One row a trial. Its note has the objectives, the ranges and the importance of parameters."""

GRID_RUNS = _Table(
    "search_grid",
    pa.schema(
        [("run", pa.string()), ("seed", pa.int32()), *_SETTINGS, ("accuracy", pa.float64()), ("seconds", pa.float64())]
    ),
)
"""One row a run of the grid of temperature and alpha, with its validation accuracy."""

FINAL = _Table(
    "search_final",
    pa.schema(
        [
            ("candidate", pa.string()),  # winner, default, grid (its best by validation)
            ("run", pa.string()),
            ("seed", pa.int32()),  # none that a trial or a run of the grid had
            *_SETTINGS,
            ("chosen_by", pa.float64()),  # the validation accuracy that it was chosen by; null for the default recipe
            ("validation", pa.float64()),  # of this run
            ("samples", pa.int32()),
            ("accuracy", pa.float64()),  # on the test split
            ("right", pa.binary()),  # one bit a test sample
            ("seconds", pa.float64()),
        ]
    ),
)
"""One row a run of a candidate with a new seed."""
