"""What an effect depends on, in words: the study's value, the class, which models are right, inherited mistakes."""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.core.language import N_, _, interval_digits, listed, number, plural, signed, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.narrative.attention.phrases import with_interval
from kdviz.studies.attention.statistics.agreements import value_text
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


_OUTCOMES_OF_LOSSES = {
    "closer": N_(
        "With these losses the maps come closer to the teacher's (p < .05 for all losses together, Holm): {losses}."
    ),
    "further": N_(
        "With these losses the maps move away from the teacher's (p < .05 for all losses together, Holm): {losses}."
    ),
    "unknown": N_("With these losses it cannot be told (for all losses together, Holm): {losses}."),
}
_MOST_PAIRS = 10  # that are named one by one


def dependence_sentences(report: AttentionReport) -> list[str]:
    """Sentences about what the effect depends on, in reading order."""
    return [*_values(report), *_classes(report), *_mistakes(report), *map(_inheritance, report.inheritance)]


def _values(report: AttentionReport) -> list[str]:
    if len(report.values) < 2:
        return []
    kind = STUDIES[report.study]
    listing = listed(
        _("{value}: {effect}", value=kind.amount(value_effect.value), effect=signed(value_effect.difference.value, 3))
        for value_effect in report.values
    )
    sentences = [_("The difference for each value: {values}.", values=listing)]
    if report.trainings < 2:
        return [*sentences, _("One training of each cannot tell these values apart.")]
    return [*sentences, *(_steps(report, kind) if kind.has_order else _teaching(report)), *_apart(report, kind)]


def _teaching(report: AttentionReport) -> list[str]:
    """Which losses bring the maps closer to the teacher's, or away from them; of many losses some seem to by chance."""
    names: dict[str, list[str]] = {outcome: [] for outcome in _OUTCOMES_OF_LOSSES}
    for value_effect, p_value in zip(report.values, report.p_of_values, strict=True):
        direction = "closer" if value_effect.difference.value > 0 else "further"
        names[direction if p_value < 0.05 else "unknown"].append(value_text(value_effect.value))
    return [_(text, losses=listed(names[key])) for key, text in _OUTCOMES_OF_LOSSES.items() if names[key]]


def _steps(report: AttentionReport, kind: Study) -> list[str]:
    """The changes between neighbouring values."""
    changes = []
    for step in report.steps:
        if step.together is not None:
            change, low, high = signed_interval(step.effect.value, step.together.low, step.together.high, 3)
            text = _(
                "{first} to {second}: {change} ({low} to {high})",
                first=kind.amount(step.first),
                second=kind.amount(step.second),
                change=change,
                low=low,
                high=high,
            )
            changes.append(text)
    listing = listed(changes, N_("; "))
    return [
        _("Changes from each value to the next, with intervals that hold together at 95 %: {steps}.", steps=listing)
    ]


def _apart(report: AttentionReport, kind: Study) -> list[str]:
    """Which values are told apart, of all pairs of them."""
    groups = {True: [], False: []}
    for change in report.changes:
        pair = _("{first} and {second}", first=kind.amount(change.first), second=kind.amount(change.second))
        groups[change.differs].append(pair)
    apart = _(
        "Of all pairs of values these differ (p < .05 for all pairs together, Holm): {pairs}.",
        pairs=_first_pairs(groups[True]),
    )
    not_apart = _("These cannot be told apart: {pairs}.", pairs=listed(groups[False]))
    none_apart = _("No two values can be told apart (p < .05 for all pairs together, Holm).")
    if len(groups[False]) > _MOST_PAIRS:
        not_apart = _("The other {count} pairs cannot be told apart.", count=number(len(groups[False])))
    if not groups[True]:
        return [none_apart]
    return [apart, not_apart] if groups[False] else [apart]


def _first_pairs(pairs: list[str]) -> str:
    """The pairs, or the first of them and how many more there are."""
    more = len(pairs) - _MOST_PAIRS
    names = listed(pairs[:_MOST_PAIRS])
    return names if more <= 0 else _("{names} and {count} more", names=names, count=number(more))


def _classes(report: AttentionReport) -> list[str]:
    significant = [class_effect for class_effect in report.class_effects if (class_effect.p_holm or 0.0) < 0.05]
    if len(report.class_effects) < 2:
        return []
    return [
        _(
            "It is above zero in {more} of {all} classes and below in {less} (p < .05 for all of them together, Holm).",
            more=number(sum(class_effect.effect.value > 0 for class_effect in significant)),
            less=number(sum(class_effect.effect.value < 0 for class_effect in significant)),
            all=number(len(report.class_effects)),
        )
    ]


def _mistakes(report: AttentionReport) -> list[str]:
    listing = listed(map(_part, report.mistakes))
    return [_("By who is right: {parts}.", parts=listing)] if report.mistakes else []


def _part(part: PartEffect) -> str:
    images = plural("{count} image", "{count} images", round(part.images))
    return _(_PARTS[part.name], difference=with_interval(part.effect), images=images)


def _inheritance(prediction: Prediction) -> str:
    predicts = prediction.auroc.excludes_zero and prediction.auroc.value > 0
    texts: Mapping[tuple[str, bool], str] = {
        (Role.KD_STUDENT, True): N_(
            "Agreement predicts which of the teacher's mistakes the KD student repeats: {auroc}."
        ),
        (Role.KD_STUDENT, False): N_(
            "Agreement cannot be told to predict which of the teacher's mistakes the KD student repeats: {auroc}."
        ),
        (Role.STUDENT, True): N_(
            "Agreement predicts which of the teacher's mistakes the student alone makes, too: {auroc}."
        ),
        (Role.STUDENT, False): N_(
            "Agreement cannot be told to predict which of the teacher's mistakes the student alone makes, too: {auroc}."
        ),
    }
    low, high = max(0.0, 0.5 + prediction.auroc.interval.low), min(1.0, 0.5 + prediction.auroc.interval.high)
    digits = interval_digits(low, high, 2, neutral=0.5)
    auroc = _(
        "AUROC {value}, 95 % interval {low} to {high}; {repeated} repeated, {others} not",
        value=number(0.5 + prediction.auroc.value, digits),
        low=number(low, digits),
        high=number(high, digits),
        repeated=number(round(prediction.inherited)),
        others=number(round(prediction.others)),
    )
    return _(texts[prediction.role, predicts], auroc=auroc)
