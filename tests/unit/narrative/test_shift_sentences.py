"""What is said of shifted pictures, held against the numbers of the report, in every language."""

from __future__ import annotations

import re

import pytest

from kdviz.core.files import MODELS
from kdviz.core.language import LANGUAGES, speaking
from kdviz.experiment import load_experiment
from kdviz.narrative.shifts import (
    by_shift_sentences,
    chance_sentences,
    limit_sentences,
    shift_sentences,
    verdict_sentences,
)
from kdviz.studies.shifts import ShiftsReport, read_shifts_report
from kdviz.studies.shifts.report import Gain, Share
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, SECOND, UNSHIFTED

SHIFTS = ("gaussian_blur", "jpeg", "scale")
MORE, LESS, OPEN = (0.06, 0.05, 0.07, 0.001), (-0.03, -0.04, -0.02, 0.001), (0.01, -0.02, 0.04, 0.5)
BEGINNINGS = {
    (ACCURACY, MORE): "On shifted pictures the KD student holds better than the same student trained alone: ",
    (ACCURACY, LESS): "On shifted pictures the KD student holds worse than the same student trained alone: ",
    (ACCURACY, OPEN): "One cannot tell whether the KD student holds better on shifted pictures than",
    (AGREEMENT, MORE): "It stays closer to its teacher: ",
    (AGREEMENT, LESS): "It goes further from its teacher: ",
    (AGREEMENT, OPEN): "One cannot tell whether it stays closer to its teacher: ",
}
ENDS = {
    MORE: "with shifts it is larger: +6.00",
    LESS: "it is smaller: -3.00",
    OPEN: "change it cannot be told: +1",
}
NUMBERS = re.compile(r"[-+]?\d+(?:[,.]\d+)*")


def gain(measure, shift, values, role="kd_student", *, beyond=False):
    value, low, high, p_value = values
    adjusted = p_value if shift in SHIFTS else float("nan")
    return Gain(measure, shift, None, role, "student", beyond, value, low, high, p_value, adjusted)


def report(overall=MORE, beyond=MORE, by_shift=(MORE, LESS, OPEN), second=None) -> ShiftsReport:
    levels = {"teacher": (0.99, 0.92), "kd_student": (0.98, 0.86), "student": (0.97, 0.8)}
    shares, gains = [], []
    for measure in (ACCURACY, AGREEMENT):
        for role, values in levels.items():
            places = zip((UNSHIFTED, ALL, *SHIFTS), (*values, *[values[1]] * 3), strict=True)
            shares += [Share(measure, shift, None, role, value) for shift, value in places]
        gains += [gain(measure, UNSHIFTED, OPEN), gain(measure, ALL, overall), gain(measure, ALL, beyond, beyond=True)]
        gains += [gain(measure, shift, values) for shift, values in zip(SHIFTS, by_shift, strict=True)]
        if second is not None:
            gains += [gain(measure, ALL, OPEN, SECOND), gain(measure, ALL, OPEN, SECOND, beyond=True)]
            gains += [gain(measure, shift, values, SECOND) for shift, values in zip(SHIFTS, second, strict=True)]
    return ShiftsReport({"pictures": 2000}, tuple(shares), tuple(gains))


@pytest.mark.parametrize("measure", [ACCURACY, AGREEMENT])
@pytest.mark.parametrize("values", [MORE, LESS, OPEN])
def test_the_verdict_is_that_of_the_interval(measure, values):
    first, _second = verdict_sentences(report(values), measure)
    assert first.startswith(BEGINNINGS[measure, values])
    change = "{:+.2f} points (95 % interval {:+.2f} to {:+.2f})".format(*(100 * each for each in values[:3]))
    assert change in first
    assert "86.0%" in first
    assert "80.0%" in first


@pytest.mark.parametrize("values", [MORE, LESS, OPEN])
def test_the_same_pictures_without_a_shift_stand_beside_it(values):
    _first, second = verdict_sentences(report(beyond=values), ACCURACY)
    assert "without a shift the difference is +1.00 points (95 % interval -2.00 to +4.00)" in second
    assert ENDS[values] in second


def test_every_shift_is_named_once_with_its_verdict():
    (sentence,) = by_shift_sentences(report(), ACCURACY)
    assert sentence == (
        "Of 3 shifts, with p-values that hold for all together (Holm): it holds better with gaussian blur; it holds "
        "worse with jpeg; it cannot be told with scale."
    )
    (sentence,) = by_shift_sentences(report(by_shift=(OPEN,) * 3), AGREEMENT)
    assert sentence == (
        "Its teacher's answers, of 3 shifts and likewise: it cannot be told with gaussian blur, jpeg, scale."
    )


def test_a_second_student_alone_says_what_chance_does():
    assert chance_sentences(report()) == []
    first, second = chance_sentences(report(second=(MORE, LESS, OPEN)))
    assert first.count("+1.00 points (95 % interval -2.00 to +4.00)") == 2
    assert (
        "from -3.00 points with jpeg to +6.00 with gaussian blur, and in 2 of 3 shifts by the same p-values" in second
    )


def test_the_teacher_and_the_limits_are_said():
    teacher, limits = limit_sentences(report())
    assert teacher == "The teacher is right in 92.0% of the shifted pictures and in 99.0% of the others."
    assert "of one training of each model" in limits


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("values", [MORE, LESS, OPEN])
def test_every_language_has_the_same_numbers(language, values):
    shown = report(values, values, (values,) * 3, (values,) * 3)
    english = [sorted(NUMBERS.findall(sentence)) for sentence in shift_sentences(shown)]
    with speaking(language):
        translated = shift_sentences(shown)
    assert [sorted(NUMBERS.findall(sentence.replace("95%", "95 %"))) for sentence in translated] == english
    assert (translated == shift_sentences(shown)) == (language == "en")


def _far(shown, measure, shift):
    """The furthest end of the interval of two students alone; 0 without a second one."""
    if not shown.has_second:
        return 0.0
    chance = shown.gain(measure, shift, role=SECOND)
    return max(abs(chance.low), abs(chance.high))


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_the_sentences_of_the_shipped_models_are_what_their_intervals_say(name):
    shipped = read_shifts_report(load_experiment(MODELS / name))
    for measure in (ACCURACY, AGREEMENT):
        whole = shipped.gain(measure)
        far = _far(shipped, measure, ALL)
        values = MORE if whole.low > far else LESS if whole.high < -far else OPEN
        assert verdict_sentences(shipped, measure)[0].startswith(BEGINNINGS[measure, values])
        gains = [shipped.gain(measure, shift) for shift in shipped.shifts]
        (sentence,) = by_shift_sentences(shipped, measure)
        better = sentence.partition("better with ")[2].partition(";")[0].rstrip(".").split(", ")
        above = [each for each in gains if each.p_adjusted < 0.05 and each.low > _far(shipped, measure, each.shift)]
        expected = [each.shift.replace("_", " ") for each in above]
        assert [shift for shift in better if shift] == expected
        assert all(each.low > 0 or each.high < 0 for each in gains if each.p_adjusted < 0.05)
