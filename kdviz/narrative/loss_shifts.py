"""Losses on shifted pictures in words: with which a student is still right, and still answers as its teacher does."""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.core.language import N_, _, listed, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.narrative.shifts import shift_title
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.loss_shifts.report import REFERENCE, LossGain, LossShiftsReport
from kdviz.studies.shifts.report import LESS, MORE, UNKNOWN
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, UNSHIFTED

_VERDICTS: Mapping[tuple[str, str], str] = {
    (ACCURACY, MORE): N_(
        "On shifted pictures students of {loss} are right more often than those of {reference} alone: {own} against "
        "{other}, a difference of {change}."
    ),
    (ACCURACY, LESS): N_(
        "On shifted pictures students of {loss} are right less often than those of {reference} alone: {own} against "
        "{other}, a difference of {change}."
    ),
    (ACCURACY, UNKNOWN): N_(
        "Whether students of {loss} are right more or less often on shifted pictures than those of {reference} alone "
        "cannot be told: {own} against {other}, a difference of {change}."
    ),
    (AGREEMENT, MORE): N_(
        "Their answers are their teacher's more often: {own} against {other}, a difference of {change}."
    ),
    (AGREEMENT, LESS): N_(
        "Their answers are their teacher's less often: {own} against {other}, a difference of {change}."
    ),
    (AGREEMENT, UNKNOWN): N_(
        "Whether their answers are their teacher's more or less often cannot be told: {own} against {other}, a "
        "difference of {change}."
    ),
}
_BEYOND: Mapping[str, str] = {
    MORE: N_("Without a shift the difference of right answers is {unshifted}; shifts add to it: {beyond}."),
    LESS: N_("Without a shift the difference of right answers is {unshifted}; shifts take from it: {beyond}."),
    UNKNOWN: N_(
        "Without a shift the difference of right answers is {unshifted}; whether shifts change it cannot be told: "
        "{beyond}."
    ),
}
_ALONE: Mapping[str, str] = {
    MORE: N_(
        "With {reference} alone a student is right more often on shifted pictures than without a teacher: {own} "
        "against {other}, a difference of {change}."
    ),
    LESS: N_(
        "With {reference} alone a student is right less often on shifted pictures than without a teacher: {own} "
        "against {other}, a difference of {change}."
    ),
    UNKNOWN: N_(
        "Whether with {reference} alone a student is right more or less often on shifted pictures than without a "
        "teacher cannot be told: {own} against {other}, a difference of {change}."
    ),
}
_BY_SHIFT: Mapping[str, str] = {
    MORE: N_("more often right with {shifts}"),
    LESS: N_("less often right with {shifts}"),
}


def loss_shift_sentences(report: LossShiftsReport) -> list[str]:
    """Each loss beside the softened targets, these beside the student alone, and what limits it."""
    others = [loss for loss in report.losses if loss != REFERENCE]
    return [
        *(sentence for loss in others for sentence in loss_sentences(report, loss)),
        alone_sentence(report),
        *limit_sentences(report),
    ]


def loss_sentences(report: LossShiftsReport, loss: str) -> list[str]:
    """Right answers with one loss, what shifts do to the difference, by shift, and answers that are the teacher's."""
    return [
        _verdict(report, ACCURACY, loss),
        _beyond(report, loss),
        *_by_shift(report, loss),
        _verdict(report, AGREEMENT, loss),
    ]


def alone_sentence(report: LossShiftsReport) -> str:
    """The softened targets beside no teacher at all."""
    gain = report.gain(ACCURACY, REFERENCE, Role.STUDENT)
    return _(
        _ALONE[gain.outcome],
        reference=REFERENCE,
        own=percent(report.share(ACCURACY, REFERENCE)),
        other=percent(report.share(ACCURACY, None)),
        change=_change(gain),
    )


def limit_sentences(report: LossShiftsReport) -> list[str]:
    """How right the teacher itself is, and over what the intervals are."""
    return [
        _(
            "The teacher is right in {shifted} of the shifted pictures and in {unshifted} of the others.",
            shifted=percent(report.share(ACCURACY, None, ALL, Role.TEACHER)),
            unshifted=percent(report.share(ACCURACY, None, UNSHIFTED, Role.TEACHER)),
        ),
        _(
            "Intervals are over {seeds} and {pictures}, of one teacher; losses are judged by p-values that hold for "
            "all of them together (Holm).",
            seeds=plural("{count} seed", "{count} seeds", report.seeds),
            pictures=plural("{count} picture", "{count} pictures", report.pictures),
        ),
    ]


def change_text(gain: LossGain) -> str:
    """A difference in points, with its interval."""
    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return f"{value} [{low}, {high}]"


def _verdict(report: LossShiftsReport, measure: str, loss: str) -> str:
    gain = report.gain(measure, loss, REFERENCE)
    return _(
        _VERDICTS[measure, gain.outcome],
        loss=loss,
        reference=REFERENCE,
        own=percent(report.share(measure, loss)),
        other=percent(report.share(measure, REFERENCE)),
        change=_change(gain),
    )


def _beyond(report: LossShiftsReport, loss: str) -> str:
    gain = report.gain(ACCURACY, loss, REFERENCE, beyond=True)
    unshifted = report.gain(ACCURACY, loss, REFERENCE, UNSHIFTED)
    return _(_BEYOND[gain.outcome], unshifted=_change(unshifted), beyond=_change(gain))


def _by_shift(report: LossShiftsReport, loss: str) -> list[str]:
    """The shifts of which something can be told; empty: of none."""
    outcomes = {shift: report.gain(ACCURACY, loss, REFERENCE, shift).outcome for shift in report.shifts}
    named = {
        outcome: [shift_title(shift) for shift in report.shifts if outcomes[shift] == outcome] for outcome in _BY_SHIFT
    }
    parts = [_(text, shifts=listed(named[outcome])) for outcome, text in _BY_SHIFT.items() if named[outcome]]
    count = plural("{count} shift", "{count} shifts", len(outcomes))
    if not parts:
        return [_("For none of {count} can it be told, with p-values that hold for all together (Holm).", count=count)]
    text = N_("Of {count}, with p-values that hold for all together (Holm): {parts}.")
    if len(named[MORE]) + len(named[LESS]) < len(outcomes):
        text = N_(
            "Of {count}, with p-values that hold for all together (Holm): {parts}; of the others it cannot be told."
        )
    return [_(text, count=count, parts=listed(parts, N_("; ")))]


def _change(gain: LossGain) -> str:
    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return _("{value} points (95 % interval {low} to {high})", value=value, low=low, high=high)
