"""The values of a row of the table."""

from __future__ import annotations

import math
from typing import Any

from kdviz.metrics.uncertainty import Difference, simultaneous_level
from kdviz.studies.transfer.features import Layer

OUTER, INNER = 0.95, 0.9
"""Levels of the two intervals."""

Row = dict[str, Any]


def interval_values(difference: Difference, together: int = 1) -> Row:
    """Value and intervals of a row; with ``together`` above 1 all so many intervals hold at once."""
    if math.isnan(difference.sample_error):  # too few pictures that say something: nothing is known of its chance
        return {"value": difference.value, "together": together, "count": difference.samples}
    outer, inner = (difference.interval(simultaneous_level(together, level)) for level in (OUTER, INNER))
    ends = {"low": outer[0], "high": outer[1], "inner_low": inner[0], "inner_high": inner[1]}
    return {"value": difference.value, **ends, "together": together, "count": difference.samples}


def layer_values(layer: Layer, teacher_layer: Layer, is_counterpart: bool = True) -> Row:
    """Which two layers a row is about."""
    names = {"teacher_layer": teacher_layer.name, "layer": layer.name}
    return {**names, "teacher_depth": teacher_layer.depth, "depth": layer.depth, "counterpart": is_counterpart}
