"""How alike the layers of each model and of its teacher are, as rows of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from kdviz.core.vocabulary import Role
from kdviz.metrics.feature_similarity import (
    CKA,
    Gram,
    cka,
    cka_difference,
    jackknife_difference,
    shuffled_cka,
    within_class_cka,
)
from kdviz.metrics.uncertainty import Difference, simultaneous_level
from kdviz.studies.transfer.features import Layer, LayerFeatures
from kdviz.studies.transfer.table import CKA as MEASURE

_OUTER, _INNER = 0.95, 0.9

Row = dict[str, Any]


def counterparts(layers: Sequence[Layer], teacher_layers: Sequence[Layer]) -> dict[int, int]:
    """Depth of each layer -> depth of the teacher's layer that it is compared with.

    Logits go with logits, the last layer before them with the last one, the first with the first, and those between by
    their share of the depth: a rule that was there before any result.
    """
    count, teacher_count = len(layers) - 1, len(teacher_layers) - 1
    depths = {layers[-1].depth: teacher_layers[-1].depth}
    if not count or not teacher_count:
        return depths
    share = [1.0] if count == 1 else np.linspace(0, 1, count).tolist()
    return depths | {
        layer.depth: 1 + int(part * (teacher_count - 1) + 0.5) for layer, part in zip(layers, share, strict=False)
    }


def interval_values(difference: Difference, together: int = 1) -> Row:
    """Value and intervals of a row; with ``together`` above 1 all so many intervals hold at once."""
    outer, inner = (difference.interval(simultaneous_level(together, level)) for level in (_OUTER, _INNER))
    ends = {"low": outer[0], "high": outer[1], "inner_low": inner[0], "inner_high": inner[1]}
    return {"value": difference.value, **ends, "together": together, "count": difference.samples}


@dataclass(frozen=True)
class LayerRows:
    """The rows of one layer of the students.

    Attributes:
        depth: Of the layer.
        rows: A row a model and layer of the teacher, and one for each difference to the student alone.
    """

    depth: int
    rows: list[Row]


def layer_rows(
    teacher: Sequence[LayerFeatures], models: Mapping[str, Sequence[LayerFeatures]], labels: Tensor, seed: int
) -> Iterator[LayerRows]:
    """Compare every layer of each model with every layer of the teacher, layer by layer.

    Args:
        teacher: The teacher's features.
        models: Role -> features of the same pictures.
        labels: int64 (N,), true classes; -1: not known.
        seed: Of the random order.
    """
    grams = [Gram(features.values) for features in teacher]
    for depth in range(1, 1 + max(map(len, models.values()), default=0)):
        layers = {role: features[depth - 1] for role, features in models.items() if depth <= len(features)}
        yield LayerRows(depth, _rows_of_depth(teacher, grams, models, layers, (labels, seed)))


def _rows_of_depth(
    teacher: Sequence[LayerFeatures],
    grams: Sequence[Gram],
    models: Mapping[str, Sequence[LayerFeatures]],
    layers: Mapping[str, LayerFeatures],
    shuffling: tuple[Tensor, int],
) -> list[Row]:
    rows, likeness = [], {}
    for role, features in layers.items():
        gram = Gram(features.values)
        partner = _counterpart(models[role], teacher, features.layer)
        likeness[role] = [cka(teacher_gram, gram) for teacher_gram in grams]
        for other, value in zip(teacher, likeness[role], strict=True):
            is_counterpart = other.layer.depth == partner
            row = _row(role, features.layer, other.layer, is_counterpart)
            row |= interval_values(jackknife_difference(value.value, value.without_each))
            rows.append(row | (_shuffled(grams[partner - 1], gram, *shuffling) if is_counterpart else {}))
    return rows + _differences(teacher, models, layers, likeness)


def _counterpart(features: Sequence[LayerFeatures], teacher: Sequence[LayerFeatures], layer: Layer) -> int:
    return counterparts([each.layer for each in features], [each.layer for each in teacher]).get(layer.depth, 0)


def _row(role: str, layer: Layer, teacher_layer: Layer, is_counterpart: bool) -> Row:
    names = {"teacher_layer": teacher_layer.name, "layer": layer.name}
    depths = {"teacher_depth": teacher_layer.depth, "depth": layer.depth}
    return {"measure": MEASURE, "role": role, "less": "", **names, **depths, "counterpart": is_counterpart}


def _shuffled(teacher_gram: Gram, gram: Gram, labels: Tensor, seed: int) -> Row:
    """What the likeness is with pictures paired at random, among all and within their classes."""
    values = shuffled_cka(teacher_gram, gram, seed)
    row = {"shuffled": float(values.mean()), "shuffled_high": float(np.quantile(values, _OUTER))}
    is_labelled = bool((labels >= 0).all())
    return row | ({"within": within_class_cka(teacher_gram, gram, labels)} if is_labelled else {})


def _differences(
    teacher: Sequence[LayerFeatures],
    models: Mapping[str, Sequence[LayerFeatures]],
    layers: Mapping[str, LayerFeatures],
    likeness: Mapping[str, Sequence[CKA]],
) -> list[Row]:
    """The KD student less the student alone, where both have the same layers; empty without one of them.

    The last layer before the logits decides, with an interval of its own; those of all others, each with its
    counterpart, hold together.
    """
    pair = (Role.KD_STUDENT, Role.STUDENT)
    if any(role not in layers for role in pair) or not same_layers(models[pair[0]], models[pair[1]]):
        return []
    layer, count = layers[Role.KD_STUDENT].layer, len(models[Role.KD_STUDENT])
    partner = _counterpart(models[Role.KD_STUDENT], teacher, layer)
    rows = []
    for number, other in enumerate(teacher):
        is_counterpart = other.layer.depth == partner
        difference = cka_difference(likeness[Role.KD_STUDENT][number], likeness[Role.STUDENT][number])
        together = max(1, count - 1) if is_counterpart and layer.depth != last_depth(count) else 1
        row = _row(Role.KD_STUDENT, layer, other.layer, is_counterpart) | {"less": Role.STUDENT}
        rows.append(row | interval_values(difference, together))
    return rows


def last_depth(count: int) -> int:
    """Depth of the layer that decides, of ``count`` with the logits: the last before them, if there is one."""
    return max(1, count - 1)


def same_layers(first: Sequence[LayerFeatures], second: Sequence[LayerFeatures]) -> bool:
    """Whether two models have layers of the same names, as those of one network have."""
    return [each.layer for each in first] == [each.layer for each in second]
