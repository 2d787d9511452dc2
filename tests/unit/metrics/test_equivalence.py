"""What may be said of a difference by a margin: by hand, and by how often it is wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from kdviz.metrics import Difference, judge_equivalence, paired_difference, samples_to_decide
from kdviz.metrics.equivalence import equivalence_p_value

MARGIN = 0.005


def known(
    value: float, error: float, samples: int = 10_001, seeds: int = 1, seed_error: float = math.nan
) -> Difference:
    """A difference whose standard errors are given; with one seed it is Student's t over samples."""
    empty = Difference(value, 0.0, 0.0, seeds, samples, seed_error, error)
    low, high = empty.interval(0.95)
    return Difference(value, low, high, seeds, samples, seed_error, error)


@pytest.mark.parametrize(
    ("value", "error", "outcome", "no_worse", "apart"),
    [  # in units of the margin: 90 % is about +-1.65 errors, 95 % about +-1.96
        (0.0, 0.5, "equivalent", "yes", False),
        (0.5, 0.25, "equivalent", "yes", True),  # .5 +- .49 excludes zero, and +- .41 is within the margin
        (-0.5, 0.25, "equivalent", "yes", True),
        (0.8, 0.3, "better", "yes", True),
        (-0.8, 0.3, "worse", "cannot tell", True),
        (-2.0, 0.5, "worse", "no", True),
        (2.0, 0.5, "better", "yes", True),
        (0.0, 0.7, "cannot tell", "cannot tell", False),
        (1.0, 0.7, "cannot tell", "yes", False),  # it may be far better, or as good
        (-1.0, 0.7, "cannot tell", "cannot tell", False),
        (0.0, 0.0, "equivalent", "yes", False),
        (2.0, 0.0, "better", "yes", True),
    ],
)
def test_where_the_interval_lies_decides(value, error, outcome, no_worse, apart):
    judgement = judge_equivalence(known(value * MARGIN, error * MARGIN), MARGIN)
    assert (judgement.outcome, judgement.no_worse, judgement.apart) == (outcome, no_worse, apart)
    half = t.ppf(0.95, 10_000) * error * MARGIN
    assert (judgement.low, judgement.high) == pytest.approx((value * MARGIN - half, value * MARGIN + half))
    assert judgement.margin == MARGIN
    assert judgement.one_seed
    assert (equivalence_p_value(judgement.difference, MARGIN) < 0.05) == (outcome == "equivalent")


def test_thirty_digits_tell_little():
    """The teacher has 30 of 30 right, the student 27: not significant, and no reason to call it as good."""
    teacher, student = np.ones((1, 30), bool), np.ones((1, 30), bool)
    student[0, :3] = False
    judgement = judge_equivalence(paired_difference(teacher, student), MARGIN)
    assert judgement.difference.value == pytest.approx(-0.1)
    assert judgement.difference.low < -0.2 < 0 < judgement.difference.high
    assert (judgement.outcome, judgement.no_worse) == ("cannot tell", "cannot tell")


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("rate", [0.02, 0.1])
def test_models_that_differ_by_the_margin_are_seldom_called_equivalent(seeds, rate):
    """On the margin the error of the test is .05 at most; rate is how often a model is wrong where another is right."""
    random, trials, samples, called = np.random.default_rng([seeds, int(1000 * rate)]), 300, 3000, 0
    for _ in range(trials):
        draw = random.random((seeds, samples))
        first, second = draw > rate / 2 + MARGIN / 2, (draw < rate / 2 + MARGIN / 2) | (draw > rate)
        called += judge_equivalence(paired_difference(first, second), MARGIN).outcome == "equivalent"
    assert called / trials <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / trials)


@pytest.mark.slow
@pytest.mark.parametrize(("value", "one_sided"), [(0.0, False), (0.7, False), (-0.6, True), (-2.0, True), (0.3, True)])
def test_so_many_samples_decide_in_four_of_five_cases(value, one_sided):
    difference = known(value * MARGIN, 3 * MARGIN, samples=1000)
    wanted = samples_to_decide(difference, MARGIN, one_sided=one_sided)

    assert wanted > 1000
    # Of 4,000 studies of so many samples, 80 % decide rightly, or more where two ways lead there; 5 standard errors.
    differences = np.random.default_rng(0).normal(value * MARGIN, error := 3 * MARGIN * math.sqrt(1000 / wanted), 4000)
    judged = [judge_equivalence(known(difference, error, wanted), MARGIN) for difference in differences]
    decided = np.mean(
        [(judgement.no_worse if one_sided else judgement.outcome) != "cannot tell" for judgement in judged]
    )
    assert decided > 0.8 - 5 * math.sqrt(0.8 * 0.2 / 4000) - (0.2 if value == 0 and not one_sided else 0.0)
    # By hand, of many samples: the interval's half must be less than the distance to what it has to leave out.
    if one_sided:
        distance = 2.486 / abs(value + 1)
    else:  # within both margins at 90 %, or away from zero at 95 %: whichever comes first
        distance = min(2.486 / (1 - abs(value)), 2.802 / abs(value) if value else math.inf)
    assert wanted == pytest.approx(1000 * (3 * distance) ** 2, rel=0.01)


def test_what_is_decided_needs_no_more():
    assert samples_to_decide(known(0.0, 0.1 * MARGIN, samples=500), MARGIN) == 500


def test_when_seeds_are_missing_no_number_of_samples_will_do():
    assert samples_to_decide(known(0.0, MARGIN, seeds=3, seed_error=2 * MARGIN), MARGIN) is None
    assert samples_to_decide(known(0.0, MARGIN, seeds=3, seed_error=0.1 * MARGIN), MARGIN) > 10_001


def test_on_the_margin_no_number_of_samples_will_do():
    assert samples_to_decide(known(-MARGIN, MARGIN), MARGIN, one_sided=True) is None


@pytest.mark.parametrize("samples", [30, 100])
def test_equal_answers_need_as_many_as_a_rate_that_small(samples):
    """None of N differs: the 4 that are added to the squares leave a half-width of 2 z / N, at 80 % power here."""
    same = np.ones((1, samples), bool)
    assert samples_to_decide(paired_difference(same, same), MARGIN) == pytest.approx(2 * 2.486 / MARGIN, rel=0.02)


@pytest.mark.parametrize("margin", [0.0, -0.1, math.nan])
def test_a_margin_is_above_zero(margin):
    with pytest.raises(ValueError, match="margin must be above 0"):
        judge_equivalence(known(0.0, 1.0), margin)
