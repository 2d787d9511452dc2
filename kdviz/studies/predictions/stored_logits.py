"""Logits in predictions.parquet, of which only the needed row groups are in memory at a time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment

_NO_LOGITS = "predictions.parquet holds no logits; make it again with: kdviz evaluate."
_KEPT_BYTES = 64 * 2**20  # of decoded logits; those of the last row group are kept whatever their size


def stored_logits(
    experiment: Experiment, split: str, samples: np.ndarray | None = None, roles: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Role -> logits of one split of predictions.parquet, float32 (samples, classes).

    Args:
        experiment: An experiment with predictions.
        split: Name of the split.
        samples: int (n,), distinct numbers of samples, at least one, in the order of the result; None: all, by number.
        roles: Whose; None: all that the table has.

    Raises:
        ExperimentError: The table has no such split, no logits, or not of all the samples; or it is damaged.
    """
    with experiment.open_table("predictions") as file:
        rows = _rows_by_role(file, split, samples, roles)
        if not rows:
            raise ExperimentError(
                "There are no predictions of the split '{split}'; make them with: kdviz evaluate.", split=split
            )
        try:
            return _read(file, rows)
        except ValueError as error:  # lists of several lengths, or rows that are missing
            raise ExperimentError(_NO_LOGITS) from error


class StoredLogits(Mapping[str, "LogitsOfRole"]):
    """What :func:`stored_logits` returns, of which only the rows that are asked for are read. Safe in any thread.

    Args:
        experiment: An experiment with predictions.
        split: Name of the split.
        samples: int (n,), distinct numbers of samples, at least one.
        roles: The roles that are predicted.

    Raises:
        ExperimentError: The table has no logits, or not of all the samples; or it is damaged.
    """

    def __init__(self, experiment: Experiment, split: str, samples: np.ndarray, roles: Sequence[str]):
        file = LogitsFile(experiment)
        self._of_role = {}
        by_role = _rows_by_role(file.parquet, split, samples, roles)
        for role in filter(by_role.__contains__, roles):
            rows, places = by_role[role]
            row_of = np.empty(len(samples), np.int64)
            row_of[places] = rows
            self._of_role[role] = LogitsOfRole(file, row_of)

    def __getitem__(self, role: str) -> LogitsOfRole:
        return self._of_role[role]

    def __contains__(self, role: object) -> bool:
        return role in self._of_role  # without reading anything

    def __iter__(self) -> Iterator[str]:
        return iter(self._of_role)

    def __len__(self) -> int:
        return len(self._of_role)


class LogitsFile:
    """The logits of predictions.parquet. It stays open: a table that takes its place is not read by mistake.

    Args:
        experiment: An experiment with predictions.

    Raises:
        ExperimentError: The table has no logits, or is damaged.
    """

    def __init__(self, experiment: Experiment):
        with experiment.open_table("predictions") as file:
            _require_logits(file)
        self._path = experiment.folder / "predictions.parquet"
        self._lock = Lock()
        self._kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self.parquet = pq.ParquetFile(pa.OSFile(str(self._path)))
        metadata = self.parquet.metadata
        counts = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *counts])

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Logits of some rows of the file, at least one, float32 (n, classes); each row group is read once.

        Raises:
            ExperimentError: The file is damaged.
        """
        groups = np.searchsorted(self._starts, rows, side="right") - 1
        logits = np.empty((len(rows), self._group(int(groups[0])).shape[1]), np.float32)
        for group in np.unique(groups).tolist():
            of_group = groups == group
            logits[of_group] = self._group(group)[rows[of_group] - self._starts[group]]
        return logits

    def _group(self, group: int) -> np.ndarray:
        with self._lock:  # a parquet file has one reading position
            if group not in self._kept:
                try:
                    self._kept[group] = _logits_of_group(self.parquet, group)
                except (pa.ArrowException, OSError) as error:
                    raise ExperimentError("'{path}' is damaged; please make it again.", path=self._path) from error
                while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > _KEPT_BYTES:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(group)
            return self._kept[group]


class LogitsOfRole:
    """The logits of one model on some samples: like an array (samples, classes), but read when they are asked for.

    Args:
        file: Where they are.
        rows: int64 (samples,), the row of each sample in the file.
    """

    def __init__(self, file: LogitsFile, rows: np.ndarray):
        self._file, self._rows = file, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        """Logits float32 (classes,) of one sample, or (n, classes) of those of a slice or an array of indices."""
        rows = self._rows[key]
        return self._file.read(np.atleast_1d(rows))[0] if np.ndim(rows) == 0 else self._file.read(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)


Logits = np.ndarray | LogitsOfRole
"""Logits (samples, classes) of a model, in memory or in a file."""


def in_parts(logits: Logits, size: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Logits (samples, classes) in parts of ``size`` samples, with the place of each part."""
    for start in range(0, len(logits), size):
        part = slice(start, start + size)
        yield part, logits[part]


def _rows_by_role(
    file: pq.ParquetFile, split: str, samples: np.ndarray | None, roles: Sequence[str] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Role -> its rows in the file, ascending, and the place of each in the result."""
    _require_logits(file)
    table = file.read(columns=["split", "role", "sample"], use_threads=False)
    split_of, role_of = (table[name].cast(pa.string()).to_numpy() for name in ("split", "role"))
    numbers = table["sample"].to_numpy()
    in_split = split_of == split
    by_role = {}
    for role in dict.fromkeys(role_of[in_split].tolist()):
        if roles is not None and role not in roles:
            continue
        rows = np.flatnonzero(in_split & (role_of == role))
        wanted = np.sort(numbers[rows]) if samples is None else np.asarray(samples)
        order = np.argsort(wanted, kind="stable")
        places = np.searchsorted(wanted, numbers[rows], sorter=order).clip(max=len(wanted) - 1)
        is_wanted = wanted[order[places]] == numbers[rows]
        by_role[role] = rows[is_wanted], order[places[is_wanted]]
        if is_wanted.sum() != len(wanted):
            raise ExperimentError(
                "predictions.parquet has not all samples of the split '{split}'; make it again with: kdviz evaluate.",
                split=split,
            )
    return by_role


def _read(file: pq.ParquetFile, rows: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    logits: dict[str, np.ndarray] = {}
    start = 0
    for group in range(file.metadata.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        parts = {role: slice(*np.searchsorted(of_role, [start, stop])) for role, (of_role, _) in rows.items()}
        if any(part.stop > part.start for part in parts.values()):
            values = _logits_of_group(file, group)
            for role, part in parts.items():
                of_role, places = rows[role]
                array = logits.setdefault(role, np.empty((len(of_role), values.shape[1]), np.float32))
                array[places[part]] = values[of_role[part] - start]
        start = stop
    return logits


def _logits_of_group(file: pq.ParquetFile, group: int) -> np.ndarray:
    column = file.read_row_group(group, columns=["logits"], use_threads=False)["logits"].combine_chunks()
    return np.asarray(column.flatten(), dtype=np.float32).reshape(len(column), -1)


def _require_logits(file: pq.ParquetFile) -> None:
    if "logits" not in file.schema_arrow.names:
        raise ExperimentError(_NO_LOGITS)
