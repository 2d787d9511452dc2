"""Confusions against loops and scipy, and the coverage of the interval of a difference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr, t

from kdviz.metrics.confusions import (
    GROUPS,
    confusion_correlation,
    confusions_without_groups,
    grouped_difference,
    groups_of,
    mean_confusions,
)

TRIALS = 150


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@pytest.fixture
def answers():
    """Probabilities of two models for 400 pictures of 5 classes."""
    generator = np.random.default_rng(0)
    labels = generator.integers(5, size=400)
    shared = 3 * np.eye(5)[labels] + generator.normal(size=(5, 5))[labels] + generator.normal(size=(400, 5))
    return labels, *(softmax(shared + generator.normal(size=(400, 5))) for _ in range(2))


def test_a_cell_is_the_mean_probability_of_a_class_over_the_pictures_of_another(answers):
    labels, probabilities, _ = answers
    confusions = mean_confusions(probabilities, labels)
    for true_class in range(5):
        for other in range(5):
            mean = np.mean(
                [row[other] for row, label in zip(probabilities, labels, strict=True) if label == true_class]
            )
            assert confusions[true_class, other] == pytest.approx(mean)


def test_the_correlation_is_that_of_ranks_off_the_diagonal(answers):
    labels, *models = answers
    first, second = (mean_confusions(probabilities, labels) for probabilities in models)
    cells = [(a, b) for a in range(5) for b in range(5) if a != b]
    expected = spearmanr([first[cell] for cell in cells], [second[cell] for cell in cells]).statistic
    assert confusion_correlation(first, second) == pytest.approx(expected)
    assert confusion_correlation(first, first) == pytest.approx(1)
    np.fill_diagonal(second, 99)  # how often a model is right does not matter
    assert confusion_correlation(first, second) == pytest.approx(expected)
    assert confusion_correlation(first, np.exp(5 * second)) == pytest.approx(expected)  # nor how sure it is


def test_a_class_without_pictures_is_left_out_and_two_classes_tell_nothing(answers):
    labels, first, second = answers
    kept = labels != 2
    few = [mean_confusions(probabilities[kept], labels[kept]) for probabilities in (first, second)]
    assert np.isnan(few[0][2]).all()
    assert np.isfinite(confusion_correlation(*few))
    assert np.isnan(confusion_correlation(few[0][:2, :2], few[1][:2, :2]))
    assert np.isnan(confusion_correlation(few[0], np.full((5, 5), 0.2)))


def test_groups_take_every_class_alike():
    labels = np.repeat([0, 1, 2], [100, 43, 3])
    groups = groups_of(labels, seed=1)
    for label, count in ((0, 100), (1, 43), (2, 3)):
        sizes = np.bincount(groups[labels == label], minlength=GROUPS)
        assert sizes.max() - sizes.min() <= 1
        assert sizes.sum() == count
    assert (groups_of(labels, seed=1) == groups).all()
    assert (groups_of(labels, seed=2) != groups).any()


def test_the_interval_is_that_of_groups_left_out_one_by_one(answers):
    labels, first, second = answers
    groups = groups_of(labels)
    values = [confusions_without_groups(probabilities, labels, groups) for probabilities in (first, second)]
    difference = grouped_difference(values[0].correlations(values[1]), 0.0, 400)
    parts = []
    for group in range(GROUPS):
        kept = groups != group
        parts.append(confusion_correlation(*(mean_confusions(each[kept], labels[kept]) for each in (first, second))))
    error = np.sqrt((GROUPS - 1) ** 2 / GROUPS * np.var(parts, ddof=1))
    assert difference.sample_error == pytest.approx(error)
    half = t.ppf(0.975, GROUPS - 1) * error
    assert (difference.low, difference.high) == pytest.approx((difference.value - half, difference.value + half))
    inner = t.ppf(0.95, GROUPS - 1) * error
    assert difference.interval(0.9) == pytest.approx((difference.value - inner, difference.value + inner))


def test_a_class_of_one_picture_is_in_no_part(answers):
    labels, first, _ = answers
    labels = np.where(np.arange(400) == np.flatnonzero(labels == 4)[0], 4, np.where(labels == 4, 3, labels))
    values = confusions_without_groups(first, labels, groups_of(labels))
    assert np.isnan(values.whole[4]).all()
    assert np.isfinite(values.parts[:, :4]).all()


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [1.0, 0.25], ids=["T = 1", "T = 4"])
def test_the_interval_of_a_difference_holds_the_truth(sharpness):
    """A population of 20,000 pictures, of which 2,000 are drawn; one student is closer to the teacher."""
    generator = np.random.default_rng(3)
    population, classes = 20_000, 10
    labels = generator.integers(classes, size=population)
    shared = 6 * np.eye(classes)[labels] + generator.normal(size=(classes, classes))[labels]
    teacher = shared + 2 * generator.normal(size=(population, classes))
    students = [
        0.5 * (teacher + shared)
        + spread * generator.normal(size=(classes, classes))[labels]
        + generator.normal(size=(population, classes))
        for spread in (0.2, 0.6)
    ]
    probabilities = [softmax(sharpness * logits) for logits in (teacher, *students)]
    whole = [mean_confusions(each, labels) for each in probabilities]
    truth = confusion_correlation(whole[0], whole[1]) - confusion_correlation(whole[0], whole[2])
    assert truth > 0.02
    held = 0
    for _ in range(TRIALS):
        drawn = generator.integers(population, size=2000)
        groups = groups_of(labels[drawn])
        own, first, second = (confusions_without_groups(each[drawn], labels[drawn], groups) for each in probabilities)
        difference = grouped_difference(first.correlations(own), second.correlations(own), len(drawn))
        held += difference.low <= truth <= difference.high
    assert held / TRIALS > 0.95 - 4 * (0.05 * 0.95 / TRIALS) ** 0.5  # four standard errors
