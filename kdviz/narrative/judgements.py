"""Judgements in words: each function turns a judgement into a word, a tone and a sentence, or into a sentence."""

from __future__ import annotations

from kdviz.core.language import _, interval_digits, number, percent, signed_interval
from kdviz.studies.comparison.judgement import (
    EQUAL,
    HIGHER,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    NO_HIGHER,
    NO_LOWER,
    Judgement,
    basis,
    interval,
    join_sentences,
    margin_points,
    points_interval,
    ratio_interval,
    would_decide,
)

GOOD, MIXED, BAD, UNKNOWN = "good", "mixed", "bad", "unknown"
Phrases = tuple[str, str, str]
"""A word or two, the tone, a sentence."""


def values_of(judgement: Judgement) -> dict[str, str]:
    """The values that fill a sentence about a difference of shares."""
    digits = interval_digits(100 * judgement.low, 100 * judgement.high, 2)
    ends = sorted(abs(end) for end in (judgement.low, judgement.high))
    change, low, high = points_interval(judgement.value, judgement.low, judgement.high)
    return {
        "points": number(100 * abs(judgement.value), digits),
        "span": interval(judgement, *(number(100 * end, digits) for end in ends)),
        "change": change,
        "interval": interval(judgement, low, high),
        "margin": margin_points(judgement.margin),
        "basis": basis(judgement),
    }


def accurate(judgement: Judgement) -> Phrases:
    """Whether the KD student is as accurate as its teacher."""
    values = values_of(judgement)
    if judgement.outcome == EQUAL:
        text = _("Equal within {margin} points: {change} points ({interval}, {basis}).", **values)
        return _("Yes"), GOOD, text
    if judgement.outcome == NO_LOWER:
        text = _(
            "No more than {margin} points worse, if at all: {change} points ({interval}, {basis}).",
            **values,
        )
        return _("Yes"), GOOD, text
    if judgement.outcome in (HIGHER, MUCH_HIGHER):
        text = _("It is {points} points better ({span}, {basis}).", **values)
        return _("Better"), GOOD, text
    if judgement.outcome == MUCH_LOWER:
        text = _(
            "It loses {points} points ({span}, {basis}); up to {margin} would count as equal.",
            **values,
        )
        return _("No"), BAD, text
    if judgement.outcome == LOWER:
        text = _(
            "It loses {points} points ({span}); whether more than {margin} cannot be told with {basis}.",
            **values,
        )
    else:
        text = _(
            "Cannot tell with {basis}: {change} points ({interval}), where up to {margin} would count as equal.",
            **values,
        )
    return _("Cannot tell"), UNKNOWN, join_sentences(text, would_decide(judgement))


def faster(judgement: Judgement, speed: float) -> Phrases:
    """Whether the KD student answers faster; ``speed``: how many times as fast as its teacher."""
    values = {
        "speed": number(speed, 1),
        "interval": ratio_interval(judgement),
        "margin": percent(judgement.margin - 1, 0),
        "basis": basis(judgement),
    }
    if judgement.outcome == MUCH_HIGHER:
        text = _("{speed} times faster on the machine it was measured on ({interval}).", **values)
        return _("Yes"), GOOD, text
    if judgement.outcome in (LOWER, MUCH_LOWER):
        text = _("Slower on the machine it was measured on: {speed} times as fast ({interval}).", **values)
        return _("Slower"), MIXED, text
    if judgement.outcome in (EQUAL, NO_HIGHER):
        text = _(
            "Not faster by more than {margin} on the machine it was measured on: {speed} times as fast ({interval}).",
            **values,
        )
        return _("Not faster"), MIXED, text
    text = _(
        "Cannot tell with {basis} whether it is faster by more than {margin}: {speed} times as fast ({interval}).",
        **values,
    )
    return _("Cannot tell"), UNKNOWN, join_sentences(text, would_decide(judgement))


def helped(judgement: Judgement) -> Phrases:
    """Whether the KD student is better than the same student trained alone."""
    values = values_of(judgement)
    if judgement.outcome in (HIGHER, MUCH_HIGHER):
        text = _(
            "{points} points better than the same student trained alone ({span}, {basis}).",
            **values,
        )
        return _("Yes"), GOOD, text
    if judgement.outcome in (LOWER, MUCH_LOWER):
        text = _(
            "It is {points} points worse than the same student trained alone ({span}, {basis}).",
            **values,
        )
        return _("It hurt"), BAD, text
    if judgement.outcome == EQUAL and judgement.low > 0:
        text = _(
            "Better than the same student trained alone, but surely by less than {margin} points, which count as "
            "equal: {change} points ({interval}, {basis}).",
            **values,
        )
        return _("Hardly"), MIXED, text
    if judgement.outcome == EQUAL:
        text = _(
            "Equal to the same student trained alone within {margin} points: {change} points ({interval}, {basis}).",
            **values,
        )
        return _("No"), MIXED, text
    if judgement.outcome == NO_HIGHER:
        text = _(
            "No more than {margin} points better than the same student trained alone, if at all: {change} points "
            "({interval}, {basis}).",
            **values,
        )
        return _("No"), MIXED, text
    text = _(
        "Cannot tell with {basis}: {change} points beside the same student trained alone ({interval}), where up to "
        "{margin} would count as equal.",
        **values,
    )
    return _("Cannot tell"), UNKNOWN, join_sentences(text, would_decide(judgement))


def copied(judgement: Judgement, shares: dict[str, str]) -> Phrases:
    """Whether it repeats more of the teacher's errors than the student alone does."""
    text = _(
        "It repeats {own} of the teacher's {errors}, the student alone {alone}: {change} points ({interval}, {basis}).",
        **shares,
        **values_of(judgement),
    )
    if judgement.outcome in (HIGHER, MUCH_HIGHER):
        return _("Yes"), MIXED, text
    if judgement.outcome in (EQUAL, NO_HIGHER):
        within = _("Up to {margin} points count as equal.", margin=margin_points(judgement.margin))
        return _("No more than alone"), GOOD, join_sentences(text, within)
    if judgement.outcome in (LOWER, MUCH_LOWER):
        return _("Fewer than alone"), GOOD, text
    cannot = _(
        "Cannot tell with {basis}, where up to {margin} points would count as equal.",
        basis=basis(judgement),
        margin=margin_points(judgement.margin),
    )
    return _("Cannot tell"), UNKNOWN, join_sentences(cannot, text, would_decide(judgement))


def attention(judgement: Judgement) -> Phrases:
    """Whether distillation brings the student's maps nearer to the teacher's."""
    effect, low, high = signed_interval(judgement.value, judgement.low, judgement.high, 2)
    text = _(
        "Its maps' agreement with the teacher's, less that of the student alone: {effect} ({interval}, {basis}).",
        effect=effect,
        interval=interval(judgement, low, high),
        basis=basis(judgement),
    )
    if judgement.outcome in (HIGHER, MUCH_HIGHER):
        return _("More than by itself"), GOOD, text
    if judgement.outcome in (EQUAL, NO_HIGHER):
        within = _("Up to {margin} counts as equal.", margin=number(judgement.margin, 2))
        return _("No more than by itself"), MIXED, join_sentences(text, within)
    if judgement.outcome in (LOWER, MUCH_LOWER):
        return _("Less than by itself"), MIXED, text
    cannot = _("Cannot tell with {basis}.", basis=basis(judgement))
    return _("Cannot tell"), UNKNOWN, join_sentences(cannot, text, would_decide(judgement))


# the decision ---------------------------------------------------------------------------------------------------------


def stands_in(judgement: Judgement) -> str:
    """That the KD student may stand in for its teacher, for an outcome among ``AT_LEAST``."""
    within = margin_points(judgement.margin)
    if judgement.outcome == EQUAL:
        return _(
            "The KD student may stand in for its teacher: their accuracies are equal within {margin} points.",
            margin=within,
        )
    if judgement.outcome == NO_LOWER:
        return _(
            "The KD student may stand in for its teacher: it loses no more than {margin} points of accuracy.",
            margin=within,
        )
    return _("The KD student may stand in for its teacher: it is more accurate.")


def no_substitute(judgement: Judgement) -> str:
    """That the KD student may not stand in for its teacher."""
    return _(
        "The KD student is no substitute for its teacher: it loses {points} points of accuracy, where up to {margin} "
        "would count as equal.",
        **values_of(judgement),
    )


def stand_in_undecided(judgement: Judgement, int8_teacher_wins: bool) -> str:
    """That it cannot be told whether the KD student may stand in for its teacher.

    Args:
        judgement: How its accuracy compares with the teacher's.
        int8_teacher_wins: Whether the teacher in int8 surely is the better choice.
    """
    values = values_of(judgement)
    if judgement.outcome == LOWER:
        text = _(
            "The KD student is less accurate than its teacher; whether by more than {margin} points, one cannot tell "
            "with {basis}.",
            **values,
        )
    else:
        text = _(
            "One cannot tell with {basis} whether the KD student may stand in for its teacher, within {margin} points "
            "of accuracy.",
            **values,
        )
    if int8_teacher_wins:
        return join_sentences(text, _("Try the teacher in int8 first: it is as fast, smaller and more accurate."))
    return join_sentences(text, would_decide(judgement))


def not_by_distillation(judgement: Judgement, undecided: bool) -> str:
    """That the KD student may stand in, but that distillation is not why, or that this cannot be told."""
    if undecided:
        return _(
            "The KD student may stand in for its teacher; whether distillation is why, one cannot tell with {basis}.",
            basis=basis(judgement),
        )
    if judgement.seeds == 1:
        return _(
            "The KD student may stand in for its teacher, but beside this student trained alone it is no better, "
            "within {margin} points.",
            margin=margin_points(judgement.margin),
        )
    return _(
        "The KD student may stand in for its teacher, but distillation is not why: trained alone it is as good, within "
        "{margin} points.",
        margin=margin_points(judgement.margin),
    )
