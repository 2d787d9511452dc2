"""Logits in predictions.parquet, of which only the needed row groups are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import ExperimentError
from kdviz.experiment import Experiment

_NO_LOGITS = "predictions.parquet holds no logits; make it again with: kdviz evaluate."


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


class StoredLogits(Mapping[str, np.ndarray]):
    """What :func:`stored_logits` returns, read when the logits of a role are first asked for. Safe in any thread.

    Args:
        experiment: An experiment with predictions.
        split: Name of the split.
        samples: int (n,), distinct numbers of samples, at least one.
        roles: The roles that are predicted.

    Raises:
        ExperimentError: The table has no logits, or is damaged.
    """

    def __init__(self, experiment: Experiment, split: str, samples: np.ndarray, roles: Sequence[str]):
        with experiment.open_table("predictions") as file:
            _require_logits(file)
        self._experiment, self._split, self._samples, self._roles = experiment, split, samples, tuple(roles)
        self._lock = Lock()
        self._logits: dict[str, np.ndarray] = {}

    def __getitem__(self, role: str) -> np.ndarray:
        if role not in self._roles:
            raise KeyError(role)
        with self._lock:
            if role not in self._logits:
                self._logits |= stored_logits(self._experiment, self._split, self._samples, [role])
            return self._logits[role]

    def __contains__(self, role: object) -> bool:
        return role in self._roles  # without reading anything

    def __iter__(self) -> Iterator[str]:
        return iter(self._roles)

    def __len__(self) -> int:
        return len(self._roles)


def _rows_by_role(
    file: pq.ParquetFile, split: str, samples: np.ndarray | None, roles: Sequence[str] | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Role -> its rows in the file, ascending, and the place of each in the result."""
    _require_logits(file)
    table = file.read(columns=["split", "role", "sample"], use_threads=False)
    split_of, role_of = (table[name].cast(pa.string()).to_numpy() for name in ("split", "role"))
    numbers = table["sample"].to_numpy()
    in_split = split_of == split
    found = {}
    for role in dict.fromkeys(role_of[in_split].tolist()):
        if roles is not None and role not in roles:
            continue
        rows = np.flatnonzero(in_split & (role_of == role))
        wanted = np.sort(numbers[rows]) if samples is None else np.asarray(samples)
        order = np.argsort(wanted, kind="stable")
        places = np.searchsorted(wanted, numbers[rows], sorter=order).clip(max=len(wanted) - 1)
        is_wanted = wanted[order[places]] == numbers[rows]
        found[role] = rows[is_wanted], order[places[is_wanted]]
        if is_wanted.sum() != len(wanted):
            raise ExperimentError(
                "predictions.parquet has not all samples of the split '{split}'; make it again with: kdviz evaluate.",
                split=split,
            )
    return found


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
