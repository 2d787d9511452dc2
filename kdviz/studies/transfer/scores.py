"""UniCAM's feature similarity and relevance scores of a layer, and what is unique to each student, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kdviz.core.vocabulary import Role
from kdviz.metrics.distance_correlation import (
    DistanceCorrelation,
    Distances,
    class_distances,
    distance_correlation,
    partial_distance_correlation,
    partial_of,
    shuffled_distance_correlation,
)
from kdviz.metrics.feature_similarity import Gram, within_class_cka
from kdviz.studies.transfer.features import Layer
from kdviz.studies.transfer.rows import OUTER, Row, interval_values, layer_values
from kdviz.studies.transfer.table import RELEVANCE, SIMILARITY, UNIQUE

_PAIR = (Role.KD_STUDENT, Role.STUDENT)


@dataclass(frozen=True, eq=False)  # compared by identity: tensors have no truth value
class ScoredLayer:
    """A layer of a model, with its counterpart in the teacher.

    Attributes:
        layer, teacher_layer: Which.
        distances, teacher: Between the same pictures.
    """

    layer: Layer
    teacher_layer: Layer
    distances: Distances
    teacher: Distances


@dataclass(frozen=True, eq=False)
class Truth:
    """The true classes, with which relevance is.

    Attributes:
        labels: int64 (N,).
        distances: Between them.
    """

    labels: Tensor
    distances: Distances


def truth_of(labels: Tensor) -> Truth | None:
    """The true classes; None: some are not known (-1), or all are the same."""
    is_known = bool((labels >= 0).all()) and len(labels.unique()) > 1
    return Truth(labels, class_distances(labels)) if is_known else None


@dataclass(frozen=True)
class _Score:
    """A score of a model, and what it is with pictures paired at random, float64 (N - 1,)."""

    measure: str
    role: str
    correlation: DistanceCorrelation
    shuffled: np.ndarray


def score_rows(layers: Mapping[str, ScoredLayer], truth: Truth | None, together: int, seed: int) -> list[Row]:
    """Rows of one layer: the scores of each model, those of each student beyond the other, and their differences.

    Args:
        layers: Role -> the layer.
        truth: The true classes; None: no relevance.
        together: Number of differences of the students whose intervals hold at once; 0: they have other layers.
        seed: Of the random order.

    Returns:
        Without scores that are not finite, of layers that say the same of every picture.
    """
    scores = [score for role, layer in layers.items() for score in _scores_of(role, layer, truth, seed)]
    is_pair = together > 0 and all(role in layers for role in _PAIR)
    if is_pair:
        scores += _unique_scores(layers, scores)
    rows = [_row(score, layers[score.role], truth) for score in scores]
    if is_pair:
        rows += _differences(layers[Role.KD_STUDENT], scores, together)
    return [row for row in rows if np.isfinite(row["value"])]


def _scores_of(role: str, layer: ScoredLayer, truth: Truth | None, seed: int) -> list[_Score]:
    targets = {SIMILARITY: layer.teacher} | ({} if truth is None else {RELEVANCE: truth.distances})
    return [
        _Score(
            measure,
            role,
            distance_correlation(layer.distances, target),
            shuffled_distance_correlation(layer.distances, target, seed),
        )
        for measure, target in targets.items()
    ]


def _unique_scores(layers: Mapping[str, ScoredLayer], scores: Sequence[_Score]) -> list[_Score]:
    """The scores of each student's features with those of the other one partialled out."""
    known = {(score.measure, score.role): score for score in scores}
    between = distance_correlation(*(layers[role].distances for role in _PAIR))
    parts = []
    for measure, unique in UNIQUE.items():
        for role, other in (_PAIR, _PAIR[::-1]):
            if (measure, role) not in known:
                continue
            own, given = known[measure, role], known[measure, other]
            correlation = partial_distance_correlation(own.correlation, between, given.correlation)
            parts.append(_Score(unique, role, correlation, partial_of(own.shuffled, between.value, given.shuffled)))
    return parts


def _row(score: _Score, layer: ScoredLayer, truth: Truth | None) -> Row:
    row = {"measure": score.measure, "role": score.role, "less": "", **layer_values(layer.layer, layer.teacher_layer)}
    row |= interval_values(score.correlation.interval())
    row |= {"shuffled": float(score.shuffled.mean()), "shuffled_high": float(np.quantile(score.shuffled, OUTER))}
    if score.measure == SIMILARITY and truth is not None:
        row["within"] = within_class_cka(layer.teacher, layer.distances, truth.labels)
    return row


def _differences(layer: ScoredLayer, scores: Sequence[_Score], together: int) -> list[Row]:
    """The KD student's scores less those of the student alone."""
    known = {(score.measure, score.role): score.correlation for score in scores}
    place = {"role": Role.KD_STUDENT, "less": Role.STUDENT, **layer_values(layer.layer, layer.teacher_layer)}
    return [
        {"measure": measure, **place}
        | interval_values(known[measure, Role.KD_STUDENT].less(known[measure, Role.STUDENT]), together)
        for measure in dict.fromkeys(score.measure for score in scores)
    ]


def teacher_relevance(layers: Sequence[Layer], grams: Sequence[Gram], truth: Truth | None) -> list[Row]:
    """Rows of the teacher's own relevance, by layer; empty without the true classes."""
    if truth is None:
        return []
    rows = []
    for layer, gram in zip(layers, grams, strict=True):
        correlation = distance_correlation(Distances(gram), truth.distances)
        place = {"measure": RELEVANCE, "role": Role.TEACHER, "less": "", **layer_values(layer, layer)}
        rows.append(place | interval_values(correlation.interval()))
    return [row for row in rows if np.isfinite(row["value"])]
