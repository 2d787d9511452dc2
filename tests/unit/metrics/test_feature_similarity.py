"""CKA against HSIC by centring matrices, pictures left out one by one, and the coverage of its intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdviz.metrics.feature_similarity import (
    Gram,
    cka,
    cka_difference,
    jackknife_difference,
    linear_cka,
    shuffled_cka,
    within_class_cka,
)

TRIALS = 500


def u_centred(features: np.ndarray) -> np.ndarray:
    """The kernel, U-centred (Szekely and Rizzo, 2014): its inner products are the unbiased estimator, too."""
    count = len(features)
    kernel = features @ features.T
    np.fill_diagonal(kernel, 0)
    sums = kernel.sum(1)
    centred = kernel - (sums[:, None] + sums) / (count - 2) + sums.sum() / ((count - 1) * (count - 2))
    np.fill_diagonal(centred, 0)
    return centred


def cka_by_u_centring(first: np.ndarray, second: np.ndarray) -> float:
    a, b = u_centred(first), u_centred(second)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def biased_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Kornblith et al. (2019, eq. 3): tr(K H L H) with the centring matrix H."""
    centring = np.eye(len(first)) - 1 / len(first)
    kernels = [centring @ features @ features.T @ centring for features in (first, second)]
    return float(
        np.trace(kernels[0] @ kernels[1])
        / np.sqrt(np.trace(kernels[0] @ kernels[0]) * np.trace(kernels[1] @ kernels[1]))
    )


@pytest.fixture
def related():
    """Two layers of 30 pictures, the second made of the first and noise, neither centred."""
    generator = np.random.default_rng(0)
    first = generator.normal(size=(30, 7)) + 3
    return first, first @ generator.normal(size=(7, 5)) + generator.normal(size=(30, 5))


def as_tensors(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def test_cka_is_that_of_another_derivation(related):
    value = linear_cka(*as_tensors(*related))
    assert value == pytest.approx(cka_by_u_centring(*related), abs=1e-12)
    assert 0.2 < value < 0.9


@pytest.mark.slow
def test_both_estimators_meet_with_many_pictures():
    generator = np.random.default_rng(1)
    first = generator.normal(size=(1500, 4))
    second = first[:, :2] + generator.normal(size=(1500, 2))
    assert linear_cka(*as_tensors(first, second)) == pytest.approx(biased_cka(first, second), abs=5e-3)


def test_the_value_without_each_picture_is_what_one_gets_without_it(related):
    result = cka(*(Gram(features) for features in as_tensors(*related)))
    for left_out, value in enumerate(result.without_each):
        rest = [np.delete(features, left_out, axis=0) for features in related]
        assert value == pytest.approx(cka_by_u_centring(*rest), abs=1e-12)


def test_rotation_scale_and_shift_change_nothing_and_a_picture_more_or_less_does(related):
    first, second = as_tensors(*related)
    rotation = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64)).Q
    value = linear_cka(first, second)
    assert linear_cka(first, 40 * second @ rotation - 1000) == pytest.approx(value, abs=1e-8)
    assert linear_cka(first[:, :, None, None], second) == pytest.approx(value, abs=1e-12)  # maps are flattened
    assert linear_cka(first[1:], second[1:]) != pytest.approx(value, abs=1e-3)


def test_identical_layers_have_1_and_two_identical_models_differ_by_0(related):
    first, second = (Gram(features) for features in as_tensors(*related))
    own = cka(first, first)
    assert own.value == pytest.approx(1, abs=1e-12)
    assert own.without_each == pytest.approx(np.ones(30), abs=1e-12)
    difference = cka_difference(cka(first, second), cka(first, second))
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_wide_layers_without_a_relation_have_0_on_average_where_the_usual_estimator_has_much():
    generator = np.random.default_rng(2)
    pairs = [(generator.normal(size=(20, 300)), generator.normal(size=(20, 300))) for _ in range(100)]
    values = np.array([linear_cka(*as_tensors(*pair)) for pair in pairs])
    assert abs(values.mean()) < 5 * values.std(ddof=1) / 10  # five standard errors of 100 trials
    assert values.min() < 0 < values.max()
    assert min(biased_cka(*pair) for pair in pairs[:5]) > 0.8


def test_pictures_that_are_shifted_are_those_that_are_counted(related):
    first, second = as_tensors(*related)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(5))
    values = shuffled_cka(Gram(first), Gram(second), seed=5)
    shifted = [linear_cka(first[order], second[order].roll(-shift, 0)) for shift in range(1, 30)]
    assert values == pytest.approx(np.array(shifted), abs=1e-12)


def test_classes_alone_are_the_mean_over_permutations_within_them(related):
    first, second = as_tensors(*related)
    labels = torch.arange(30) % 3
    first, second = first + 4 * labels[:, None], second - 3 * labels[:, None]
    exact = within_class_cka(Gram(first), Gram(second), labels)
    generator, values = np.random.default_rng(3), []
    for _ in range(400):
        order = np.arange(30)
        for label in range(3):
            order[label::3] = generator.permutation(order[label::3])
        values.append(linear_cka(first, second[order]))
    assert exact == pytest.approx(np.mean(values), abs=5 * np.std(values) / 20)  # five standard errors
    assert exact > 0.3
    assert within_class_cka(Gram(first), Gram(second), labels * 0) == pytest.approx(0, abs=1e-12)  # no class: by chance


def test_a_layer_that_says_the_same_of_every_picture_has_none(related):
    first, _ = as_tensors(*related)
    assert np.isnan(linear_cka(first, torch.ones(30, 4)))


def test_what_cannot_be_compared_is_refused(related):
    first, second = as_tensors(*related)
    with pytest.raises(ValueError, match="same pictures"):
        linear_cka(first, second[1:])
    with pytest.raises(ValueError, match="at least 5"):
        Gram(first[:4])
    with pytest.raises(ValueError, match="finite"):
        Gram(first.clone().fill_(torch.inf))


# coverage -------------------------------------------------------------------------------------------------------------


def true_cka(first: np.ndarray, second: np.ndarray, covariance: np.ndarray) -> float:
    """Linear CKA of X = Z A and Y = Z B in the whole population: by the covariances alone."""
    crossed, *own = (a.T @ covariance @ b for a, b in ((first, second), (first, first), (second, second)))
    return float(np.square(crossed).sum() / np.sqrt(np.prod([np.square(each).sum() for each in own])))


@pytest.mark.parametrize("is_heavy", [False, True], ids=["normal noise", "noise of t with 4 degrees"])
@pytest.mark.parametrize("pictures", [20, 60])
@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(is_heavy, pictures):
    """A teacher and two students: a common part with ten classes, and noise of each one's own, more in the second."""
    generator = np.random.default_rng(4)
    common, wide = 6, 8
    base, centres = generator.normal(size=(common, wide)), generator.normal(size=(10, common))
    models = []
    for number, noise in enumerate((0.5, 1.0, 2.0)):
        mixing = np.zeros((common + 3 * wide, wide))
        mixing[:common] = base + 0.3 * generator.normal(size=(common, wide))
        mixing[common + number * wide : common + (number + 1) * wide] = noise * np.eye(wide)
        models.append(mixing)
    covariance = np.eye(common + 3 * wide) * (2.0 if is_heavy else 1.0)  # the variance of t with 4 degrees is 2
    covariance[:common, :common] = np.cov(centres.T, bias=True) + 0.2 * np.eye(common)
    truths = [true_cka(models[0], model, covariance) for model in models[1:]]
    held = np.zeros(3)
    for _ in range(TRIALS):
        classes = centres[generator.integers(10, size=pictures)] + 0.2**0.5 * generator.normal(size=(pictures, common))
        size = (pictures, 3 * wide)
        noise = generator.standard_t(4, size=size) if is_heavy else generator.normal(size=size)
        latent = np.concatenate([classes, noise], axis=1)
        teacher, *students = (Gram(torch.from_numpy(latent @ model)) for model in models)
        second, first = (cka(teacher, student) for student in students)
        estimates = [jackknife_difference(each.value, each.without_each) for each in (second, first)]
        estimates.append(cka_difference(second, first))
        pairs = zip(estimates, (*truths, truths[0] - truths[1]), strict=True)
        held += [estimate.low <= truth <= estimate.high for estimate, truth in pairs]
    # Four standard errors of a share of .95 in 500 trials are .039; the jackknife's error is a little too large.
    assert (held / TRIALS > 0.95 - 0.039).all(), held / TRIALS
    assert (held / TRIALS < 0.99).all(), held / TRIALS
