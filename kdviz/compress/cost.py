"""The contents of cost.parquet: the cost of each model, its accuracy, and which models are the better choices.

``cost.parquet`` is tidy: one row per model (``role``), kind of file (``form``), number of threads and batch, with the
machine it was measured on: the one that ran ``kdviz profile``, and any device that ran an export's ``check.py --time``.
``times_ms`` has the time of each round, the same for all models; ``right`` one bit per sample, whether it is right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdviz.core.errors import ExperimentError
from kdviz.core.language import N_
from kdviz.experiment import Experiment
from kdviz.metrics import Difference, paired_shares

SCHEMA = pa.schema(
    [
        ("role", pa.string()),
        ("form", pa.string()),
        ("network", pa.string()),
        ("weights", pa.string()),  # SHA-256 of the run's weights
        ("parameters", pa.int64()),
        ("flops", pa.int64()),  # for one picture
        ("file_bytes", pa.int64()),
        ("threads", pa.int32()),
        ("batch", pa.int32()),
        ("latency_ms", pa.float64()),  # of a call with the whole batch: median, lower and upper quartile of rounds
        ("latency_low_ms", pa.float64()),
        ("latency_high_ms", pa.float64()),
        ("rounds", pa.int32()),
        ("times_ms", pa.list_(pa.float64())),
        ("split", pa.string()),
        ("samples", pa.int32()),
        ("accuracy", pa.float64()),
        ("accuracy_low", pa.float64()),  # Wilson's 95 % interval
        ("accuracy_high", pa.float64()),
        ("right", pa.binary()),
        ("test_accuracy", pa.float64()),  # as experiment.json has it
        ("device", pa.string()),
        ("machine", pa.string()),
        ("cores", pa.int32()),
        ("torch", pa.string()),
        ("onnxruntime", pa.string()),
        ("kdviz", pa.string()),
        ("measured", pa.string()),
        ("uncounted", pa.list_(pa.string())),  # operators whose operations are not in flops
        ("measured_by", pa.string()),  # CHECK; empty: kdviz profile itself
        ("memory_bytes", pa.int64()),  # peak of a process that runs this model alone
        ("energy_mj", pa.float64()),  # millijoules of the whole processor for a call
        ("arithmetic_ms", pa.float64()),  # the least time of a call by the processor's speed of multiplying ...
        ("reading_ms", pa.float64()),  # ... and by its speed of reading the weights
    ]
)
# Columns that tables of earlier versions lack.
_LATER_COLUMNS = {"uncounted", "measured_by", "memory_bytes", "energy_mj", "arithmetic_ms", "reading_ms"}
CHECK = "check.py"
"""What measured the rows that came from another device: the script of an export."""


class Form(StrEnum):
    """The forms in which a model is run and measured."""

    TORCH = "torch"
    ONNX = "onnx"
    ONNX_INT8 = "onnx_int8"
    FILE = "file"  # the model is an ONNX file itself
    OPENVINO = "openvino"
    EXECUTORCH = "executorch"
    LITERT = "litert"


FORMS: dict[str, str] = {
    Form.TORCH: N_("PyTorch, float32"),
    Form.ONNX: N_("ONNX Runtime, float32"),
    Form.ONNX_INT8: N_("ONNX Runtime, int8"),
    Form.FILE: N_("its own ONNX file"),
    Form.OPENVINO: N_("OpenVINO, float32"),
    Form.EXECUTORCH: N_("ExecuTorch, float32"),
    Form.LITERT: N_("LiteRT, float32"),
}
"""Form -> its name for people."""


@dataclass(frozen=True)
class Axis:
    """A kind of cost.

    Attributes:
        name: Name in the page's address.
        title: Title for people.
        unit: Unit of the numbers shown; empty for a plain count.
        scale: Factor from a number of the table to the number shown.
    """

    name: str
    title: str
    unit: str
    scale: float
    about: str


AXES = {
    axis.name: axis
    for axis in (
        Axis("latency", N_("Time for one picture"), "ms", 1.0, N_("From the call to the answer, one at a time.")),
        Axis(
            "batched",
            N_("Time per picture in a batch"),
            "ms",
            1.0,
            N_("A whole batch in one call, divided by its pictures: what counts where many wait."),
        ),
        Axis("flops", N_("Operations"), "MFLOP", 1e-6, N_("For one picture; multiplying and adding are two.")),
        Axis("size", N_("File size"), "MB", 1e-6, N_("What has to be stored, sent and held in memory.")),
        Axis("parameters", N_("Parameters"), N_("million"), 1e-6, N_("Numbers that training has set.")),
        Axis(
            "memory",
            N_("Peak memory"),
            "MB",
            1e-6,
            N_("Of a process that runs this model and nothing else, with Python and the runtime."),
        ),
        Axis(
            "energy",
            N_("Energy for one picture"),
            "mJ",
            1.0,
            N_("Of the whole processor, as its own counter tells it."),
        ),
    )
}
"""Axes by name; the first is the default."""


@dataclass(frozen=True)
class CostEntry:
    """A model in one form, measured with one number of threads.

    Attributes:
        role, form: The model and its form.
        costs: Name of an axis -> its value as shown; without unknown ones.
        ranges: Name of an axis -> lower and upper quartile, for times.
        times: Name of an axis -> the time of each round.
        accuracy: A share, with its 95 % interval; NaN when it is not known.
        right: Bool (samples,): which samples are classified correctly; None when it was not measured.
        row: The whole row of the table, for one picture per call.
    """

    role: str
    form: str
    costs: dict[str, float]
    ranges: dict[str, tuple[float, float]]
    times: dict[str, np.ndarray]
    accuracy: float
    low: float
    high: float
    right: np.ndarray | None
    row: dict[str, Any]

    def over(self, other: CostEntry, axis: str) -> float:
        """The cost of this over that of the other; for times, the median over the rounds of both."""
        ratios = self.ratios(other, axis)
        return float(np.median(ratios)) if len(ratios) else self.costs[axis] / other.costs[axis]

    def ratios(self, other: CostEntry, axis: str) -> np.ndarray:
        """The time of this over that of the other in each round; empty where they had no rounds together."""
        if self.row["measured"] != other.row["measured"]:  # on one device, one after the other
            return np.array([])
        times, other_times = (entry.times.get(axis, np.array([])) for entry in (self, other))
        return times / other_times if len(times) == len(other_times) else np.array([])

    def gain(self, other: CostEntry) -> Difference | None:
        """Accuracy of this less that of the other, paired by sample; None without common samples."""
        if self.right is None or other.right is None or len(self.right) != len(other.right) or not len(self.right):
            return None
        return paired_shares(other.right, self.right)


@dataclass(frozen=True)
class CostReport:
    """The rows of cost.parquet, read for one machine and one number of threads.

    Attributes:
        table: The whole table.
        threads: The number of threads of :attr:`entries`.
        stale: Roles whose weights have changed since the measurement, in the experiment's order.
        device: The machine of :attr:`entries`, one of :attr:`devices`; empty: the first.
    """

    table: pa.Table
    threads: int
    stale: tuple[str, ...] = ()
    device: str = ""

    @cached_property
    def entries(self) -> list[CostEntry]:
        """Models and forms, in the order of the table."""
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self._rows:
            if row["threads"] == self.threads:
                groups.setdefault((row["role"], row["form"]), []).append(row)
        return [_entry(rows) for rows in groups.values()]

    @cached_property
    def _rows_of(self) -> dict[str, list[dict[str, Any]]]:
        """Name of a machine -> its rows; a machine that was measured in both ways has two names."""
        rows, by_machine = self.table.to_pylist(), {}
        own = {row["machine"] for row in rows if not row.get("measured_by")}
        for row in rows:
            name = row["machine"] or ""
            if row.get("measured_by") and row["machine"] in own:
                name = f"{name} ({row['measured_by']})"
            by_machine.setdefault(name, []).append(row)
        return by_machine

    @property
    def devices(self) -> list[str]:
        """Names of the machines, in the order of the table."""
        return list(self._rows_of)

    @property
    def _rows(self) -> list[dict[str, Any]]:
        return self._rows_of[self.device or self.devices[0]]

    @property
    def thread_counts(self) -> list[int]:
        return sorted({row["threads"] for row in self._rows})

    @property
    def batch(self) -> int:
        """The largest number of pictures in a call."""
        return max(row["batch"] for row in self._rows)

    @property
    def forms(self) -> list[str]:
        return [form for form in FORMS if any(entry.form == form for entry in self.entries)]

    @property
    def axes(self) -> list[Axis]:
        """The axes that some entry has."""
        return [axis for axis in AXES.values() if any(axis.name in entry.costs for entry in self.entries)]

    @property
    def machine(self) -> dict[str, Any]:
        """The columns on where, when and on what was measured."""
        names = ("device", "machine", "cores", "torch", "onnxruntime", "kdviz", "measured", "split", "samples")
        return {name: self._rows[0][name] for name in names}

    def find(self, role: str, forms: Iterable[str]) -> CostEntry | None:
        """A model in the first of these forms that it has."""
        entries = {entry.form: entry for entry in self.entries if entry.role == role}
        return next((entries[form] for form in forms if form in entries), None)

    @property
    def uncounted(self) -> dict[str, tuple[str, ...]]:
        """Role -> operators that its operations leave out, for models whose figure is incomplete."""
        return {entry.role: tuple(entry.row["uncounted"]) for entry in self.entries if entry.row.get("uncounted")}

    def at(self, threads: int) -> CostReport:
        """The same machine with another number of threads."""
        return CostReport(self.table, threads, self.stale, self.device)

    def on(self, device: str) -> CostReport:
        """Another machine, with its lowest number of threads."""
        return CostReport(self.table, min(row["threads"] for row in self._rows_of[device]), self.stale, device)


def read_cost(experiment: Experiment, table: Any = None) -> CostReport:
    """Read cost.parquet, or a table that was just made.

    Raises:
        ExperimentError: The table is missing, damaged, empty, or from another version of kdviz.
    """
    if table is None:
        if not experiment.has_table("cost"):
            raise ExperimentError("This experiment has no cost.parquet yet.")
        table = experiment.table("cost")
    columns = [column for column in SCHEMA if column.name not in _LATER_COLUMNS or column.name in table.column_names]
    complete = {column.name for column in columns} <= set(table.column_names) and all(
        table.schema.field(column.name).type == column.type for column in columns
    )
    if not complete or not len(table):
        raise ExperimentError(
            "This experiment's cost.parquet was made by another version of kdviz, or is empty; make it anew."
        )
    weights = dict.fromkeys((row["role"], row["weights"]) for row in table.select(["role", "weights"]).to_pylist())
    runs = experiment.runs
    stale = dict.fromkeys(role for role, digest in weights if role not in runs or runs[role].sha256 != digest)
    report = CostReport(table, 1, tuple(stale))
    return report.on(report.devices[0])


def _entry(rows: Sequence[dict[str, Any]]) -> CostEntry:
    """The entry of one model, form and number of threads, from one row per batch size."""
    single, batched = (choose(rows, key=lambda row: row["batch"]) for choose in (min, max))
    raw = {"flops": single["flops"], "size": single["file_bytes"], "parameters": single["parameters"]}
    raw |= {"memory": single.get("memory_bytes"), "energy": (single.get("energy_mj") or 0) / single["batch"]}
    costs = {name: value * AXES[name].scale for name, value in raw.items() if value}
    ranges, times = {}, {}
    for name, row, measured in (("latency", single, single["batch"] == 1), ("batched", batched, batched["batch"] > 1)):
        if measured:
            costs[name] = row["latency_ms"] / row["batch"]
            ranges[name] = row["latency_low_ms"] / row["batch"], row["latency_high_ms"] / row["batch"]
            times[name] = np.array(row["times_ms"]) / row["batch"]
    accuracy, low, high = (
        math.nan if single[n] is None else single[n] for n in ("accuracy", "accuracy_low", "accuracy_high")
    )
    right = None
    if single["right"] is not None:
        right = np.unpackbits(np.frombuffer(single["right"], np.uint8), count=single["samples"]).astype(bool)
    return CostEntry(single["role"], single["form"], costs, ranges, times, accuracy, low, high, right, single)


def pareto_front(entries: Sequence[CostEntry], axis: str) -> list[CostEntry]:
    """The Pareto front: cheapest first, each more accurate than all cheaper ones."""
    candidates = [entry for entry in entries if axis in entry.costs and not math.isnan(entry.accuracy)]
    front: list[CostEntry] = []
    for entry in sorted(candidates, key=lambda entry: (entry.costs[axis], -entry.accuracy)):
        if not front or entry.accuracy > front[-1].accuracy:
            front.append(entry)
    return front


def table_file(table: pa.Table) -> bytes:
    """A table as the bytes of a parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue().to_pybytes()


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``count`` samples.

    >>> [round(end, 4) for end in wilson(0.99, 1000)]
    [0.9817, 0.9946]
    """
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)
