"""The interval of a difference over seeds and samples: how often it holds the truth, and how wide it is for that."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from kdviz.metrics import holm, interval_of, p_value_of, paired_difference, simultaneous_intervals, simultaneous_level
from kdviz.metrics.uncertainty import crossed_variances, half_width, p_value_above, shared_variance

SAMPLES = 400
SEEDS, RATIOS = [2, 3, 5], [0.03, 0.3, 1.0, 3.0, 30.0]


def binomial_error(share: float, trials: int) -> float:
    return math.sqrt(share * (1 - share) / trials)


def welch(parts) -> np.ndarray:
    """Half of the 95 % interval as it was made before: Welch's and Satterthwaite's degrees, and no more."""
    variance = sum(part for part, _ in parts)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    return stats.t.ppf(0.975, freedom) * np.sqrt(variance)


def drawn(seeds: int, ratio: float, trials: int = 20_000):
    """Errors of the mean and the variances that go with them, of normal data: by the laws of both, no table is made.

    The samples' variance of the mean is 1, the seeds' is ``ratio``.
    """
    random = np.random.default_rng([seeds, int(100 * ratio)])
    by_seed = ratio * random.chisquare(seeds - 1, trials) / (seeds - 1)
    by_sample = random.chisquare(SAMPLES - 1, trials) / (SAMPLES - 1)
    return random.normal(0, math.sqrt(1 + ratio), trials), [(by_sample, SAMPLES - 1), (by_seed, seeds - 1)]


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_holds_the_truth_often_enough(seeds, ratio):
    error, parts = drawn(seeds, ratio)
    half = half_width(parts)
    covered = np.mean(np.abs(error) <= half)
    # Asked: .94 to .97. Four standard errors of a share over 20,000 trials are .0067 at .94 and .0048 at .97.
    assert 0.94 - 4 * binomial_error(0.94, len(error)) <= covered <= 0.97 + 4 * binomial_error(0.97, len(error))
    # The test can tell: what was before covers too little where seeds matter.
    if seeds < 5 and ratio >= 3:
        assert np.mean(np.abs(error) <= welch(parts)) < 0.94 - 4 * binomial_error(0.94, len(error))
    # And it is not bought with width. Who knew the error would have 1.96 of it; who has seen S seeds has at most t.
    width = np.median(half) / math.sqrt(1 + ratio)
    assert 0.95 * 1.96 <= width <= 1.02 * stats.t.ppf(0.975, seeds - 1)
    if ratio <= 0.03:
        assert width <= 1.05 * 1.96


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_the_interval_of_two_one_sided_tests_holds_its_level(seeds, ratio):
    error, parts = drawn(seeds, ratio)
    half = half_width(parts, 0.9)
    # Each side errs in 5 %; with two seeds it is more careful. Four standard errors of .05 over 20,000 are .0062.
    for missed in (np.mean(error > half), np.mean(error < -half)):
        assert missed <= 0.055 + 4 * binomial_error(0.055, len(error))
        assert missed >= (0.03 if seeds == 2 else 0.045) - 4 * binomial_error(0.05, len(error))


@pytest.mark.parametrize("seeds", SEEDS)
def test_it_is_never_narrower_than_over_seeds_or_samples_alone(seeds):
    for ratio in RATIOS:
        _, (samples, own) = drawn(seeds, ratio, 2000)
        half = half_width([samples, own])
        assert np.all(half >= half_width([samples]))
        least = 1.0 if seeds > 2 else 0.95  # of two seeds .05 of the samples' variance is taken away
        bound = half_width([own]) ** 2 - (1 - least) * stats.t.ppf(0.975, seeds - 1) ** 2 * samples[0]
        assert np.all(half >= np.sqrt(np.maximum(bound, 0)) * (1 - 1e-9))


def test_three_sources():
    """Few of two kinds and many of a third: the rule does not need to know which matters."""
    random, trials = np.random.default_rng(3), 20_000
    for variances in ((1.0, 1.0, 1.0), (0.1, 1.0, 1.0), (3.0, 0.3, 0.3), (0.03, 3.0, 1.0), (0.0, 0.0, 1.0)):
        parts = [(v * random.chisquare(d, trials) / d, d) for v, d in zip(variances, (2, 6, 600), strict=True)]
        error = random.normal(0, math.sqrt(sum(variances)), trials)
        covered = np.mean(np.abs(error) <= half_width(parts))
        assert 0.94 - 4 * binomial_error(0.94, trials) <= covered <= 0.97 + 4 * binomial_error(0.97, trials)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seeds", SEEDS)
@pytest.mark.parametrize("both", [0.25, 0.5, 0.95])
def test_what_seeds_and_samples_cause_together_counts_once(seeds, ratio, both):
    """Of the samples' variance, 1, so much is that of single pairs, which is in the seeds' variance too."""
    random, trials = np.random.default_rng([seeds, int(100 * both)]), 20_000
    by_seed = (ratio + both) * random.chisquare(seeds - 1, trials) / (seeds - 1)
    by_sample = random.chisquare(SAMPLES - 1, trials) / (SAMPLES - 1)
    shared = both * random.chisquare((SAMPLES - 1) * (seeds - 1), trials) / ((SAMPLES - 1) * (seeds - 1))
    parts = [(by_sample, SAMPLES - 1), (by_seed, seeds - 1)]
    error = random.normal(0, math.sqrt(1 + ratio), trials)
    covered = np.mean(np.abs(error) <= half_width(parts, shared=shared))
    # With two seeds the part of the seeds has a t of 12.7, and covers more wherever it has a say.
    most = 0.986 if seeds == 2 else 0.976
    assert 0.94 - 4 * binomial_error(0.94, trials) <= covered <= most + 4 * binomial_error(most, trials)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seeds", SEEDS)
def test_right_and_wrong_answers_hold_it_too(seeds, ratio):
    """Both models have each sample's taste of their own (right in .25 or .75) and each seed's luck (uniform)."""
    random, trials, samples = np.random.default_rng([7, seeds]), 500, 1000
    # Var over samples of the mean: 2 * .25^2 of taste, and 2 * (.75 * .25) / S of single answers, by N.
    by_sample = (2 * 0.25**2 + 2 * 0.75 * 0.25 / seeds) / samples
    luck = math.sqrt(3 * ratio * by_sample * seeds / 2)  # half of a uniform's width; luck^2 / 3 is its variance
    assert luck < 0.25  # else a probability would leave [0, 1]

    def answers():
        taste = 0.5 + 0.25 * random.choice([-1, 1], (trials, 1, samples))
        return random.random((trials, seeds, samples)) < taste + random.uniform(-luck, luck, (trials, seeds, 1))

    difference = answers().astype(np.float32) - answers()
    by_seed, by_sample, shared = crossed_variances(difference, 4.0)
    half = half_width([(by_sample, samples - 1), (by_seed, seeds - 1)], shared=shared)
    covered = np.mean(np.abs(difference.mean((-1, -2))) <= half)
    # Half of the samples' variance is that of single answers, and with two seeds that covers more; see the module.
    most = 0.985 if seeds == 2 else 0.98
    assert 0.94 - 4 * binomial_error(0.94, trials) <= covered <= most + 4 * binomial_error(most, trials)


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
    assert excluded / trials <= 0.06 + 4 * binomial_error(0.06, trials)


def test_a_real_difference_is_found():
    random, detected = np.random.default_rng(3), 0
    for _ in range(100):
        first = random.random((3, 2000)) < 0.80
        second = first | (random.random((3, 2000)) < 0.25)  # right on a quarter of what the first gets wrong
        difference = paired_difference(first, second)
        detected += difference.low > 0
        assert difference.value == pytest.approx(0.05, abs=5 * math.sqrt(0.05 * 0.95 / 6000))
    assert detected == 100


@pytest.fixture
def tables():
    random = np.random.default_rng(0)
    return random.random((4, 50)) < 0.7, random.random((4, 50)) < 0.8


def test_by_hand(tables):
    # The formulas of the docstrings, in sums.
    first, second = (table.astype(float) for table in tables)
    seeds, samples = first.shape
    apart = [[second[s, n] - first[s, n] for n in range(samples)] for s in range(seeds)]
    mean = sum(map(sum, apart)) / (seeds * samples)
    rows = [sum(row) / samples for row in apart]
    columns = [sum(row[n] for row in apart) / seeds for n in range(samples)]
    by_seed = sum((row - mean) ** 2 for row in rows) / (seeds - 1) / seeds
    # Answers: 4 is added to the sum of squares.
    by_sample = (sum((column - mean) ** 2 for column in columns) + 4) / (samples - 1) / samples
    rest = sum((apart[s][n] - rows[s] - columns[n] + mean) ** 2 for s in range(seeds) for n in range(samples))
    shared = rest / ((seeds - 1) * (samples - 1)) / (seeds * samples)
    difference = paired_difference(*tables)
    assert (difference.seeds, difference.samples) == (4, 50)
    assert difference.value == pytest.approx(mean)
    assert (difference.seed_error, difference.sample_error) == pytest.approx((math.sqrt(by_seed), math.sqrt(by_sample)))
    assert difference.shared == pytest.approx(shared)
    beyond = max(by_seed - shared, 0)
    total = beyond + by_sample
    freedom = total**2 / (beyond**2 / (seeds - 1) + by_sample**2 / (samples - 1))
    halves = [
        stats.t.ppf(0.975, freedom) * math.sqrt(total),
        stats.t.ppf(0.975, samples - 1) * math.sqrt(by_sample),
        stats.t.ppf(0.975, seeds - 1) * math.sqrt(by_seed)
        if by_seed / shared > stats.chi2.ppf(0.45, seeds - 1) / (seeds - 1)
        else 0.0,
    ]
    assert (difference.low, difference.high) == pytest.approx((mean - max(halves), mean + max(halves)))


def test_variances_of_a_table_with_known_effects():
    """The means of the three are those of the effects that are planted: d = a_seed + b_sample + e."""
    random, seeds, samples, trials = np.random.default_rng(4), 3, 50, 3000
    own, other, both = (random.normal(size=(trials, *shape)) for shape in ((3, 1), (1, 50), (3, 50)))
    variances = crossed_variances(0.2 * own + 1.0 * other + 0.5 * both)
    wanted = 0.04 / seeds + 0.25 / (seeds * samples), 1 / samples + 0.25 / (seeds * samples), 0.25 / (seeds * samples)
    for estimates, true in zip(variances, wanted, strict=True):
        assert estimates.mean() == pytest.approx(true, abs=5 * estimates.std() / math.sqrt(trials))


def test_what_is_shared_is_found_by_a_bootstrap_too():
    random, seeds, samples = np.random.default_rng(6), 4, 300
    table = random.normal(size=(1, samples)) + 0.7 * random.normal(size=(seeds, samples))
    counts = random.multinomial(samples, [1 / samples] * samples, 4000)
    replicates = counts @ table.T / samples
    # A variance from 4,000 draws is known to sqrt(2 / 4000) = 2 %; the bootstrap's own is (N - 1) / N of the other.
    assert shared_variance(replicates) == pytest.approx(float(crossed_variances(table)[2]), rel=0.1)
    assert shared_variance(replicates[:, :1]) == 0.0


def test_it_is_the_same_in_both_directions(tables):
    forwards, backwards = paired_difference(*tables), paired_difference(*tables[::-1])
    assert (forwards.value, forwards.low, forwards.high) == pytest.approx(
        (-backwards.value, -backwards.high, -backwards.low)
    )
    assert (forwards.seed_error, forwards.sample_error) == (backwards.seed_error, backwards.sample_error)


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
        difference = paired_difference(np.tile(first, (seeds, 1)), np.tile(second, (seeds, 1)))
        assert (difference.low, difference.high) == pytest.approx((wanted.low, wanted.high))


def test_when_seeds_alone_vary_it_is_the_paired_t_test():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 6))
    wanted = stats.ttest_rel(second, first).confidence_interval(0.9)
    difference = paired_difference(np.tile(first[:, None], 40), np.tile(second[:, None], 40), level=0.9)
    assert (difference.low, difference.high) == pytest.approx((wanted.low, wanted.high))


def test_one_seed_says_nothing_about_seeds(tables):
    difference = paired_difference(tables[0][:1], tables[1][:1])
    assert math.isnan(difference.seed_error)
    assert math.isfinite(difference.low)
    assert difference.seeds == 1


def test_equal_numbers_have_no_interval(tables):
    difference = paired_difference(tables[0].astype(float), tables[0].astype(float))
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0.0, 0.0, 0.0, 1.0)
    assert not difference.excludes_zero


@pytest.mark.parametrize("samples", [30, 300, 3000])
def test_answers_that_never_differ_may_differ_on_the_next_sample(samples):
    same = np.ones((1, samples), bool)
    low, high = paired_difference(same, same).interval(0.9)
    exact = 1 - 0.05 ** (1 / samples)  # the largest rate at which no difference in all samples has a chance of .05
    assert exact <= high == -low <= 1.25 * exact


@pytest.mark.parametrize("fixed", [1, 3, 6, 10])
def test_few_answers_that_differ_are_judged_about_as_by_the_exact_test(fixed):
    first = np.ones((1, 2000), bool)
    second = first.copy()
    second[0, :fixed] = False
    exact = 2 * 0.5**fixed  # McNemar's, of fixed to none
    difference = paired_difference(first, second)
    assert exact / 3 <= difference.p_value
    assert (difference.p_value < 0.05) == (fixed > 6)


def test_a_higher_level_is_wider(tables):
    narrow, wide = (paired_difference(*tables, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize("shapes", [((3, 5), (3, 6)), ((3, 5), (2, 5)), ((5,), (5,)), ((3, 1), (3, 1))], ids=str)
def test_what_is_no_pair_of_tables(shapes):
    with pytest.raises(ValueError, match="one shape"):
        paired_difference(*(np.zeros(shape) for shape in shapes))


def test_a_p_value_is_the_level_at_which_zero_is_just_left_out(tables):
    for seeds in (1, 2, 4):
        difference = paired_difference(tables[0][:seeds], tables[1][:seeds])
        low, high = difference.interval(1 - difference.p_value)
        assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)


def test_a_p_value_and_an_interval_agree_at_every_level():
    """Where seeds differ less than what is shared explains, their part is left out at some levels and not at others."""
    for by_seed in (0.0, 0.001, 0.01, 0.1, 0.6, 1.0, 4.0):
        for value in (0.5, 1.5, 2.0, 3.0, 6.0, 30.0):
            parts = [(1.0, 500), (by_seed, 2)]
            p_value = p_value_of(value, parts, 1.0)
            for alpha in (0.2, 0.05, 0.0125, 1e-3, 1e-5):
                low, _ = interval_of(value, parts, 1 - alpha, 1.0)
                assert (low > 0) == (p_value < alpha)


def test_what_is_not_known_is_left_out():
    parts = [(0.04, 99), (float("nan"), 1)]
    half = stats.t.ppf(0.975, 99) * 0.2
    assert interval_of(1.0, parts) == pytest.approx((1 - half, 1 + half))
    assert p_value_of(half, parts) == pytest.approx(0.05)
    assert interval_of(1.0, []) == (1.0, 1.0)


def test_without_any_variance_a_value_is_certain():
    assert p_value_of(1.0, [(0.0, 3)]) == 0.0
    assert p_value_of(0.0, [(0.0, 3)]) == 1.0
    assert p_value_of(-1.0, []) == 0.0


def test_several_at_once():
    """By hand: Holm, 1979; and the share of sets of four intervals of which one misses is 5 % at most."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.04, 0.01]) == pytest.approx([0.04, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    assert simultaneous_level(5) == pytest.approx(0.99)
    assert simultaneous_level(0) == simultaneous_level(1) == pytest.approx(0.95)
    random, trials, missed = np.random.default_rng(8), 300, 0
    for _ in range(trials):
        values = random.normal(size=(5, 4, 20)) + 0.3 * random.normal(size=(5, 4, 1))
        steps = [paired_difference(values[step], values[step + 1]) for step in range(4)]
        missed += any(low > 0 or high < 0 for low, high in simultaneous_intervals(steps))
    assert missed / trials <= 0.05 + 4 * binomial_error(0.05, trials)


def test_shares_differ_by_no_more_than_all():
    """Two seeds whose every answer turned wrong: Student's t with one degree of freedom would go far beyond."""
    right = np.ones((2, 30), bool)
    wrong = ~right
    wrong[0, :6] = True
    difference = paired_difference(right, wrong)
    assert (difference.value, difference.low) == (pytest.approx(-0.9), -1.0)
    assert difference.interval(0.95)[0] < -1.0  # which the bound is for


def test_what_is_unknown_of_every_source_is_not_certain():
    """An interval of no width, and a p-value of 0, would say the opposite of what is known."""
    unknown = [(float("nan"), 9), (float("nan"), 2)]
    assert np.isnan(interval_of(0.3, unknown)).all()
    assert np.isnan([p_value_of(0.3, unknown), p_value_above(0.3, unknown)]).all()
    assert interval_of(0.3, []) == (0.3, 0.3)  # nothing varies: this one is certain
