"""Intervals of shares at the boundary: against a likelihood that is maximised by trying, and by simulated coverage."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from kdviz.metrics import median_interval, paired_means, paired_shares, score_interval

Z = norm.ppf(0.975)
TRIALS = 1500


def score_by_trying(gained: int, lost: int, samples: int, d: float) -> float:
    """The score statistic of a difference d, with the likeliest shares found on a grid of all that d allows."""
    grid = np.linspace(max(0.0, -d), min(1.0, (1 - d) / 2), 200_001)[1:-1]  # share of lost; that of gained is d more
    with np.errstate(divide="ignore", invalid="ignore"):
        likelihood = (samples - gained - lost) * np.log(1 - 2 * grid - d)
        for count, share in ((gained, grid + d), (lost, grid)):
            likelihood = likelihood + (count * np.log(share) if count else 0.0)
    q = grid[np.nanargmax(likelihood)]
    return float((gained - lost - samples * d) / np.sqrt(samples * (2 * q + d - d * d)))


@pytest.mark.parametrize(
    ("gained", "lost", "samples"), [(0, 3, 30), (7, 2, 50), (43, 78, 10_000), (12, 12, 40), (9, 0, 9)]
)
def test_the_ends_are_where_the_score_is_that_of_the_level(gained, lost, samples):
    low, high = score_interval(gained, lost, samples)
    for end, wanted in ((low, Z), (high, -Z)):
        if abs(end) < 1:
            assert score_by_trying(gained, lost, samples, end) == pytest.approx(wanted, abs=2e-3)
    assert low <= (gained - lost) / samples <= high
    assert score_interval(lost, gained, samples) == pytest.approx((-high, -low), abs=1e-9)  # the other way round


@pytest.mark.parametrize("samples", [1, 10, 30, 1000])
@pytest.mark.parametrize("level", [0.95, 0.9])
def test_without_a_sample_that_differs_there_is_still_doubt(samples, level):
    """A true loss at the end, and none seen: that happens in (1 - level) / 2 of cases at most, (1 - loss)^n."""
    right = np.ones(samples, bool)
    difference = paired_shares(right, right, level)
    assert (difference.value, difference.sample_error, difference.low) == (0, 0, -difference.high)
    assert (1 - difference.high) ** samples <= (1 - level) / 2 + 1e-12
    assert difference.interval(level) == (difference.low, difference.high)
    z = norm.ppf((1 + level) / 2)
    assert difference.high == pytest.approx(
        max(z**2 / (samples + z**2), 1 - ((1 - level) / 2) ** (1 / samples)), abs=1e-9
    )


def test_other_levels_are_those_of_the_same_counts():
    first, second = np.arange(50) < 40, (np.arange(50) < 37) | (np.arange(50) > 47)
    difference = paired_shares(first, second)
    for level in (0.5, 0.9, 0.99):
        assert difference.interval(level) == pytest.approx(score_interval(2, 3, 50, level), abs=1e-9)


@cache
def interval(gained: int, lost: int, samples: int) -> tuple[float, float]:
    return score_interval(gained, lost, samples)


@pytest.mark.parametrize("samples", [10, 30, 100, 1000])
@pytest.mark.parametrize("differ", [0.0, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("part", [0.5, 0.1, 0.0])
def test_coverage(samples, differ, part):
    """``differ``: share of samples that tell the models apart; ``part`` of them is gained.

    Counted exactly, the interval covers .932 or more, and lies above a truth below zero, which would call a worse model
    no worse, with .028 or less. Three standard errors of a simulated share p are 3 sqrt(p (1 - p) / trials).
    """
    draw = np.random.default_rng(samples + round(1000 * differ) + round(10 * part))
    shares = (differ * part, differ * (1 - part), 1 - differ)
    truth = shares[0] - shares[1]
    counts = draw.multinomial(samples, shares, TRIALS)
    ends = np.array([interval(int(gained), int(lost), samples) for gained, lost, _ in counts])
    covered = ((ends[:, 0] <= truth + 1e-12) & (truth - 1e-12 <= ends[:, 1])).mean()
    assert covered >= 0.932 - 3 * np.sqrt(0.932 * 0.068 / TRIALS)
    assert (ends[:, 0] > truth + 1e-12).mean() <= 0.028 + 3 * np.sqrt(0.028 * 0.972 / TRIALS)
    if samples * differ >= 20 and part:  # where counts are large it is no wider than it must be
        assert covered <= 0.965 + 3 * np.sqrt(0.965 * 0.035 / TRIALS)


def test_a_loss_of_just_the_margin_is_seldom_called_equal():
    """598 samples without a difference are the fewest that are called equal within .5 points: .995^598 = .0499."""
    ends = [score_interval(0, 0, samples, 0.9)[0] for samples in (597, 598)]
    assert ends[0] < -0.005 < ends[1]
    lost = np.random.default_rng(0).binomial(598, 0.005, 20_000)
    known = {count: score_interval(0, count, 598, 0.9)[0] for count in np.unique(lost).tolist()}
    called = np.mean([known[count] > -0.005 for count in lost.tolist()])
    assert called == pytest.approx(0.995**598, abs=3 * np.sqrt(0.0499 * 0.9501 / 20_000))


@pytest.mark.parametrize(("first", "second"), [(np.ones(3), np.ones(4)), (np.ones((2, 3)), np.ones((2, 3))), ([], [])])
def test_what_is_not_paired_is_refused(first, second):
    with pytest.raises(ValueError, match="two rows of samples"):
        paired_shares(np.array(first), np.array(second))


def test_the_median_has_the_ends_that_its_table_says():
    """Of 9 values the second and the eighth, of 60 the 22nd and the 39th (Conover, 1999, table A3)."""
    shuffled = np.random.default_rng(1).permutation
    assert median_interval(shuffled(np.arange(1.0, 10))) == (2, 8)
    assert median_interval(shuffled(np.arange(1.0, 61))) == (22, 39)
    assert all(np.isnan(median_interval(np.arange(5.0))))
    assert median_interval(np.arange(6.0)) == (0, 5)


def test_the_median_is_covered_whatever_the_distribution():
    draw = np.random.default_rng(2)
    ends = np.array([median_interval(values) for values in draw.lognormal(sigma=2, size=(3000, 22))])
    covered = ((ends[:, 0] <= 1) & (ends[:, 1] >= 1)).mean()
    exact = 0.98310  # 1 - 2 P(binomial(22, .5) <= 5)
    assert covered == pytest.approx(exact, abs=3 * np.sqrt(exact * (1 - exact) / 3000))


# means of several trials ----------------------------------------------------------------------------------------------


def test_where_many_samples_differ_it_is_students_interval():
    source = np.random.default_rng(3)
    first, second = (source.integers(0, 6, 4000) / 5 for _ in range(2))
    difference, usual = paired_means(first, second), ttest_1samp(second - first, 0)
    low, high = usual.confidence_interval()
    assert difference.value == pytest.approx((second - first).mean())
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=2e-5)
    assert difference.p_value == pytest.approx(usual.pvalue, abs=2e-3)


def test_where_none_differs_the_mean_has_an_interval():
    """A share of 3 / n that differs by 1 is missed in .05 of cases: the interval must reach that far."""
    same = np.full(500, 0.8)
    difference = paired_means(same, same)
    assert (difference.value, difference.p_value) == (0, 1)
    assert difference.high == -difference.low >= 3 / 500
    two = paired_means(np.zeros(2), np.ones(2))
    assert (two.low, two.high) == (-1, 1)
    with pytest.raises(ValueError, match="two samples or more"):
        paired_means(np.zeros(1), np.ones(1))


@pytest.mark.parametrize("trials", [1, 5, 60])
@pytest.mark.parametrize(("samples", "gained", "lost"), [(100, 0.02, 0.02), (500, 0.02, 0.005), (500, 0.25, 0.15)])
def test_the_interval_of_means_holds_the_truth(trials, samples, gained, lost):
    """Pictures differ in how likely they are gained or lost, so that the trials of one are alike."""
    source, repeats, held, false = np.random.default_rng([trials, samples]), 1000, 0, 0
    zeros = np.zeros(samples)
    for _ in range(repeats):
        weights = source.exponential(size=samples).clip(max=2)[:, None] / (1 - np.exp(-2))
        draws = source.random((samples, trials))
        values = (draws < gained * weights).mean(1) - (draws > 1 - lost * weights).mean(1)
        difference = paired_means(zeros, values)
        held += difference.low <= gained - lost <= difference.high
        false += difference.p_value < 0.05
    error = (0.95 * 0.05 / repeats) ** 0.5
    assert held / repeats > 0.95 - 4 * error
    if gained == lost:
        assert false / repeats < 0.05 + 4 * error
