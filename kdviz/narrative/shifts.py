"""Shifted pictures in words: who is still right, and who still answers as the teacher does."""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.core.language import N_, _, listed, number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.shifts.report import LESS, MORE, UNKNOWN, Gain, ShiftsReport
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, SECOND, UNSHIFTED

_VERDICTS: Mapping[tuple[str, str], str] = {
    (ACCURACY, MORE): N_(
        "On shifted pictures the KD student holds better than the same student trained alone: {own} of its answers are "
        "right against {alone}, a difference of {change} over {pictures}."
    ),
    (ACCURACY, LESS): N_(
        "On shifted pictures the KD student holds worse than the same student trained alone: {own} of its answers are "
        "right against {alone}, a difference of {change} over {pictures}."
    ),
    (ACCURACY, UNKNOWN): N_(
        "One cannot tell whether the KD student holds better on shifted pictures than the same student trained alone: "
        "{own} of its answers are right against {alone}, a difference of {change} over {pictures}."
    ),
    (AGREEMENT, MORE): N_(
        "It stays closer to its teacher: {own} of its answers to shifted pictures are the teacher's, of the student "
        "alone {alone}, a difference of {change}."
    ),
    (AGREEMENT, LESS): N_(
        "It goes further from its teacher: {own} of its answers to shifted pictures are the teacher's, of the student "
        "alone {alone}, a difference of {change}."
    ),
    (AGREEMENT, UNKNOWN): N_(
        "One cannot tell whether it stays closer to its teacher: {own} of its answers to shifted pictures are the "
        "teacher's, of the student alone {alone}, a difference of {change}."
    ),
}
_BEYOND: Mapping[str, str] = {
    MORE: N_("On the same pictures without a shift the difference is {unshifted}: with shifts it is larger: {beyond}."),
    LESS: N_(
        "On the same pictures without a shift the difference is {unshifted}: with shifts it is smaller: {beyond}."
    ),
    UNKNOWN: N_(
        "On the same pictures without a shift the difference is {unshifted}; whether shifts change it cannot be told: "
        "{beyond}."
    ),
}
_BY_SHIFT: Mapping[str, str] = {
    MORE: N_("it holds better with {shifts}"),
    LESS: N_("it holds worse with {shifts}"),
    UNKNOWN: N_("it cannot be told with {shifts}"),
}


def shift_sentences(report: ShiftsReport) -> list[str]:
    """What can be said of accuracy and of answers that are the teacher's, and what limits it."""
    return [
        *verdict_sentences(report, ACCURACY),
        *by_shift_sentences(report, ACCURACY),
        *verdict_sentences(report, AGREEMENT),
        *by_shift_sentences(report, AGREEMENT),
        *chance_sentences(report),
        *limit_sentences(report),
    ]


def shift_title(name: str) -> str:
    """The name of a shift within a sentence."""
    return name.replace("_", " ")


def verdict_sentences(report: ShiftsReport, measure: str) -> list[str]:
    """The mean over all shifts and severities, and the same pictures without a shift."""
    gain = report.gain(measure)
    beyond = report.gain(measure, beyond=True)
    return [
        _(
            _VERDICTS[measure, report.verdict(gain)],
            own=percent(report.share(measure, Role.KD_STUDENT)),
            alone=percent(report.share(measure, Role.STUDENT)),
            change=_change(gain),
            pictures=plural("{count} picture", "{count} pictures", report.pictures),
        ),
        _(_BEYOND[report.verdict(beyond)], unshifted=_change(report.gain(measure, UNSHIFTED)), beyond=_change(beyond)),
    ]


def by_shift_sentences(report: ShiftsReport, measure: str) -> list[str]:
    """Each shift with its verdict."""
    gains = {name: report.gain(measure, name) for name in report.shifts}
    parts = []
    for verdict, text in _BY_SHIFT.items():
        names = [shift_title(name) for name, gain in gains.items() if report.verdict(gain) == verdict]
        parts += [_(text, shifts=listed(names))] if names else []
    text = N_("Of {count}, with p-values that hold for all together (Holm): {parts}.")
    if measure == AGREEMENT:
        text = N_("Its teacher's answers, of {count} and likewise: {parts}.")
    count = plural("{count} shift", "{count} shifts", len(gains))
    return [_(text, count=count, parts=listed(parts, N_("; ")))]


def chance_sentences(report: ShiftsReport) -> list[str]:
    """How much a second student alone differs from the first, by the chance of its training; empty without one."""
    if not report.has_second:
        return []
    gains = {name: report.gain(ACCURACY, name, role=SECOND) for name in report.shifts}
    low, high = (choose(gains, key=lambda name: gains[name].value) for choose in (min, max))
    differing = sum(gain.outcome != UNKNOWN for gain in gains.values())
    return [
        _(
            "A second student alone, of another seed, less the first: {accuracy} of accuracy on shifted pictures, and "
            "{agreement} of its teacher's answers.",
            accuracy=_change(report.gain(ACCURACY, role=SECOND)),
            agreement=_change(report.gain(AGREEMENT, role=SECOND)),
        ),
        _(
            "By shift their accuracies differ from {low} points with {lowest} to {high} with {highest}, and in "
            "{differing} of {count} by the same p-values: so much comes by the chance of a training, and nothing is "
            "said of a difference that is not larger.",
            low=_points(gains[low]),
            lowest=shift_title(low),
            high=_points(gains[high]),
            highest=shift_title(high),
            differing=number(differing),
            count=plural("{count} shift", "{count} shifts", len(gains)),
        ),
    ]


def _points(gain: Gain) -> str:
    return points_interval(gain.value, gain.low, gain.high)[0]


def limit_sentences(report: ShiftsReport) -> list[str]:
    """How right the teacher itself is, and what the intervals leave out."""
    return [
        _(
            "The teacher is right in {shifted} of the shifted pictures and in {unshifted} of the others.",
            shifted=percent(report.share(ACCURACY, Role.TEACHER)),
            unshifted=percent(report.share(ACCURACY, Role.TEACHER, UNSHIFTED)),
        ),
        _("Intervals are over pictures, of one training of each model: another training may differ."),
    ]


def _change(gain: Gain) -> str:
    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return _("{value} points (95 % interval {low} to {high})", value=value, low=low, high=high)
