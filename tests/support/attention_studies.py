"""Small attention studies of the experiment ``tiny``, and when two of their tables are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.data import LabelledImages
from kdviz.experiment import Experiment
from kdviz.studies.attention import AttentionStudy, own_models, shuffles
from kdviz.studies.attention.statistics.pairs import SCHEMA

SETTINGS = {"n_masks": 128, "precision": "float32"}
FLOATS = [field.name for field in SCHEMA if field.type == "float"]


def a_study(experiment: Experiment, samples: LabelledImages, count: int = 20, **more: Any) -> AttentionStudy:
    models = own_models(experiment)
    settings = {**SETTINGS, **more.pop("settings", {})}
    models = more.pop("models", [*models, *shuffles(models[0], [0])])
    return AttentionStudy(experiment, samples, models, count, settings=settings, device="cpu", **more)


def table_of(study: AttentionStudy) -> pa.Table:
    return study.experiment.table("agreement")


def same(first: pa.Table, second: pa.Table) -> None:
    """Two tables, but for rounding of what is written with four digits."""
    assert first.num_rows == second.num_rows
    for name in first.schema.names:
        first_values, second_values = first[name].to_pylist(), second[name].to_pylist()
        if name in FLOATS:
            np.testing.assert_allclose(np.array(first_values, float), np.array(second_values, float), atol=3e-4)
        else:
            assert first_values == second_values, name
