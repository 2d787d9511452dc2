"""Agreement of maps against the noise ceiling, and the measures of predictions, each against an oracle."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import pytest
import torch
from scipy import stats

from kdviz.errors import SettingError, UnknownNameError
from kdviz.metrics import agreement, classification_metrics, inherited_errors, mcnemar
from kdviz.metrics.agreement import measures, pearson, spearman
from kdviz.metrics.predictions import expected_calibration_error

SIDE = 64
# Correlation of two independent maps of n pixels: standard error 1 / sqrt(n), here 1 / 64 = 0.016.
ERROR = 1 / SIDE


@dataclass
class Map:
    halves: np.ndarray
    target: int = 0


def fields(count: int, seed: int = 0) -> np.ndarray:
    """Independent standard normal maps, (count, H, W)."""
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))


def shared_mask_maps() -> dict[str, Map]:
    """Two models that look at different things, under the same masks: the same noise in the same half."""
    one, other, even, odd = fields(4)
    return {"one": Map(np.stack([one + even, one + odd])), "other": Map(np.stack([other + even, other + odd]))}


@pytest.mark.parametrize("measure", list(measures))
def test_equal_true_maps_with_independent_noise_agree_fully(measure):
    true, *noise = fields(5)
    maps = {
        "one": Map(np.stack([true + noise[0], true + noise[1]])),
        "other": Map(np.stack([true + noise[2], true + noise[3]])),
    }
    pair = agreement(maps, measure).between("one", "other")
    # Each half is half signal, half noise: correlation 1/2 (Spearman's is 6 / pi asin(1/4) = 0.48).
    assert pair.agreement == pytest.approx(0.5 if measure == "pearson" else 0.4826, abs=5 * ERROR)
    # An error of 1 / 64 in each of agreement and ceiling, over a ceiling of 1/2.
    assert pair.corrected == pytest.approx(1, abs=5 * np.sqrt(2) * ERROR / 0.48)


@pytest.mark.parametrize("measure", list(measures))
def test_shared_noise_is_not_agreement(measure):
    maps = shared_mask_maps()
    naive = measures[measure](maps["one"].halves[0], maps["other"].halves[0])
    assert naive > 0.4  # what comparing the same half would say
    pair = agreement(maps, measure).between("one", "other")
    # Both pairings share all four maps; each has error 1 / 64, so their mean has at most that.
    assert abs(pair.agreement) < 5 * ERROR
    assert abs(pair.corrected) < 5 * ERROR / 0.48
    assert pair.ceiling > 0.4


def test_ceilings_are_the_split_half_agreement():
    true, noise, clean = fields(3)
    maps = {
        "noisy": Map(np.stack([true + noise, true - 0.5 * noise])),
        "clean": Map(np.stack([clean, clean + 0.1 * noise])),
    }
    pair = agreement(maps).between("noisy", "clean")
    first, second = (stats.spearmanr(*(half.ravel() for half in one.halves)).statistic for one in maps.values())
    assert (pair.ceiling_first, pair.ceiling_second) == (pytest.approx(first), pytest.approx(second))
    assert pair.ceiling == pytest.approx(np.sqrt(first * second))
    across = [
        stats.spearmanr(maps["noisy"].halves[a].ravel(), maps["clean"].halves[1 - a].ravel()).statistic for a in (0, 1)
    ]
    assert pair.agreement == pytest.approx(np.mean(across))
    assert pair.corrected == pytest.approx(pair.agreement / pair.ceiling)


def test_pure_noise_has_no_corrected_agreement():
    a, b, c, d = fields(4)
    pair = agreement({"one": Map(np.stack([a, b])), "other": Map(np.stack([c, d]))}).pairs[0]
    assert pair.ceiling < 0.1
    assert np.isnan(pair.corrected)


def test_opposite_maps_disagree():
    true, *noise = fields(5)
    noisy = [sign * true + 0.1 * one for sign, one in zip((1, 1, -1, -1), noise, strict=True)]
    pair = agreement({"one": Map(np.stack(noisy[:2])), "other": Map(np.stack(noisy[2:]))}).pairs[0]
    assert pair.agreement < -0.9
    assert pair.corrected == pytest.approx(-1, abs=0.02)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_equals_scipy(ties):
    first, second = fields(2)[:, :9, :7]
    if ties:
        first, second = first.round(), second.round()
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first.ravel(), second.ravel()).statistic)
    assert pearson(first, second) == pytest.approx(stats.pearsonr(first.ravel(), second.ravel()).statistic)
    assert spearman(first, np.exp(first)) == pytest.approx(1)
    assert spearman(first, -first) == pytest.approx(-1)


@pytest.mark.parametrize("measure", list(measures))
def test_a_constant_map_agrees_with_nothing(measure):
    assert np.isnan(measures[measure](np.ones((3, 3)), fields(1)[0][:3, :3]))
    constant, a, b = np.zeros((SIDE, SIDE)), *fields(2)
    report = agreement({"dead": Map(np.stack([constant] * 2)), "other": Map(np.stack([a, a + 0.1 * b]))}, measure)
    pair = report.pairs[0]
    assert np.isnan([pair.agreement, pair.ceiling, pair.corrected]).all()
    assert report.to_json()["pairs"][0]["agreement"] is None  # JSON has no NaN


def test_the_report():
    maps = {
        role: Map(fields(2, seed), target=seed // 2) for seed, role in enumerate(("teacher", "kd_student", "student"))
    }
    report = agreement(maps, "pearson")
    assert [(pair.first, pair.second) for pair in report.pairs] == [
        ("teacher", "kd_student"),
        ("teacher", "student"),
        ("kd_student", "student"),
    ]
    assert [pair.same_target for pair in report.pairs] == [True, False, False]
    assert report.between("student", "teacher") is report.between("teacher", "student")
    table = report.table()
    assert table.num_rows == 3
    assert table["measure"].to_pylist() == ["pearson"] * 3
    assert "teacher / kd_student" in str(report)
    with pytest.raises(SettingError, match="no pair"):
        report.between("teacher", "nobody")


def test_one_map_alone_has_no_pairs():
    assert agreement({"teacher": Map(fields(2))}).pairs == ()


def test_maps_of_different_sizes_and_unknown_measures():
    maps = {"one": Map(np.zeros((2, 3, 4))), "other": Map(np.zeros((2, 4, 3)))}
    with pytest.raises(SettingError, match="different sizes"):
        agreement(maps)
    with pytest.raises(UnknownNameError, match="Did you mean 'spearman'"):
        agreement({}, "speerman")


# predictions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fixed", "broke"), [(0, 0), (1, 0), (80, 48), (5, 5), (3, 17)])
def test_mcnemar_equals_the_binomial_by_hand(fixed, broke):
    first = np.array([False] * fixed + [True] * broke + [True] * 20 + [False] * 7)
    second = np.array([True] * fixed + [False] * broke + [True] * 20 + [False] * 7)
    n = fixed + broke
    chances = [comb(n, k) / 2**n for k in range(n + 1)]
    expected = sum(one for one in chances if one <= chances[fixed] * (1 + 1e-9))
    result = mcnemar(first, second)
    assert (result.fixed, result.broke) == (fixed, broke)
    assert result.p_value == pytest.approx(min(expected, 1))


def ece_by_hand(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    total = 0.0
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            total += inside.sum() / len(labels) * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [5, 15])
def test_calibration_error_by_hand(bins):
    logits = 2 * torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 6, (500,), generator=torch.Generator().manual_seed(1))
    expected = ece_by_hand(logits.double().softmax(1).numpy(), labels.numpy(), bins)
    assert expected > 0.1
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(expected, abs=1e-5)


def test_calibration_error_of_sure_predictions():
    labels = torch.arange(10)
    right = 50.0 * torch.eye(10)
    assert expected_calibration_error(right, labels) == pytest.approx(0, abs=1e-6)
    assert expected_calibration_error(right, (labels + 1) % 10) == pytest.approx(1, abs=1e-6)


def test_classification_metrics_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    metrics = classification_metrics(logits, labels)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(np.mean([np.log1p(np.exp(-2)), np.log1p(np.exp(-1)), np.log1p(np.exp(3))]))
    assert set(metrics) == {"accuracy", "loss", "ece"}


def test_inherited_errors_by_hand():
    labels = np.array([0, 0, 0, 0, 1])
    teacher = np.array([0, 1, 2, 3, 0])  # wrong in the last four
    student = np.array([5, 1, 0, 4, 0])  # repeats the 1 and the 0; right once, wrong in another way once
    assert inherited_errors(teacher, student, labels) == 0.5
    assert np.isnan(inherited_errors(labels, student, labels))
