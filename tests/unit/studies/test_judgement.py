"""Judgements and their words: where an interval lies, how many samples would decide, each sentence and its numbers."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from scipy.stats import norm

from kdviz.metrics import Difference, judge_equivalence, paired_difference, paired_shares, score_interval
from kdviz.narrative import judgements as words
from kdviz.studies.comparison.judgement import (
    ACCURATE,
    AT_LEAST,
    CROSSED,
    EQUAL,
    HELPED,
    MUCH_LOWER,
    OUTCOMES,
    PAIRED,
    RULES,
    UNDECIDED,
    Judgement,
    basis,
    judge_difference,
    judge_study,
    judge_times,
    margin_points,
    outcome,
    rounded_up,
    would_decide,
)
from kdviz.studies.comparison.reservations import chance_of, reservations
from kdviz.studies.predictions.mistakes import Predictions

MARGIN = 0.005
ZONES = {  # below the margin, in its lower and its upper half, above it -> what an interval is that touches them
    "A": "much lower",
    "AB": "lower",
    "ABC": "no higher",
    "ABCD": "undecided",
    "B": "equal",
    "BC": "equal",
    "C": "equal",
    "BCD": "no lower",
    "CD": "higher",
    "D": "much higher",
}
INTERVALS = {
    "much higher": (0.006, 0.02),
    "higher": (0.002, 0.02),
    "no lower": (-0.002, 0.02),
    "equal": (-0.002, 0.003),
    "undecided": (-0.02, 0.03),
    "no higher": (-0.03, 0.002),
    "lower": (-0.03, -0.002),
    "much lower": (-0.03, -0.006),
}


def pair(gained: int, lost: int, samples: int) -> Difference:
    first, second = np.zeros(samples, bool), np.zeros(samples, bool)
    second[:gained] = True
    first[gained : gained + lost] = True
    return paired_shares(first, second)


def judged(says: str, seeds: int = 1, **more) -> Judgement:
    low, high = ends = INTERVALS[says]
    judgement = Judgement(
        says, (low + high) / 2, low, high, MARGIN, PAIRED if seeds == 1 else CROSSED, 1234, seeds, **more
    )
    assert outcome(ends, ends, MARGIN) == says
    return judgement


def says_of(gained: int, lost: int, samples: int) -> str:
    return outcome(score_interval(gained, lost, samples), score_interval(gained, lost, samples, 0.9), MARGIN)


def test_where_an_interval_lies_is_which_zones_it_touches():
    ends = np.linspace(-0.0123, 0.0127, 41)
    for low, high in itertools.combinations(ends, 2):
        inside = np.linspace(low, high, 2001)
        touched = {"A" if x < -MARGIN else "B" if x < 0 else "C" if x < MARGIN else "D" for x in inside}
        assert outcome((low, high), (low, high), MARGIN) == ZONES["".join(sorted(touched))], (low, high)
    assert set(ZONES.values()) == set(OUTCOMES) == set(INTERVALS)
    assert outcome((math.nan, math.nan), (math.nan, math.nan), MARGIN) == UNDECIDED


def test_equal_is_by_two_tests_at_5_percent_and_different_by_one_at_5_percent_two_sided():
    """As kdviz.metrics.equivalence, and more: which end is in doubt."""
    draw = np.random.default_rng(8)
    seen = set()
    for samples in (40, 400, 4000, 40_000):
        for gained, lost in draw.integers(0, 1 + samples // 40, (150, 2)):
            difference = pair(int(gained), int(lost), samples)
            whole, judgement = judge_equivalence(difference, MARGIN), judge_difference(difference, MARGIN)
            sides = {"equal": "equivalent"} | dict.fromkeys(("higher", "much higher"), "better")
            sides |= dict.fromkeys(("lower", "much lower"), "worse")
            assert sides.get(judgement.outcome, "cannot tell") == whole.outcome
            if judgement.outcome in AT_LEAST:
                assert whole.no_worse == "yes" or whole.outcome == "better"
            seen.add(judgement.outcome)
            shown = difference.interval(judgement.level)
            assert (judgement.low, judgement.high) == shown
            assert judgement.low > -MARGIN and judgement.high < MARGIN if judgement.outcome == "equal" else True
    assert len(seen) >= 6


# how many samples would decide ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gained", "lost", "samples"), [(0, 3, 30), (10, 10, 1000)])
def test_so_many_samples_decide_in_four_of_five_cases(gained, lost, samples):
    """30 digits, teacher all right, KD student 3 wrong; and 1,000 with as many gained as lost."""
    judgement = judge_difference(pair(gained, lost, samples), MARGIN, ACCURATE)
    assert judgement.outcome not in ACCURATE
    draw, trials = np.random.default_rng(0), 1000
    shares = (gained / samples, lost / samples, 1 - (gained + lost) / samples)

    def decided(count: int) -> float:
        drawn, often = np.unique(draw.multinomial(count, shares, trials)[:, :2], axis=0, return_counts=True)
        says = [says_of(int(fixed), int(broken), count) in ACCURATE for fixed, broken in drawn]
        return float((often * says).sum() / trials)

    error = 3 * math.sqrt(0.8 * 0.2 / trials)
    assert decided(judgement.samples_needed) >= 0.8 - error
    assert decided(judgement.samples_needed // 2) < 0.8 - error
    if samples == 1000:  # at 79 samples of which 8 differ, the number is larger than it must be
        assert decided(judgement.samples_needed) == pytest.approx(0.8, abs=0.02 + error)


@pytest.mark.parametrize(("gained", "lost", "samples"), [(43, 78, 10_000), (0, 3, 30), (10, 10, 1000), (0, 0, 10)])
def test_the_number_of_samples_scales_the_interval_to_the_margin(gained, lost, samples):
    """By the normal approximation: the nearest end that decides is as far as the interval reaches, and .84 errors more.

    The end is the margin's lower one, with 1.645 errors (90 %), or for "worse" also zero, with 1.96 errors (95 %).
    """
    judgement = judge_difference(pair(gained, lost, samples), MARGIN, ACCURATE)
    share, value = (gained + lost) / samples, (gained - lost) / samples
    variance = share - value**2
    if not share:
        expected = (1.644854 + 0.841621) ** 2 / MARGIN  # z^2 / (n + z^2) = margin
    else:
        expected = variance * (1.644854 + 0.841621) ** 2 / (value + MARGIN) ** 2
    if value < -MARGIN:
        expected = max(expected, variance * (1.959964 + 0.841621) ** 2 / value**2)
    assert judgement.samples_needed == pytest.approx(expected, rel=0.2 if samples == 30 else 0.07)


def test_no_number_of_samples_is_named_where_none_would_do():
    on_the_margin = judge_difference(pair(0, 5, 1000), MARGIN, ACCURATE)
    assert (on_the_margin.outcome, on_the_margin.samples_needed) == ("lower", None)
    assert "no number can be named" in would_decide(on_the_margin)
    # Seeds that differ by points, on samples enough: what they do not say, more samples would not either.
    right = np.random.default_rng(3).random((3, 20_000)) < np.array([[0.9], [0.93], [0.96]])
    seeds = judge_difference(paired_difference(right[::-1].copy(), right), MARGIN, HELPED)
    assert (seeds.seeds, seeds.samples_needed) == (3, None)
    assert seeds.outcome not in HELPED
    assert "more seeds might" in would_decide(seeds)


def test_what_is_decided_needs_no_more():
    assert judge_difference(pair(0, 0, 1000), MARGIN, ACCURATE).samples_needed is None
    assert [rounded_up(count) for count in (7, 84, 1563, 29_923)] == [7, 84, 1600, 30_000]


# null cases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [2, 10, 30, 100, 597])
def test_models_that_never_differ_are_not_equal_until_there_are_samples_enough(samples):
    judgement = judge_difference(pair(0, 0, samples), MARGIN, ACCURATE)
    assert judgement.outcome == UNDECIDED
    assert judgement.samples_needed > 597


def test_identical_models_on_a_thousand_samples_are_equal():
    assert judge_difference(pair(0, 0, 1000), MARGIN).outcome == EQUAL


@pytest.mark.parametrize("samples", [30, 300, 3000, 30_000])
def test_two_seeds_of_one_recipe_are_never_told_apart_beyond_chance(samples):
    """Both are wrong on 3 % of samples that are their own: no difference, so "surely" above or below in 5 % or less."""
    draw, trials = np.random.default_rng(samples), 1000
    counts = draw.multinomial(samples, (0.03, 0.03, 0.94), trials)
    said = [says_of(int(gained), int(lost), samples) for gained, lost, _ in counts]
    surely = np.mean([answer in ("higher", "much higher", "lower", "much lower") for answer in said])
    assert surely <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
    # Half of the 90 % interval is 1.645 e with e = sqrt(.06 / n), which is beyond the margin up to 3,000 samples.
    e = math.sqrt(0.06 / samples)
    expected = max(0.0, 2 * norm.cdf(MARGIN / e - 1.644854) - 1)
    assert said.count(EQUAL) / trials == pytest.approx(expected, abs=0.001 + 3 * math.sqrt(0.25 / trials) * expected)


def test_a_loss_of_the_margin_is_seldom_called_no_worse():
    """Each of the two one-sided tests errs in 5 %: with a true loss of just the margin, "no worse" in 1 of 20."""
    trials = 1000
    for samples, differ in ((1000, 0.02), (5000, 0.03)):
        gained, lost = (differ - MARGIN) / 2, (differ + MARGIN) / 2
        counts = np.random.default_rng(samples).multinomial(samples, (gained, lost, 1 - differ), trials)
        said = [says_of(int(fixed), int(broken), samples) in AT_LEAST for fixed, broken, _ in counts]
        assert np.mean(said) <= 0.054 + 3 * math.sqrt(0.054 * 0.946 / trials)


# times ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "spread", "rounds", "says"),
    [
        (2.0, 0.05, 20, "much higher"),
        (1.0, 0.02, 20, "equal"),
        (0.5, 0.05, 20, "much lower"),
        (1.1, 0.2, 20, "undecided"),
        (2.0, 0.05, 5, "undecided"),  # too few rounds for an interval
        (1.12, 0.05, 30, "higher"),
    ],
)
def test_how_fast(factor, spread, rounds, says):
    ratios = factor * np.exp(np.random.default_rng(5).normal(0, spread, rounds))
    judgement = judge_times(ratios, 1.1)
    told = {"undecided": {"undecided", "higher", "no lower", "no higher"}}.get(says, {says})
    assert judgement.outcome in told
    assert judgement.rule == "rounds"
    if rounds >= 6:
        inside = np.sort(ratios)
        assert {judgement.low, judgement.high} <= set(inside)
        assert judgement.low <= np.median(ratios) <= judgement.high
    json = judgement.to_json()
    assert json["low"] is None or math.isfinite(json["low"])


def test_the_same_time_is_not_faster_and_says_it():
    judgement = judge_times(np.random.default_rng(1).normal(1, 0.02, 40), 1.1)
    word, tone, text = words.faster(judgement, judgement.value)
    assert (word, tone) == ("Not faster", "mixed")
    assert f"{judgement.low:.2f} to {judgement.high:.2f}" in text
    assert "10%" in text


# words ----------------------------------------------------------------------------------------------------------------

EXPECTED = {  # outcome -> the word of: as accurate, helped, copied, attention
    "much higher": ("Better", "Yes", "Yes", "More than by itself"),
    "higher": ("Better", "Yes", "Yes", "More than by itself"),
    "no lower": ("Yes", "Cannot tell", "Cannot tell", "Cannot tell"),
    "equal": ("Yes", "No", "No more than alone", "No more than by itself"),
    "undecided": ("Cannot tell", "Cannot tell", "Cannot tell", "Cannot tell"),
    "no higher": ("Cannot tell", "No", "No more than alone", "No more than by itself"),
    "lower": ("Cannot tell", "It hurt", "Fewer than alone", "Less than by itself"),
    "much lower": ("No", "It hurt", "Fewer than alone", "Less than by itself"),
}


def numbers_in(text: str) -> list[float]:
    return [float(figure.replace(",", "")) for figure in re.findall(r"[+-]?\d[\d,]*(?:\.\d+)?", text)]


@pytest.mark.parametrize("says", OUTCOMES)
@pytest.mark.parametrize("seeds", [1, 3])
def test_every_sentence_has_its_numbers(says, seeds):
    judgement = judged(says, seeds, samples_needed=7777 if says not in HELPED else None)
    shares = {"own": "70%", "alone": "60%", "errors": "89 errors"}
    said = (words.accurate(judgement), words.helped(judgement), words.copied(judgement, shares))
    for (word, tone, text), expected in zip(said, EXPECTED[says], strict=False):
        assert word == expected
        assert (tone == "unknown") == (word == "Cannot tell")
        numbers = [abs(number) for number in numbers_in(text)]
        for value in (judgement.value, judgement.low, judgement.high):
            assert round(100 * abs(value), 2) in numbers, (text, value)
        assert basis(judgement) in text
        assert 1234 in numbers
        assert (seeds == 3) == ("3 seeds" in text)
        assert (word == "Cannot tell") == ("cannot be told" in text or "Cannot tell" in text)
        if word in ("Cannot tell", "No"):
            assert "0.5" in text  # the margin
    if says == "lower":
        assert said[0][2].startswith("It loses 1.60 points")
    if judgement.samples_needed:
        assert "About 7,800 samples would decide." in said[1][2]


@pytest.mark.parametrize("says", OUTCOMES)
def test_attention_is_judged_by_a_margin_too(says):
    low, high = (10 * end for end in INTERVALS[says])
    row = {"effect": (low + high) / 2, "low": low, "high": high, "images": 600, "seeds": 3}
    judgement = judge_study(row, 0.05)
    assert judgement.outcome == says
    assert judge_study({**row, "inner_low": low, "inner_high": high, "teachers": 3}, 0.05).outcome == says
    word, _tone, text = words.attention(judgement)
    assert word == EXPECTED[says][3]
    effect, low_end, high_end = (f"{value:+.2f}" if round(value, 2) else "0.00" for value in (row["effect"], low, high))
    assert f"{effect} (95 % interval {low_end} to {high_end}, 600 images and 3 seeds)" in text
    assert judge_study({**row, "low": None, "high": None}, 0.05).outcome == UNDECIDED


def test_a_study_of_several_teachers_is_judged_by_both_of_its_intervals():
    row = {"effect": 0.01, "low": -0.001, "high": 0.021, "inner_low": 0.001, "inner_high": 0.019, "images": 600}
    judgement = judge_study({**row, "seeds": 1, "teachers": 3}, 0.02)
    assert (judgement.outcome, judgement.level, judgement.low, judgement.high) == ("equal", 0.9, 0.001, 0.019)
    assert not judgement.one_training
    assert "90 % interval +0.001 to +0.019, 600 images, 1 seed and 3 teachers" in words.attention(judgement)[2]
    assert judge_study({**row, "seeds": 1, "teachers": 1}, 0.02).one_training


@pytest.mark.parametrize("says", OUTCOMES)
def test_the_decision_says_yes_no_or_cannot_tell(says):
    judgement = judged(says, samples_needed=7777)
    if says in AT_LEAST:
        text = words.stands_in(judgement)
        assert text.startswith("The KD student may stand in for its teacher:")
        assert "cannot" not in text
        assert ("0.5 points" in text) == (says in ("equal", "no lower"))
    elif says == MUCH_LOWER:
        assert "is no substitute for its teacher: it loses 1.80 points" in words.no_substitute(judgement)
    else:
        text = words.stand_in_undecided(judgement, int8_teacher_wins=False)
        assert "cannot tell with 1,234 samples" in text
        assert "0.5 points" in text
        assert "About 7,800 samples would decide." in text
        assert "is less accurate" in text if says == "lower" else "is less accurate" not in text


def test_margins_and_rules_are_written():
    assert [margin_points(share) for share in (0.005, 0.01, 0.0025, 0.1)] == ["0.5", "1.0", "0.25", "10.0"]
    for judgement in (judged("equal"), judged("equal", 3), judge_times(np.ones(9), 1.1)):
        assert "margin" in RULES[judgement.rule]
        assert judgement.to_json()["margin"] == judgement.margin


# what takes the ground from a verdict ---------------------------------------------------------------------------------


def said_by(labels: np.ndarray, **predicted: np.ndarray) -> Predictions:
    return Predictions("test", labels, predicted, {role: np.ones(len(labels)) for role in predicted})


def test_shuffled_labels_are_chance():
    draw = np.random.default_rng(4)
    labels = draw.integers(0, 10, 3000)
    doubts = reservations(said_by(labels, teacher=draw.permutation(labels), student=labels), [*"abcdefghij"])
    assert [(doubt.kind, doubt.role) for doubt in doubts] == [("chance", "teacher")]
    doubt = doubts[0]
    assert doubt.chance == pytest.approx(np.bincount(labels).max() / 3000)
    assert doubt.sentence == (
        f"The teacher is right on {doubt.accuracy:.1%} of 3,000 samples, "
        f"which is not above chance ({doubt.chance:.1%})."
    )


def test_who_always_says_the_largest_class_is_at_chance_and_never_says_the_other():
    labels = np.repeat([0, 1], [900, 100])
    doubts = reservations(said_by(labels, kd_student=np.zeros(1000, int)), ["benign", "tumour"])
    assert [doubt.kind for doubt in doubts] == ["chance", "never"]
    assert doubts[0].chance == 0.9 == chance_of(labels, 2)
    assert doubts[1].sentence == "The KD student never predicts tumour."


def test_a_class_that_is_never_predicted_is_told_from_one_with_few_samples():
    labels = np.repeat(np.arange(10), [50] * 9 + [1])
    said = np.where(labels >= 8, 0, labels)
    doubts = reservations(said_by(labels, student=said), [*"abcdefghij"])
    assert [doubt.classes for doubt in doubts] == [("i",)]  # of the last class there is one sample
    assert reservations(said_by(np.array([], int), student=np.array([], int)), ["a", "b"]) == []


def test_good_models_are_seldom_suspected():
    """1,000 classes with 3 samples each and a recall of .7: 27 are missed by chance, and none is named."""
    draw = np.random.default_rng(6)
    labels = np.repeat(np.arange(1000), 3)
    said = np.where(draw.random(3000) < 0.7, labels, (labels + 1 + draw.integers(0, 3, 3000)) % 1000)
    assert reservations(said_by(labels, teacher=said), [str(label) for label in range(1000)]) == []
