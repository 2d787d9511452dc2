"""Reports of what models cost, made up from a few figures."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kdviz.compress import cost
from kdviz.compress.cost import CostReport


def made(*rows: tuple[str, str, float, float, float, float]) -> CostReport:
    """A report of (role, form, ms, MB, MFLOP, accuracy), 1,000 samples."""
    entries = []
    for role, form, ms, size, flops, accuracy in rows:
        right = np.arange(1000) < round(1000 * accuracy)
        entries.append(
            {
                **dict.fromkeys(cost.SCHEMA.names),
                "role": role,
                "form": form,
                "flops": int(flops * 1e6),
                "file_bytes": int(size * 1e6),
                "parameters": 1000,
                "threads": 1,
                "batch": 1,
                **dict.fromkeys(("latency_ms", "latency_low_ms", "latency_high_ms"), ms),
                "times_ms": [ms] * 9,
                "rounds": 9,
                "split": "test",
                "samples": 1000,
                "accuracy": accuracy,
                "accuracy_low": cost.wilson(accuracy, 1000)[0],
                "accuracy_high": cost.wilson(accuracy, 1000)[1],
                "right": np.packbits(right).tobytes(),
            }
        )
    return CostReport(pa.Table.from_pylist(entries, schema=cost.SCHEMA), 1)
