"""The interval of a difference over seeds and samples: how often it holds the truth, and how wide it is for that."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from kdviz.metrics import paired_difference

TRIALS, SAMPLES = 3000, 400


def simulated(seeds: int, of_seed: float, of_sample: float, of_both: float, truth: float = 0.3, trials: int = TRIALS):
    """Differences d = truth + a_seed + b_sample + e, crossed random effects; and the mean's true standard error."""
    random = np.random.default_rng(seeds)
    for _ in range(trials):
        by_seed, by_sample = (random.normal(size=shape) for shape in ((seeds, 1), (1, SAMPLES)))
        pairs = random.normal(size=(seeds, SAMPLES))
        yield truth + of_seed * by_seed + of_sample * by_sample + of_both * pairs


def true_error(seeds: int, of_seed: float, of_sample: float, of_both: float) -> float:
    return math.sqrt(of_seed**2 / seeds + of_sample**2 / SAMPLES + of_both**2 / (seeds * SAMPLES))


EFFECTS = {
    "samples": (0.0, 1.0, 0.5),
    "both": (0.05, 1.0, 0.5),
    "seeds": (0.2, 0.5, 0.5),
    "pairs": (0.02, 0.1, 1.0),
}


@pytest.mark.parametrize("seeds", [3, 4, 5])
@pytest.mark.parametrize("effects", EFFECTS.values(), ids=EFFECTS)
def test_the_interval_holds_the_truth_often_enough(seeds, effects):
    trials = 1000
    found = [paired_difference(np.zeros_like(d), d) for d in simulated(seeds, *effects, trials=trials)]
    covered = np.mean([one.low <= 0.3 <= one.high for one in found])
    # The level is .95; Welch's and Satterthwaite's degrees of freedom may cost .02. Five standard errors of a share.
    assert covered >= 0.93 - 5 * math.sqrt(0.93 * 0.07 / trials)
    # And it is not bought with width. An oracle that knows the error of the mean gives 1.96 of it; with S seeds one
    # pays up to t(S - 1) for not knowing it, and counting the pairs twice at most sqrt(2).
    half = np.median([(one.high - one.low) / 2 for one in found])
    widest = math.sqrt(2) * stats.t.ppf(0.975, seeds - 1)
    assert 1.8 <= half / true_error(seeds, *effects) <= 1.05 * widest


def test_right_and_wrong_answers_of_equal_models_differ_by_chance():
    # Bernoulli answers as in a study: a sample is easy or hard, and a seed is lucky or not, for both models.
    random, trials, seeds = np.random.default_rng(7), 1000, 4
    excluded = 0
    for _ in range(trials):
        hard = random.normal(2, 2, size=(1, SAMPLES))
        first, second = (
            random.random((seeds, SAMPLES)) < expit(hard + random.normal(0, 0.3, (seeds, 1))) for _ in range(2)
        )
        excluded += paired_difference(first, second).excludes_zero
    assert excluded / trials <= 0.07 + 5 * math.sqrt(0.07 * 0.93 / trials)


def test_a_real_difference_is_found():
    random, found = np.random.default_rng(3), 0
    for _ in range(100):
        first = random.random((3, 2000)) < 0.80
        second = first | (random.random((3, 2000)) < 0.25)  # right on a quarter of what the first gets wrong
        one = paired_difference(first, second)
        found += one.low > 0
        assert one.value == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / 6000))
    assert found == 100


@pytest.fixture
def tables():
    random = np.random.default_rng(0)
    return random.random((4, 50)) < 0.7, random.random((4, 50)) < 0.8


def test_by_hand(tables):
    # The formula of the docstring, in sums.
    first, second = (table.astype(float) for table in tables)
    seeds, samples = first.shape
    mean = sum(second[s, n] - first[s, n] for s in range(seeds) for n in range(samples)) / (seeds * samples)
    rows = [sum(second[s, n] - first[s, n] for n in range(samples)) / samples for s in range(seeds)]
    columns = [sum(second[s, n] - first[s, n] for s in range(seeds)) / seeds for n in range(samples)]
    by_seed = sum((row - mean) ** 2 for row in rows) / (seeds - 1) / seeds
    by_sample = sum((column - mean) ** 2 for column in columns) / (samples - 1) / samples
    freedom = (by_seed + by_sample) ** 2 / (by_seed**2 / (seeds - 1) + by_sample**2 / (samples - 1))
    half = stats.t.ppf(0.975, freedom) * math.sqrt(by_seed + by_sample)
    found = paired_difference(*tables)
    assert (found.seeds, found.samples) == (4, 50)
    assert found.value == pytest.approx(mean)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half))
    assert (found.seed_error, found.sample_error) == pytest.approx((math.sqrt(by_seed), math.sqrt(by_sample)))


def test_it_is_the_same_in_both_directions(tables):
    one, other = paired_difference(*tables), paired_difference(*tables[::-1])
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert (one.seed_error, one.sample_error) == (other.seed_error, other.sample_error)


def test_the_order_of_seeds_and_samples_does_not_matter(tables):
    random = np.random.default_rng(1)
    rows, columns = random.permutation(4), random.permutation(50)
    shuffled = paired_difference(*(table[rows][:, columns] for table in tables))
    assert (shuffled.low, shuffled.high) == pytest.approx(
        (paired_difference(*tables).low, paired_difference(*tables).high)
    )


def test_when_samples_alone_vary_it_is_the_paired_t_test():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 60))
    wanted = stats.ttest_rel(second, first).confidence_interval(0.95)
    for seeds in (1, 5):  # the seeds agree on every sample
        found = paired_difference(np.tile(first, (seeds, 1)), np.tile(second, (seeds, 1)))
        assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_when_seeds_alone_vary_it_is_the_paired_t_test():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 6))
    wanted = stats.ttest_rel(second, first).confidence_interval(0.9)
    found = paired_difference(np.tile(first[:, None], 40), np.tile(second[:, None], 40), level=0.9)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_one_seed_says_nothing_about_seeds(tables):
    found = paired_difference(tables[0][:1], tables[1][:1])
    assert math.isnan(found.seed_error)
    assert math.isfinite(found.low)
    assert found.seeds == 1


def test_equal_answers_have_no_interval(tables):
    found = paired_difference(tables[0], tables[0])
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.excludes_zero


def test_a_higher_level_is_wider(tables):
    narrow, wide = (paired_difference(*tables, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("shapes", [((3, 5), (3, 6)), ((3, 5), (2, 5)), ((5,), (5,)), ((3, 1), (3, 1))], ids=str)
def test_what_is_no_pair_of_tables(shapes):
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(*(np.zeros(shape) for shape in shapes))
