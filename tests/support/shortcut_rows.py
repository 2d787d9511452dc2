"""Rows of shortcuts.parquet whose figures are known."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from kdviz.studies.shortcuts.table import SCHEMA, Condition, write_condition

ABOUT = {"pictures": 40, "share": 0.9, "settings": {"rise": {"n_masks": 9}}}


def rows_of(role, use, inside, count=40, shown_to="random", loss="", seed=0):
    """Rows of a model that changes the probability by ``use``, and answers with the mark's class where it is .5."""
    generator = np.random.default_rng(seed)
    rows = []
    for sample in range(count):
        label = sample % 10
        for cue in (label, (label + 1) % 10):
            for planted in (False, True):
                probability = 0.1 + use * planted if cue != label else 0.8
                energy = (inside if planted else 0.02) + generator.normal(0, 0.005)
                rows.append(
                    {
                        "shortcut": "patch",
                        "shown_to": shown_to,
                        "loss": loss,
                        "split": "test",
                        "sample": sample,
                        "label": label,
                        "cue": cue,
                        "planted": planted,
                        "role": role,
                        "method": "rise",
                        "predicted": cue if planted and use > 0.5 else label,
                        "probability": probability,
                        "energy": energy,
                        "area": 0.02,
                    }
                )
    return rows


def write(experiment, rows, shown_to="random", loss="", about=ABOUT):
    generator = np.random.default_rng(5)
    shuffled = [rows[index] for index in generator.permutation(len(rows))]
    write_condition(experiment, Condition("patch", shown_to, loss), pa.Table.from_pylist(shuffled, SCHEMA), about)
