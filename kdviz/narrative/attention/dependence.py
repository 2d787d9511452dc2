"""What an effect depends on, in words: the study's value, the class, who is right, inherited mistakes."""

from __future__ import annotations

from kdviz.core.language import N_, _, listed, number, plural, signed
from kdviz.narrative.attention.phrases import with_interval
from kdviz.studies.attention.statistics.dependence import PartEffect, Prediction
from kdviz.studies.attention.statistics.report import AttentionReport
from kdviz.studies.sweep.kinds import STUDIES, Study

_PARTS = {
    "all three right": N_("all three right: {difference}, {images}"),
    "KD student wrong": N_("KD student wrong: {difference}, {images}"),
    "student alone wrong": N_("student alone wrong: {difference}, {images}"),
    "teacher wrong": N_("teacher wrong: {difference}, {images}"),
    "mistakes of the teacher that the KD student repeats": N_(
        "mistakes of the teacher that the KD student repeats: {difference}, {images}"
    ),
    "mistakes of the teacher that it does not repeat": N_(
        "mistakes of the teacher that it does not repeat: {difference}, {images}"
    ),
}


def dependence_sentences(report: AttentionReport) -> list[str]:
    """Sentences, best read in order."""
    return [*_values(report), *_classes(report), *_mistakes(report), *map(_inheritance, report.inheritance)]


def _values(report: AttentionReport) -> list[str]:
    if len(report.values) < 2:
        return []
    kind = STUDIES[report.study]
    shown = listed(
        _("{value}: {effect}", value=kind.amount(one.value), effect=signed(one.difference.value, 3))
        for one in report.values
    )
    sentences = [_("The difference for each value: {values}.", values=shown)]
    if report.trainings < 2:
        return [*sentences, _("One training of each cannot tell these values apart.")]
    return [*sentences, *_steps(report, kind), *_apart(report, kind)]


def _steps(report: AttentionReport, kind: Study) -> list[str]:
    """The changes between neighbouring values."""
    shown = listed(
        (
            _(
                "{first} to {second}: {change} ({low} to {high})",
                first=kind.amount(one.first),
                second=kind.amount(one.second),
                change=signed(one.effect.value, 3),
                low=signed(one.together.low, 3),
                high=signed(one.together.high, 3),
            )
            for one in report.steps
            if one.together is not None
        ),
        N_("; "),
    )
    return [_("Changes from each value to the next, with intervals that hold together at 95 %: {steps}.", steps=shown)]


def _apart(report: AttentionReport, kind: Study) -> list[str]:
    """Which values are told apart, of all pairs of them."""
    groups = {True: [], False: []}
    for one in report.changes:
        pair = _("{first} and {second}", first=kind.amount(one.first), second=kind.amount(one.second))
        groups[one.differs].append(pair)
    told = _(
        "Of all pairs of values these differ (p < .05 for all pairs together, Holm): {pairs}.",
        pairs=listed(groups[True]),
    )
    untold = _("These cannot be told apart: {pairs}.", pairs=listed(groups[False]))
    nothing = _("No two values can be told apart (p < .05 for all pairs together, Holm).")
    if not groups[True]:
        return [nothing]
    return [told, untold] if groups[False] else [told]


def _classes(report: AttentionReport) -> list[str]:
    sure = [one for one in report.class_effects if (one.p_holm or 0.0) < 0.05]
    if len(report.class_effects) < 2:
        return []
    return [
        _(
            "It is above zero in {more} of {all} classes and below in {less} (p < .05 for all of them together, Holm).",
            more=number(sum(one.effect.value > 0 for one in sure)),
            less=number(sum(one.effect.value < 0 for one in sure)),
            all=number(len(report.class_effects)),
        )
    ]


def _mistakes(report: AttentionReport) -> list[str]:
    shown = listed(map(_part, report.mistakes))
    return [_("By who is right: {parts}.", parts=shown)] if report.mistakes else []


def _part(part: PartEffect) -> str:
    images = plural("{count} image", "{count} images", round(part.images))
    return _(_PARTS[part.name], difference=with_interval(part.effect), images=images)


def _inheritance(found: Prediction) -> str:
    says = found.auroc.excludes_zero and found.auroc.value > 0
    texts = {
        ("kd_student", True): N_("Agreement predicts which of the teacher's mistakes the KD student repeats: {auroc}."),
        ("kd_student", False): N_(
            "Agreement cannot be told to predict which of the teacher's mistakes the KD student repeats: {auroc}."
        ),
        ("student", True): N_(
            "Agreement predicts which of the teacher's mistakes the student alone makes, too: {auroc}."
        ),
        ("student", False): N_(
            "Agreement cannot be told to predict which of the teacher's mistakes the student alone makes, too: {auroc}."
        ),
    }
    auroc = _(
        "AUROC {value}, 95 % interval {low} to {high}; {repeated} repeated, {others} not",
        value=number(0.5 + found.auroc.value, 2),
        low=number(max(0.0, 0.5 + found.auroc.interval.low), 2),
        high=number(min(1.0, 0.5 + found.auroc.interval.high), 2),
        repeated=number(round(found.inherited)),
        others=number(round(found.others)),
    )
    return _(texts[found.role, says], auroc=auroc)
