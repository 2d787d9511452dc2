"""What a study of attention says, in the reader's language and in words that its statistics allow, with its limits."""

from __future__ import annotations

from dataclasses import dataclass

from kdviz.analysis.attention.dependence import PartEffect, Prediction
from kdviz.analysis.attention.report import AttentionReport, Control
from kdviz.analysis.attention.statistics import Effect
from kdviz.analysis.study_kinds import STUDIES
from kdviz.language import N_, _, listed, number, percent, plural, signed

_MEASURES = {
    "spearman": N_("Spearman's rank correlation"),
    "pearson": N_("Pearson's correlation"),
    "ssim": N_("structural similarity"),
    "iou": N_("overlap of the top 20 %"),
}
_CLAIMS = {
    "closer": N_(
        "{distillation} teaches where to look: the KD student's maps agree with the teacher's by {kd}, those of the "
        "student alone by {alone} ({measure}). The difference is {difference}, over {images} and {seeds}."
    ),
    "further": N_(
        "{distillation} leads away from where the teacher looks: the KD student's maps agree with the teacher's by "
        "{kd}, those of the student alone by {alone} ({measure}). The difference is {difference}, over {images} and "
        "{seeds}."
    ),
    "cannot be told": N_(
        "{distillation} cannot be told to teach where to look: the KD student's maps agree with the teacher's by {kd}, "
        "those of the student alone by {alone} ({measure}). The difference is {difference}, over {images} and {seeds}."
    ),
}
_CONTROLS = {
    "second": N_("A second student alone in the KD student's place: {difference}."),
    "shuffled": N_("A teacher with shuffled weights in the teacher's place: {difference}."),
    "other": N_("The teacher's maps of other images: {difference}."),
}
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


@dataclass(frozen=True)
class Words:
    """A verdict.

    Attributes:
        outcome: ``closer``, ``further`` or ``cannot be told``: the KD student's maps beside those of the student alone.
        sentences: What is claimed: the first two say it all.
        controls: What the controls say of it.
        dependence: What it depends on.
        limits: What it does not say.
    """

    outcome: str
    sentences: tuple[str, ...]
    controls: tuple[str, ...]
    dependence: tuple[str, ...]
    limits: tuple[str, ...]

    @property
    def everything(self) -> tuple[str, ...]:
        """All sentences, best read in order."""
        return *self.sentences, *self.controls, *self.dependence, *self.limits


def in_words(report: AttentionReport) -> Words:
    """The verdict of a report."""
    one = report.chosen.difference
    outcome = "cannot be told" if not one.excludes_zero else "closer" if one.value > 0 else "further"
    return Words(
        outcome,
        (_claim(report, outcome), _ceilings(report), *_size(report, outcome)),
        tuple(_controls(report)),
        (*_values(report), *_classes(report), *_mistakes(report), *map(_inheritance, report.inheritance)),
        tuple(_limits(report)),
    )


# the claim ------------------------------------------------------------------------------------------------------------


def _claim(report: AttentionReport, outcome: str) -> str:
    return _(
        _CLAIMS[outcome],
        distillation=_distillation(report),
        kd=number(report.chosen.kd.value, 3),
        alone=number(report.chosen.alone.value, 3),
        measure=_measure(report),
        difference=_interval(report.chosen.difference),
        images=plural("{count} image", "{count} images", report.images),
        seeds=plural("{count} seed", "{count} seeds", report.seeds),
    )


def _distillation(report: AttentionReport) -> str:
    value = report.chosen.value
    if value is None:
        return _("Distillation")
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return _(kind.subject, value=kind.amount(value))


def _measure(report: AttentionReport) -> str:
    name = _(_MEASURES.get(report.measure, report.measure))
    return _("{measure}, the masks' noise taken out", measure=name) if report.corrected else name


def _ceilings(report: AttentionReport) -> str:
    one = report.chosen
    return _(
        "Across independent halves of the masks and uncorrected it is {kd} against {alone}, where equal maps would "
        "reach {ceiling_kd} and {ceiling_alone}.",
        kd=number(one.raw_kd.value, 3),
        alone=number(one.raw_alone.value, 3),
        ceiling_kd=number(one.ceiling_kd, 3),
        ceiling_alone=number(one.ceiling_alone, 3),
    )


def _size(report: AttentionReport, outcome: str) -> list[str]:
    size = report.chosen.size
    if outcome == "cannot be told":
        return []
    if outcome == "further":
        share = percent(1 - size.superiority, 0)
        text = _("The KD student's map is further from the teacher's on {share} of the images", share=share)
    else:
        share = percent(size.superiority, 0)
        text = _("The KD student's map is closer to the teacher's on {share} of the images", share=share)
    return [_("{text} (Cohen's d = {d} for paired differences).", text=text, d=number(size.d_z, 2))]


# controls -------------------------------------------------------------------------------------------------------------


def _controls(report: AttentionReport) -> list[str]:
    if not report.controls:
        return [_("Nothing controls this study: it has no second students and no shuffled teachers.")]
    sentences = [_(_CONTROLS[one.kind], difference=_interval(one.difference)) for one in report.controls]
    failed = [one for one in report.controls if not one.passed]
    sentences += [_failed(report, one) for one in failed] or [
        _("These controls must come out as nothing, and all of their intervals contain zero.")
    ]
    return [*sentences, *_shuffle(report)]


def _failed(report: AttentionReport, control: Control) -> str:
    """What a control that is something means for the claim."""
    effect = report.chosen.difference.value
    name, share = _(control.name), percent(abs(control.difference.value / effect) if effect else float("nan"), 0)
    if control.difference.value * effect < 0:
        return _(
            "The control “{control}” does not come out as nothing, but goes against the effect ({share} of its size), "
            "which it cannot explain.",
            control=name,
            share=share,
        )
    if control.kind == "other" and report.specific is not None:
        return _(
            "The control “{control}” does not come out as nothing: {share} of the effect is a way of looking that all "
            "images share. What is about each image itself is {specific}.",
            control=name,
            share=share,
            specific=_interval(report.specific),
        )
    return _(
        "The control “{control}” does not come out as nothing: so much as {share} of the effect may have other reasons "
        "than distillation.",
        control=name,
        share=share,
    )


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


# dependence -----------------------------------------------------------------------------------------------------------


def _values(report: AttentionReport) -> list[str]:
    if len(report.values) < 2:
        return []
    kind = STUDIES[report.study]
    shown = listed(
        _("{value}: {effect}", value=kind.amount(one.value), effect=signed(one.difference.value, 3))
        for one in report.values
    )
    sentences = [_("The difference for each value: {values}.", values=shown)]
    if report.trend is None:
        return sentences
    slope = _interval(report.trend)
    if report.study == "temperature":
        return [*sentences, _("For each doubling of T it changes by {slope}.", slope=slope)]
    return [*sentences, _("For each unit more it changes by {slope}.", slope=slope)]


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
    return _(_PARTS[part.name], difference=_interval(part.effect), images=images)


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


# limits ---------------------------------------------------------------------------------------------------------------


def _limits(report: AttentionReport) -> list[str]:
    limits = []
    if report.seeds == 1:
        limits.append(_("With one seed the interval says nothing about other trainings."))
    elif report.seeds < 10:
        limits.append(
            _(
                "{seeds} are few: the interval is Student's t over images and seeds; a bootstrap over so few seeds is "
                "too narrow.",
                seeds=plural("{count} seed", "{count} seeds", report.seeds),
            )
        )
    if report.study != "teacher-epochs":
        limits.append(_("There is one teacher in it: other teachers may teach otherwise."))
    settings = report.about.get("settings", {})
    limits.append(
        _(
            "It is about maps by the method {method} on the baseline {baseline}, of the class that the teacher says. "
            "Maps that agree say that both models look there; not that they do the same with what they see, nor that "
            "distillation works through it.",
            method=report.about.get("method", "rise"),
            baseline=settings.get("baseline", "black"),
        )
    )
    return limits


def _interval(effect: Effect) -> str:
    return _(
        "{value} (95 % interval {low} to {high})",
        value=signed(effect.value, 3),
        low=signed(effect.interval.low, 3),
        high=signed(effect.interval.high, 3),
    )
