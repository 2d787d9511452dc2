"""Numbers that round to zero have no sign, and an interval does not look as if it ended at zero where it does not."""

import math
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kdviz.app.pages.cost.page import signed_points
from kdviz.core.language import interval_digits, signed_interval
from kdviz.narrative import judgements, sweeps
from kdviz.narrative.attention.markdown import _effect, _signed, _unsigned
from kdviz.narrative.attention.phrases import gain_over_blurred_picture, range_of, with_interval
from kdviz.narrative.regions import _points
from kdviz.studies.comparison.judgement import HIGHER, LOWER, PAIRED, STUDY, TIMES, Judgement
from kdviz.studies.regions.report import Mean


@pytest.mark.parametrize(("value", "text"), [(-0.0004, ".000"), (-0.0, ".000"), (-0.0006, "−.001"), (0.5, "+.500")])
def test_figures_of_the_report(value, text):
    assert _signed(value) == text
    assert _unsigned(value) == text.lstrip("+").replace("−", "-")


@pytest.mark.parametrize(("value", "text"), [(-0.004, "0.00"), (0.004, "0.00"), (-0.006, "−0.01"), (0.5, "+0.50")])
def test_points_of_accuracy(value, text):
    assert signed_points(value) == text


def test_gains_over_the_blurred_picture():
    row = {"deletion_gain": -0.0001, "deletion_gain_low": -0.0002, "deletion_gain_high": 0.1}
    assert gain_over_blurred_picture(row, "deletion") == "-0.0001 [-0.0002, +0.1000]"


NEAR = [
    ((0.039, 0.003, 0.075), 2, ("+0.039", "+0.003", "+0.075")),
    ((-0.039, -0.075, -0.003), 2, ("-0.039", "-0.075", "-0.003")),
    ((0.02, 0.0004, 0.04), 2, ("+0.0200", "+0.0004", "+0.0400")),
    ((0.039, 0.006, 0.075), 2, ("+0.04", "+0.01", "+0.08")),  # far enough from zero
    ((0.036, -0.003, 0.075), 2, ("+0.036", "-0.003", "+0.075")),  # zero lies inside
    ((0.0, -0.0004, 0.0004), 3, ("0.0000", "-0.0004", "+0.0004")),
    ((0.1, -1e-17, 0.2), 2, ("+0.10", "0.00", "+0.20")),  # noise of the arithmetic
    ((0.1, 1e-9, 0.2), 2, ("+0.10", "+1e-09", "+0.20")),  # no decimals would show it
    ((0.036, 0.0, 0.075), 2, ("+0.04", "0.00", "+0.08")),  # and here it is an end
    ((math.nan, math.nan, math.nan), 2, ("–", "–", "–")),
]


@pytest.mark.parametrize(("figures", "digits", "texts"), NEAR)
def test_an_interval_touches_zero_only_if_it_does(figures, digits, texts):
    assert signed_interval(*figures, digits) == texts


def test_an_interval_about_another_value():
    assert interval_digits(0.991, 0.998, 2, neutral=1.0) == 3
    assert interval_digits(1.001, 1.2, 2, neutral=1.0) == 3
    assert interval_digits(0.991, 0.998, 2) == 2
    assert interval_digits(0.5004, 0.7, 3, neutral=0.5) == 4
    assert interval_digits(2e-6, 1.0, 2) == 6  # no more than these
    assert interval_digits(1e-12, 1.0, 2) == 2  # where even they would show zeros alone, they are left away
    assert signed_interval(2e-9, 1e-9, 3e-9, 3) == ("+2e-09", "+1e-09", "+3e-09")


def test_the_sign_and_the_zeroness_of_an_end_are_kept():
    draw = random.Random(3)
    for _ in range(2000):
        low, high = sorted(draw.choice((-1, 0, 1)) * 10 ** draw.uniform(-11, 2) for _ in range(2))
        texts = signed_interval((low + high) / 2, low, high, draw.choice((1, 2, 3)))
        for end, text in zip((low, high), texts[1:], strict=True):
            assert (float(text.replace(",", "")) > 0) - (float(text.replace(",", "")) < 0) == (end > 0) - (end < 0)


def judged(rule: str = STUDY, **ends: float) -> Judgement:
    return Judgement(HIGHER, margin=0.05, rule=rule, samples=500, **ends)


def test_the_sentences_of_cards_touch_zero_only_if_the_interval_does():
    word, _tone, sentence = judgements.attention(judged(value=0.039, low=0.003, high=0.075))
    assert word == "More than by itself"
    assert "+0.039 (95 % interval +0.003 to +0.075" in sentence
    values = judgements.values_of(judged(PAIRED, value=0.00039, low=0.00003, high=0.00075))
    assert values["points"] == "0.039"
    assert "0.003 to 0.075" in values["span"]
    assert "+0.003 to +0.075" in values["interval"]
    _word, _tone, sentence = judgements.faster(
        replace(judged(TIMES, value=0.99, low=0.98, high=0.998), outcome=LOWER), 1.0
    )
    assert "0.980 to 0.998" in sentence


def test_sentences_about_studies_touch_zero_only_if_the_interval_does():
    effect: Any = SimpleNamespace(value=0.002, interval=SimpleNamespace(low=0.0002, high=0.0038))
    assert with_interval(effect) == "+0.0020 (95 % interval +0.0002 to +0.0038)"
    assert _effect(effect) == "+.0020 [+.0002, +.0038]"
    assert sweeps._change(0.00002, 0.000002, 0.000038) == {"points": "+0.0020", "low": "+0.0002", "high": "+0.0038"}
    assert range_of(-0.0038, -0.0002) == "-0.0038 to -0.0002"
    assert _points(Mean(0.002, 0.0002, 0.0038, 9)) == "+0.20 points (95 % interval +0.02 to +0.38)"
    row = {"deletion_gain": 0.05, "deletion_gain_low": 0.0002, "deletion_gain_high": 0.1}
    assert gain_over_blurred_picture(row, "deletion") == "+0.0500 [+0.0002, +0.1000]"
