"""The forms in which a model is measured, and the table of the measurements."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from kdviz.compress.cost import SCHEMA
from kdviz.compress.operations import Operations
from kdviz.experiment import Run

CPU = torch.device("cpu")


@dataclass
class ModelForm:
    """A model in one form, with its measurements."""

    run: Run
    form: str
    network: nn.Module  # without adapter: its own input -> its own logits
    file_bytes: int
    operations: Operations | None
    parameters: int | None
    accuracy: dict[str, Any] = field(default_factory=dict)  # the columns on its accuracy
    times: dict[tuple[int, int], list[float]] = field(default_factory=dict)  # (threads, batch) -> ms, one per round

    @property
    def name(self) -> str:
        return f"{self.run.role}, {self.form}"


def cost_table(forms: Sequence[ModelForm], device: torch.device) -> pa.Table:
    from kdviz import __version__

    machine = {
        "device": str(device),
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "cores": os.cpu_count() or 1,
        "torch": torch.__version__,
        "onnxruntime": _onnxruntime_version(),
        "kdviz": __version__,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    rows = []
    for form in forms:
        columns = {
            "role": form.run.role,
            "form": form.form,
            "network": form.run.network,
            "weights": form.run.sha256,
            "parameters": form.parameters,
            "flops": form.operations and form.operations.flops,
            "uncounted": None if form.operations is None else list(form.operations.uncounted),
            "file_bytes": form.file_bytes,
            **form.accuracy,
        }
        rows += [
            {**columns, "threads": threads, "batch": batch, **_quartiles(times), **machine}
            for (threads, batch), times in form.times.items()
        ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _quartiles(times: Sequence[float]) -> dict[str, Any]:
    low, median, high = np.quantile(times, (0.25, 0.5, 0.75))
    return {
        "latency_ms": median,
        "latency_low_ms": low,
        "latency_high_ms": high,
        "rounds": len(times),
        "times_ms": list(times),
    }


def _onnxruntime_version() -> str | None:
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return str(onnxruntime.__version__)


def processor_name() -> str:
    """The processor's name, as far as the system tells."""
    import platform

    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine() or "CPU"
