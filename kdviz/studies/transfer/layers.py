"""How alike the layers of each model and of its teacher are, as rows of the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kdviz.core.vocabulary import Role
from kdviz.metrics.distance_correlation import Distances
from kdviz.metrics.feature_similarity import (
    Gram,
    cka,
    cka_difference,
    jackknife_difference,
    shuffled_cka,
    within_class_cka,
)
from kdviz.studies.transfer.features import Layer, LayerFeatures
from kdviz.studies.transfer.rows import OUTER, Row, interval_values, layer_values
from kdviz.studies.transfer.scores import ScoredLayer, score_rows, teacher_relevance, truth_of
from kdviz.studies.transfer.table import CKA as MEASURE

_PAIR = (Role.KD_STUDENT, Role.STUDENT)


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


@dataclass(frozen=True)
class LayerRows:
    """The rows of one layer of the students.

    Attributes:
        depth: Of the layer; 0: the rows are about the teacher alone.
        rows: A row a model and layer of the teacher, one for each difference to the student alone, and the scores.
    """

    depth: int
    rows: list[Row]


class _ComparedLayer:
    """A layer of a model, beside the teacher's layers.

    Attributes:
        layer: Which.
        partner: Depth of the teacher's counterpart; 0: there is none.
        gram: Of its features.
        likeness: CKA with each layer of the teacher.
    """

    def __init__(self, features: LayerFeatures, partner: int, teacher: Sequence[Gram]):
        self.layer, self.partner = features.layer, partner
        self.gram = Gram(features.values)
        self.likeness = [cka(gram, self.gram) for gram in teacher]


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
    teacher_layers, grams = [each.layer for each in teacher], [Gram(each.values) for each in teacher]
    truth = truth_of(labels)
    yield LayerRows(0, teacher_relevance(teacher_layers, grams, truth))
    partners = {role: counterparts([each.layer for each in known], teacher_layers) for role, known in models.items()}
    for depth in range(1, 1 + max(map(len, models.values()), default=0)):
        layers = {
            role: _ComparedLayer(features[depth - 1], partners[role].get(depth, 0), grams)
            for role, features in models.items()
            if depth <= len(features)
        }
        rows = [row for role, layer in layers.items() for row in _cka_rows(role, layer, teacher_layers)]
        for row in rows:
            if row["counterpart"]:
                pair = grams[row["teacher_depth"] - 1], layers[row["role"]].gram
                row |= _shuffled(*pair, labels, seed)
        together = _together(models, depth)
        rows += _differences(layers, teacher_layers, together) if together else []
        yield LayerRows(depth, rows + score_rows(_scored(layers, teacher_layers, grams), truth, together, seed))


def _cka_rows(role: str, layer: _ComparedLayer, teacher_layers: Sequence[Layer]) -> list[Row]:
    return [
        {"measure": MEASURE, "role": role, "less": ""}
        | layer_values(layer.layer, other, other.depth == layer.partner)
        | interval_values(jackknife_difference(value.value, value.without_each))
        for other, value in zip(teacher_layers, layer.likeness, strict=True)
    ]


def _shuffled(teacher_gram: Gram, gram: Gram, labels: Tensor, seed: int) -> Row:
    """What the likeness is with pictures paired at random, among all and within their classes."""
    values = shuffled_cka(teacher_gram, gram, seed)
    row = {"shuffled": float(values.mean()), "shuffled_high": float(np.quantile(values, OUTER))}
    is_labelled = bool((labels >= 0).all())
    return row | ({"within": within_class_cka(teacher_gram, gram, labels)} if is_labelled else {})


def _together(models: Mapping[str, Sequence[LayerFeatures]], depth: int) -> int:
    """Number of the students' differences that hold with the one of a layer; 0: their layers are not the same.

    The last layer before the logits decides, with an interval of its own; those of all others, each with its
    counterpart, hold together.
    """
    if any(role not in models for role in _PAIR) or not same_layers(*(models[role] for role in _PAIR)):
        return 0
    count = len(models[Role.KD_STUDENT])
    return 1 if depth == last_depth(count) else max(1, count - 1)


def _differences(layers: Mapping[str, _ComparedLayer], teacher_layers: Sequence[Layer], together: int) -> list[Row]:
    """The CKA of the KD student less that of the student alone; empty where they have no such layer."""
    if any(role not in layers for role in _PAIR):
        return []
    own, alone = (layers[role] for role in _PAIR)
    rows = []
    for other, *values in zip(teacher_layers, own.likeness, alone.likeness, strict=True):
        is_counterpart = other.depth == own.partner
        row = {"measure": MEASURE, "role": Role.KD_STUDENT, "less": Role.STUDENT}
        row |= layer_values(own.layer, other, is_counterpart)
        rows.append(row | interval_values(cka_difference(*values), together if is_counterpart else 1))
    return rows


def _scored(
    layers: Mapping[str, _ComparedLayer], teacher_layers: Sequence[Layer], grams: Sequence[Gram]
) -> dict[str, ScoredLayer]:
    """Role -> the layer and its counterpart, by distances; without layers that have none."""
    partners = {layer.partner for layer in layers.values()} - {0}
    teacher = {depth: Distances(grams[depth - 1]) for depth in partners}
    return {
        role: ScoredLayer(each.layer, teacher_layers[each.partner - 1], Distances(each.gram), teacher[each.partner])
        for role, each in layers.items()
        if each.partner
    }


def last_depth(count: int) -> int:
    """Depth of the layer that decides, of ``count`` with the logits: the last before them, if there is one."""
    return max(1, count - 1)


def same_layers(first: Sequence[LayerFeatures], second: Sequence[LayerFeatures]) -> bool:
    """Whether two models have layers of the same names, as those of one network have."""
    return [each.layer for each in first] == [each.layer for each in second]
