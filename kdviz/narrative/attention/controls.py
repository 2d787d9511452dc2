"""What the controls of a study say, in words."""

from __future__ import annotations

from kdviz.core.language import N_, _, listed, number, percent
from kdviz.narrative.attention.phrases import range_of, with_interval
from kdviz.studies.attention.statistics.controls import FAILED, Control
from kdviz.studies.attention.statistics.report import AttentionReport
from kdviz.studies.attention.statistics.verdicts import verdict_of
from kdviz.studies.sweep.kinds import STUDIES

_CONTROLS = {
    "second": N_("A second student alone in the KD student's place: {difference}, {outcome}."),
    "shuffled": N_("A teacher with shuffled weights in the teacher's place: {difference}, {outcome}."),
    "other": N_("The teacher's maps of other images: {difference}, {outcome}."),
}
_OUTCOMES = {
    "passed": N_("passed, since its 90 % interval, {inner}, lies within a quarter of the effect, ±{bound}"),
    "small": N_(
        "small but not zero: it is {share} of the effect, and its 90 % interval, {inner}, lies within a quarter of it, "
        "±{bound}"
    ),
    "failed": N_("failed, since its 90 % interval, {inner}, lies beyond a quarter of the effect, ±{bound}"),
    "cannot tell": N_(
        "which cannot tell, since its 90 % interval, {inner}, reaches beyond a quarter of the effect, ±{bound}"
    ),
    "no effect": N_("which cannot tell, since the effect that it is held against cannot be told from nothing"),
    "trainings": N_("which one training cannot tell from nothing"),
}
_SHORT = {
    "passed": N_("{control}: passed"),
    "small": N_("{control}: small but not zero ({share} of the effect)"),
    "failed": N_("{control}: failed"),
    "cannot tell": N_("{control}: cannot tell"),
}


def control_sentences(report: AttentionReport) -> list[str]:
    if not report.controls:
        return [_("Nothing controls this study: it has no second students and no shuffled teachers.")]
    sentences = [_control(control) for control in report.controls]
    return [*sentences, *remarks(report), *_other_values(report)]


def remarks(report: AttentionReport) -> list[str]:
    """What the controls mean for the claim, beyond whether each passes."""
    return [*_meaning(report), *_shuffle(report)]


def _control(control: Control) -> str:
    rule = verdict_of(control).rule
    key = rule if rule in ("trainings", "no effect") else "small" if control.small else control.outcome
    outcome = _(
        _OUTCOMES[key],
        inner=range_of(control.interval.low, control.interval.high),
        bound=number(control.bound, 3),
        share=percent(abs(control.share), 0),
    )
    return _(_CONTROLS[control.kind], difference=with_interval(control.difference), outcome=outcome)


def _meaning(report: AttentionReport) -> list[str]:
    """What controls that failed or differ from zero mean for the claim."""
    sentences = []
    for control in report.controls:
        if not (control.outcome == FAILED or control.small or (control.bound > 0 and control.difference.excludes_zero)):
            continue
        name, share = _(control.name), percent(abs(control.share), 0)
        if control.share < 0:
            text = N_("The control “{control}” goes against the effect ({share} of its size), which it cannot explain.")
            sentences.append(_(text, control=name, share=share))
        elif control.kind == "other" and report.image_specific_effect is not None:
            text = N_(
                "By “{control}”, {share} of the effect is a way of looking that all images share. What is about each "
                "image itself is {specific}."
            )
            sentences.append(_(text, control=name, share=share, specific=with_interval(report.image_specific_effect)))
        else:
            text = N_("By “{control}”, {share} of the effect may have other reasons than distillation.")
            sentences.append(_(text, control=name, share=share))
    return sentences


def _other_values(report: AttentionReport) -> list[str]:
    """The controls of the values that are not judged, in short: values of which the same is said share a sentence."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    values_by_text: dict[str, list[str]] = {}
    for value in [value_effect.value for value_effect in report.values if value_effect.value != report.chosen.value]:
        controls = listed((_short(control) for control in report.all_controls if control.value == value), N_("; "))
        if controls and value is not None:
            values_by_text.setdefault(controls, []).append(kind.amount(value))
    return [
        _("Controls at {value}: {controls}.", value=listed(values), controls=controls)
        for controls, values in values_by_text.items()
    ]


def _short(control: Control) -> str:
    key = "small" if control.small else control.outcome
    return _(_SHORT[key], control=_(control.name), share=percent(abs(control.share), 0))


def _shuffle(report: AttentionReport) -> list[str]:
    if report.shuffle is None:
        return []
    value = number(report.shuffle.value, 3)
    if report.shuffle.value < 0.5:
        return [
            _("With its weights shuffled the teacher's maps agree with its true ones by {value} only.", value=value)
        ]
    return [
        _(
            "With its weights shuffled the teacher's maps still agree with its true ones by {value}: doubt them.",
            value=value,
        )
    ]
