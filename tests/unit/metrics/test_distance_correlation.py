"""Distance correlation against its definition in loops, known truths, and the coverage of its intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kdviz.metrics.distance_correlation import (
    DistanceCorrelation,
    Distances,
    class_distances,
    distance_correlation,
    partial_distance_correlation,
    partial_of,
    shuffled_distance_correlation,
)
from kdviz.metrics.feature_similarity import Gram, linear_cka

TRIALS = 300


# the definitions, entry by entry --------------------------------------------------------------------------------------


def u_centred(rows: np.ndarray) -> list[list[float]]:
    """Szekely and Rizzo (2014): each distance less the mean of its row and column, as sums over n - 2."""
    count = len(rows)
    apart = [[math.dist(first, second) for second in rows] for first in rows]
    sums = [sum(row) for row in apart]
    corner = sum(sums) / ((count - 1) * (count - 2))
    return [
        [0.0 if i == j else apart[i][j] - (sums[i] + sums[j]) / (count - 2) + corner for j in range(count)]
        for i in range(count)
    ]


def inner(first: list[list[float]], second: list[list[float]]) -> float:
    count = len(first)
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    return sum(first[i][j] * second[i][j] for i, j in pairs) / (count * (count - 3))


def beside(matrix: list[list[float]], other: list[list[float]]) -> list[list[float]]:
    """The part of a matrix that is orthogonal to another one."""
    share = inner(matrix, other) / inner(other, other)
    return [[a - share * b for a, b in zip(*rows, strict=True)] for rows in zip(matrix, other, strict=True)]


def cosine(first: list[list[float]], second: list[list[float]]) -> float:
    return inner(first, second) / math.sqrt(inner(first, first) * inner(second, second))


def by_definition(first: np.ndarray, second: np.ndarray, given: np.ndarray | None = None) -> float:
    matrices = [u_centred(rows) for rows in (first, second)]
    if given is not None:
        matrices = [beside(matrix, u_centred(given)) for matrix in matrices]
    return cosine(*matrices)


# what is tested -------------------------------------------------------------------------------------------------------


def distances(rows: np.ndarray) -> Distances:
    return Distances(Gram(torch.from_numpy(rows)))


def correlation(first: np.ndarray, second: np.ndarray) -> DistanceCorrelation:
    return distance_correlation(distances(first), distances(second))


def partial(first: np.ndarray, second: np.ndarray, given: np.ndarray) -> DistanceCorrelation:
    pairs = ((first, second), (first, given), (second, given))
    return partial_distance_correlation(*(correlation(*pair) for pair in pairs))


@pytest.fixture
def related():
    """Three layers of 24 pictures: the second is made of the first, the third of both, with noise; none is centred."""
    generator = np.random.default_rng(0)
    first = generator.normal(size=(24, 6)) + 3
    second = first @ generator.normal(size=(6, 5)) + generator.normal(size=(24, 5))
    third = np.abs(first[:, :4]) + second[:, :4] + generator.normal(size=(24, 4))
    return first, second, third


def test_values_are_those_of_the_definition(related):
    first, second, third = related
    assert correlation(first, second).value == pytest.approx(by_definition(first, second), abs=1e-12)
    assert partial(first, second, third).value == pytest.approx(by_definition(*related), abs=1e-12)
    assert 0.2 < correlation(first, second).value < 0.95
    assert abs(partial(first, second, third).value - correlation(first, second).value) > 0.05


def test_values_without_each_picture_are_what_one_gets_without_it(related):
    whole, part = correlation(*related[:2]), partial(*related)
    for left_out in (0, 7, 23):
        rest = [np.delete(rows, left_out, axis=0) for rows in related]
        assert whole.without_each[left_out] == pytest.approx(by_definition(*rest[:2]), abs=1e-12)
        assert part.without_each[left_out] == pytest.approx(by_definition(*rest), abs=1e-12)


def test_classes_are_as_far_apart_as_vectors_with_a_single_1(related):
    labels = np.arange(24) % 4
    value = distance_correlation(distances(related[0]), class_distances(torch.from_numpy(labels))).value
    assert value == pytest.approx(by_definition(related[0], np.eye(4)[labels]), abs=1e-12)


def test_the_authors_semipartial_correlation_is_lower_by_what_the_docstring_says(related):
    first, second, third = related
    theirs = cosine(beside(u_centred(first), u_centred(third)), u_centred(second))
    shrunk = math.sqrt(1 - correlation(second, third).value ** 2)
    assert theirs == pytest.approx(partial(first, second, third).value * shrunk, abs=1e-12)


def test_the_same_features_have_1_up_to_rotation_scale_and_shift(related):
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6))).Q
    assert correlation(related[0], 40 * related[0] @ rotation - 1000).value == pytest.approx(1, abs=1e-9)


def test_nothing_is_left_of_features_beside_themselves(related):
    first, second, _ = related
    for parts in ((first, second, first), (first, second, second)):
        result = partial(*parts)
        assert result.value == 0
        assert (result.without_each == 0).all()
    assert partial_of(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 0.0).tolist() == [0, 0.5]


def test_wide_features_without_a_relation_have_0_on_average_where_the_biased_estimator_has_much():
    generator = np.random.default_rng(2)
    triples = [generator.normal(size=(3, 20, 300)) for _ in range(100)]
    for values in ([correlation(*each[:2]).value for each in triples], [partial(*each).value for each in triples]):
        assert abs(np.mean(values)) < 5 * np.std(values, ddof=1) / 10  # five standard errors of 100 trials
        assert min(values) < 0 < max(values)
    of_norm_1 = [each / np.linalg.norm(each, axis=2, keepdims=True) for each in triples[:5]]
    assert min(population(each[0], each[1]) for each in of_norm_1) > 0.8  # as of a sample: biased


def test_a_relation_that_is_not_linear_counts_and_cka_does_not_see_it():
    generator = np.random.default_rng(3)
    angles = generator.uniform(0, 2 * np.pi, size=1500)
    circle, folded = np.stack([np.cos(angles), np.sin(angles)], 1), np.cos(4 * angles)[:, None]
    assert abs(linear_cka(torch.from_numpy(circle), torch.from_numpy(folded))) < 0.01
    x = generator.normal(size=(1500, 1))
    assert correlation(x, x**2).value > 0.15
    assert linear_cka(torch.from_numpy(x), torch.from_numpy(x**2)) < 0.02


def test_pictures_paired_at_random_are_those_that_are_counted(related):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(5)).numpy()
    first, second, third = (rows[order] for rows in related)
    shifted = [np.roll(second, -shift, 0) for shift in (1, 11, 23)]
    both, given = (
        shuffled_distance_correlation(distances(rows), distances(related[1]), seed=5)
        for rows in (related[0], related[2])
    )
    assert both[[0, 10, 22]] == pytest.approx([correlation(first, each).value for each in shifted], abs=1e-12)
    parts = partial_of(both, correlation(first, third).value, given)
    assert parts[[0, 10, 22]] == pytest.approx([partial(first, each, third).value for each in shifted], abs=1e-12)


def test_what_cannot_be_compared_says_so(related):
    assert np.isnan(correlation(related[0], np.ones((24, 3))).value)
    with pytest.raises(ValueError, match="same pictures"):
        correlation(related[0], related[1][1:])


# coverage -------------------------------------------------------------------------------------------------------------


def population(first: np.ndarray, second: np.ndarray) -> float:
    """Of a population of finitely many pictures, each as likely: their distances doubly centred, all pairs counted."""
    matrices = []
    for rows in (first, second):
        apart = np.sqrt(np.square(rows[:, None] - rows).sum(-1))
        matrices.append(apart - apart.mean(0) - apart.mean(1)[:, None] + apart.mean())
    a, b = matrices
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


@pytest.mark.parametrize("is_heavy", [False, True], ids=["normal noise", "noise of t with 4 degrees"])
@pytest.mark.parametrize("pictures", [30, 80])
def test_intervals_hold_the_truth_as_often_as_they_say(is_heavy, pictures):
    """A teacher, a KD student that has some of its noise, and a student alone; pictures of a population of 400."""
    generator = np.random.default_rng(4)
    labels, centres = generator.integers(10, size=400), generator.normal(size=(10, 6))
    common = (centres[labels] + 0.45 * generator.normal(size=(400, 6))) @ generator.normal(size=(6, 8))
    noise = generator.standard_t(4, size=(3, 400, 8)) if is_heavy else generator.normal(size=(3, 400, 8))
    teacher, student = common + 0.5 * noise[0], common + 2 * noise[1]
    kd_student = common + 0.25 * noise[0] + noise[2]
    truths = scores({"kd": kd_student, "alone": student}, (teacher, np.eye(10)[labels]), population, partial_of)
    held = dict.fromkeys([*truths, *(f"less {name}" for name in truths if name.startswith("kd"))], 0)
    for _ in range(TRIALS):
        chosen = generator.integers(400, size=pictures)
        models = {"kd": distances(kd_student[chosen]), "alone": distances(student[chosen])}
        targets = distances(teacher[chosen]), class_distances(torch.from_numpy(labels[chosen]))
        found = scores(models, targets, distance_correlation, partial_distance_correlation)
        for name, truth in truths.items():
            interval = found[name].interval()
            held[name] += interval.low <= truth <= interval.high
            if name.startswith("kd"):
                other = name.replace("kd", "alone")
                interval = found[name].less(found[other])
                held[f"less {name}"] += interval.low <= truth - truths[other] <= interval.high
    shares = np.array(list(held.values())) / TRIALS
    # Four standard errors of a share of .95 in 300 trials are .05; the jackknife's error is a little too large.
    assert (shares > 0.95 - 0.05).all(), held
    assert (shares < 0.995).all(), held


def test_unrelated_features_are_rarely_called_related():
    generator = np.random.default_rng(6)
    called = np.zeros(2)
    for _ in range(200):
        first, given = (distances(generator.normal(size=(40, 8))) for _ in range(2))
        classes = class_distances(torch.from_numpy(generator.integers(10, size=40)))
        whole, *others = (distance_correlation(*pair) for pair in ((first, classes), (first, given), (given, classes)))
        called += [each.interval().low > 0 for each in (whole, partial_distance_correlation(whole, *others))]
    assert (called / 200 < 0.025 + 4 * 0.011).all(), called  # four standard errors of a share of .025 in 200 trials


def scores(models, targets, correlate, partial_correlate):
    """Every score of two models: with each target, and the same beyond the other model."""
    between = correlate(*models.values())
    own = {
        (name, number): correlate(model, target)
        for name, model in models.items()
        for number, target in enumerate(targets)
    }
    beyond = {
        f"{name} beyond {number}": partial_correlate(value, between, own[{"kd": "alone", "alone": "kd"}[name], number])
        for (name, number), value in own.items()
    }
    return {f"{name} {number}": value for (name, number), value in own.items()} | beyond
