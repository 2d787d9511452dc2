"""predictions.parquet of an experiment, of which only the answers are read at once: logits can be hundreds of MB."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.experiment import Experiment
from kdviz.studies.predictions.mistakes import Predictions, read_predictions

ANSWERS = ("split", "sample", "label", "role", "predicted", "confidence")
"""The columns of predictions.parquet beside the logits."""

_KEPT_BYTES = 64 * 2**20  # of decoded logits; those of the last row group are kept whatever their size


class LogitsFile:
    """The column ``logits`` of predictions.parquet; row groups are read when they are asked for, from any thread.

    Args:
        path: Path of predictions.parquet.

    Raises:
        ExperimentError: The file is missing or damaged, or holds no logits.
    """

    def __init__(self, path: Path):
        self._path = path
        self._lock = Lock()
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        try:
            self._file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged() from error
        if "logits" not in self._file.schema_arrow.names:
            raise ExperimentError("predictions.parquet holds no logits; make it again with: kdviz evaluate.")
        metadata = self._file.metadata
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *counts])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Logits of some rows of the file, float32 (n, classes); each row group is read once.

        Raises:
            ExperimentError: The file is damaged.
        """
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        parts = None
        for group in np.unique(groups).tolist():
            of_group, logits = groups == group, self._group(group)
            if parts is None:
                parts = np.empty((len(rows), logits.shape[1]), np.float32)
            parts[of_group] = logits[rows[of_group] - self._starts[group]]
        return np.empty((0, 0), np.float32) if parts is None else parts

    def _group(self, group: int) -> np.ndarray:
        with self._lock:  # a parquet file has one reading position
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
            try:
                column = self._file.read_row_group(group, columns=["logits"], use_threads=False)["logits"]
            except (pa.ArrowException, OSError) as error:
                raise self._damaged() from error
            logits = np.asarray(column.combine_chunks().flatten(), np.float32).reshape(len(column), -1)
            self._kept[group] = logits
            while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                self._kept.popitem(last=False)
            return logits

    def _damaged(self) -> ExperimentError:
        return ExperimentError("'{path}' is damaged; please make it again.", path=self._path)


class StoredLogits:
    """The logits of one model on some samples: like an array (samples, classes), but read when they are asked for.

    Args:
        file: Where they are.
        rows: int64 (samples,), the row of each sample in the file.
    """

    def __init__(self, file: LogitsFile, rows: np.ndarray):
        self._file = file
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        """Logits float32 (classes,) of one sample, or (n, classes) of those of a slice or an array of indices."""
        rows = self._rows[key]
        return self._file.read(np.atleast_1d(rows))[0] if np.ndim(rows) == 0 else self._file.read(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def take(self, indices: np.ndarray) -> StoredLogits:
        """Those of some of the samples."""
        return StoredLogits(self._file, self._rows[indices])


Logits = np.ndarray | StoredLogits
"""Logits (samples, classes) of a model, in memory or in a file."""


class SplitLogits(Mapping[str, StoredLogits]):
    """Role -> its logits on the samples of a split, in their order.

    Args:
        file: Where they are.
        rows: Role -> int64 (samples,), the row of each sample in the file.
    """

    def __init__(self, file: LogitsFile, rows: Mapping[str, np.ndarray]):
        self._of_role = {role: StoredLogits(file, of_role) for role, of_role in rows.items()}

    def __getitem__(self, role: str) -> StoredLogits:
        return self._of_role[role]

    def __iter__(self) -> Iterator[str]:
        return iter(self._of_role)

    def __len__(self) -> int:
        return len(self._of_role)


def read_stored(experiment: Experiment, split: str) -> tuple[Predictions, SplitLogits]:
    """Read the answers of all models on a split, and find their logits.

    Raises:
        ExperimentError: There are no predictions of the split, or the table is damaged or holds no logits.
    """
    file = LogitsFile(experiment.folder / "predictions.parquet")
    table = experiment.table("predictions", ANSWERS)
    table = table.append_column("row", pa.array(np.arange(len(table))))
    predictions = read_predictions(table, split)
    of_split = rows_where(table, "split", split)
    rows = {
        role: rows_where(of_split, "role", role).sort_by("sample")["row"].to_numpy() for role in predictions.predicted
    }
    return predictions, SplitLogits(file, rows)


def in_parts(logits: Any, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Logits (samples, classes) in parts of ``size`` samples, with the place of each part."""
    for start in range(0, len(logits), size):
        part = slice(start, start + size)
        yield part, np.asarray(logits[part])
