"""Measurements of other devices: what ``check.py --time`` of an export prints, as rows of the cost table.

The file comes from elsewhere, so that nothing in it is taken on trust: every value has a type and a range, accuracies
are computed from the answers, and the weights must be those of the experiment.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.compress.cost import CHECK, FORMS, SCHEMA, read_cost, wilson
from kdviz.core.errors import ExperimentError, SettingError
from kdviz.experiment import Experiment

FORMAT = 1
"""The version of a line of check.py, under the key ``kdviz_times``."""

_MOST_BYTES = 20_000_000
_HUGE = 1e12  # milliseconds or millijoules
_MOST = 1_000_000  # threads, pictures in a call, rounds
_LONGEST_NAME = 80


class _WrongFieldError(Exception):
    """A value that cannot be; the text names its field."""


def _wrong(field: str) -> _WrongFieldError:
    return _WrongFieldError(field)


def read_device_times(path: str | Path, experiment: Experiment) -> pa.Table:
    """The rows of one or more lines of ``check.py --time``.

    Args:
        path: A file with a JSON document in each line.
        experiment: The experiment from which the measured models were exported.

    Raises:
        SettingError: The file cannot be read or is damaged, or is of another model or version.
    """
    lines = [line for line in _text(path).splitlines() if line.strip()]
    if not lines:
        raise _no_measurement(path)
    rows = []
    for line in lines:
        document = _document(path, line)
        role = _exported_role(path, document, experiment)
        try:
            rows += _rows(document, role, experiment)
        except _WrongFieldError as error:
            raise SettingError(
                "'{path}' is damaged: its field '{field}' is missing, or cannot be what it is; measure again with: "
                "python check.py --time",
                path=path,
                field=error,
            ) from error
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def with_device_times(experiment: Experiment, rows: pa.Table) -> pa.Table:
    """The experiment's cost table with rows of devices, which take the place of earlier ones of the same.

    Raises:
        ExperimentError: The experiment's table is damaged, or of another version of kdviz.
    """
    earlier = read_cost(experiment).table.to_pylist() if experiment.has_table("cost") else []
    fresh = rows.to_pylist()
    replaced = {_key(row) for row in fresh}
    kept = [row for row in earlier if row.get("measured_by") != CHECK or _key(row) not in replaced]
    return pa.Table.from_pylist([*kept, *fresh], schema=SCHEMA)


def device_rows(experiment: Experiment) -> pa.Table:
    """The rows of other devices in the experiment's table that are of its present weights; none if it has no table."""
    rows: list[dict[str, Any]] = []
    with contextlib.suppress(ExperimentError):  # it is about to be replaced
        rows = read_cost(experiment).table.to_pylist()
    runs = experiment.runs
    kept = [
        row
        for row in rows
        if row.get("measured_by") == CHECK and row["role"] in runs and runs[row["role"]].sha256 == row["weights"]
    ]
    return pa.Table.from_pylist(kept, schema=SCHEMA)


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("machine", "role", "form", "threads", "batch"))


# the document ---------------------------------------------------------------------------------------------------------


def _text(path: str | Path) -> str:
    try:
        if Path(path).stat().st_size > _MOST_BYTES:
            raise _no_measurement(path)
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError("Cannot read '{path}': {strerror}.", path=path, strerror=error.strerror or error) from error
    except UnicodeDecodeError as error:
        raise _no_measurement(path) from error


def _no_measurement(path: str | Path) -> SettingError:
    return SettingError(
        "'{path}' holds no measurement of an exported model; make one on the device with: python check.py --time > "
        "times.json",
        path=path,
    )


def _document(path: str | Path, line: str) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _no_measurement(path) from error
    if not isinstance(document, dict) or "kdviz_times" not in document:
        raise _no_measurement(path)
    if document["kdviz_times"] != FORMAT:
        raise SettingError(
            "'{path}' was made by check.py of another version of kdviz; export the model again and measure that.",
            path=path,
        )
    return document


def _exported_role(path: str | Path, document: Mapping[str, Any], experiment: Experiment) -> str:
    """The role of the measured model, if its weights are those of the experiment."""
    about = document.get("export")
    role = about.get("role") if isinstance(about, dict) else None
    run = experiment.runs.get(role) if isinstance(role, str) else None
    if run is None or not run.sha256 or not isinstance(about, dict) or about.get("weights") != run.sha256:
        raise SettingError(
            "'{path}' was measured with another model: none of '{folder}' has its role ('{role}') and its weights.",
            path=path,
            folder=experiment.folder,
            role=str(role)[:_LONGEST_NAME],
        )
    return run.role


def _rows(document: Mapping[str, Any], role: str, experiment: Experiment) -> list[dict[str, Any]]:
    about, device = _mapping(document, "export"), _mapping(document, "device")
    common = {
        "role": role,
        "network": experiment.runs[role].network,
        "weights": experiment.runs[role].sha256,
        "parameters": _optional(about, "parameters", _whole),
        "flops": _optional(about, "flops", _whole),
        "uncounted": _optional(about, "uncounted", _names),
        "test_accuracy": None,
        "device": "cpu",
        "machine": _name(device, "machine"),
        "cores": _count(device, "cores"),
        "torch": None,
        "onnxruntime": _name(device, "onnxruntime"),
        "kdviz": _name(about, "kdviz"),
        "measured": _moment(device, "measured"),
        "measured_by": CHECK,
    }
    measured = _list(document, "rows")
    return [{**common, **_row(_as_mapping(row, "rows"), _mapping(about, "files"))} for row in measured]


def _row(row: Mapping[str, Any], files: Mapping[str, Any]) -> dict[str, Any]:
    name = row.get("file")
    file = _mapping(files, name if isinstance(name, str) else "file")
    form = file.get("form")
    if form not in FORMS:
        raise _wrong("form")
    times = [_positive_number(value, "times_ms") for value in _list(row, "times_ms")]
    if not 1 <= len(times) <= _MOST:
        raise _wrong("times_ms")
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    limits = {name: _optional(row, name, _positive) for name in ("energy_mj", "arithmetic_ms", "reading_ms")}
    return {
        "form": form,
        "file_bytes": _whole(file, "bytes"),
        "threads": _count(row, "threads"),
        "batch": _count(row, "batch"),
        "latency_ms": median,
        "latency_low_ms": low,
        "latency_high_ms": high,
        "rounds": len(times),
        "times_ms": times,
        "memory_bytes": _optional(row, "memory_bytes", _whole),
        **limits,
        **_accuracy(file),
    }


def _accuracy(file: Mapping[str, Any]) -> dict[str, Any]:
    """The columns on accuracy, from the answers themselves; none if they were not measured."""
    measured = file.get("accuracy") or {}
    if not measured:
        return {}
    measured = _as_mapping(measured, "accuracy")
    samples, text = _count(measured, "samples"), measured.get("right")
    try:
        packed = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except ValueError as error:
        raise _wrong("right") from error
    if len(packed) != math.ceil(samples / 8):
        raise _wrong("right")
    share = float(np.unpackbits(np.frombuffer(packed, np.uint8), count=samples).mean())
    low, high = wilson(share, samples)
    split = _name(measured, "split")
    columns = {"split": split, "samples": samples, "accuracy": share, "accuracy_low": low, "accuracy_high": high}
    return {**columns, "right": packed}


# values ---------------------------------------------------------------------------------------------------------------


def _mapping(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _as_mapping(values.get(name), name)


def _as_mapping(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(name)
    return value


def _list(values: Mapping[str, Any], name: str) -> Sequence[Any]:
    value = values.get(name)
    if not isinstance(value, list) or not value:
        raise _wrong(name)
    return value


def _optional(values: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], Any]) -> Any:
    return None if values.get(name) is None else read(values, name)


def _whole(values: Mapping[str, Any], name: str) -> int:
    value = values.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**62:
        raise _wrong(name)
    return value


def _count(values: Mapping[str, Any], name: str) -> int:
    value = _whole(values, name)
    if not 1 <= value <= _MOST:
        raise _wrong(name)
    return value


def _positive(values: Mapping[str, Any], name: str) -> float:
    return _positive_number(values.get(name), name)


def _positive_number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < _HUGE:
        raise _wrong(name)
    return float(value)


def _name(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise _wrong(name)
    return value.strip()[:_LONGEST_NAME]


def _names(values: Mapping[str, Any], name: str) -> list[str]:
    value = values.get(name)
    if not isinstance(value, list) or not all(isinstance(each, str) and each.isprintable() for each in value):
        raise _wrong(name)
    return value


def _moment(values: Mapping[str, Any], name: str) -> str:
    value = _name(values, name)
    try:
        time.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError as error:
        raise _wrong(name) from error
    return value
