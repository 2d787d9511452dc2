"""What a study of attention says, in words that its statistics allow, with its limits."""

from __future__ import annotations

from dataclasses import dataclass

from kdviz.analysis.attention.report import AttentionReport, Control
from kdviz.analysis.attention.statistics import Effect
from kdviz.analysis.study_kinds import STUDIES

_MEASURES = {
    "spearman": "Spearman's rank correlation",
    "pearson": "Pearson's correlation",
    "ssim": "SSIM",
    "iou": "overlap of the top 20 %",
}


@dataclass(frozen=True)
class Words:
    """A verdict.

    Attributes:
        outcome: ``closer``, ``further`` or ``cannot be told``: the KD student's maps beside those of the student alone.
        sentences: The verdict, best read in order.
        limits: What it does not say.
    """

    outcome: str
    sentences: tuple[str, ...]
    limits: tuple[str, ...]


def in_words(report: AttentionReport) -> Words:
    """The verdict of a report."""
    one = report.chosen.difference
    outcome = "cannot be told" if not one.excludes_zero else "closer" if one.value > 0 else "further"
    sentences = [
        *_claim(report, outcome),
        *_size(report, outcome),
        *_controls(report),
        *_values(report),
        *_classes(report),
        *_mistakes(report),
        *_inheritance(report),
    ]
    return Words(outcome, tuple(sentences), tuple(_limits(report)))


def _claim(report: AttentionReport, outcome: str) -> list[str]:
    found, kind = report.chosen, _MEASURES.get(report.measure, report.measure)
    how = {
        "closer": "looks more where its teacher looks than the student alone does",
        "further": "looks less where its teacher looks than the student alone does",
        "cannot be told": "cannot be told from the student alone in how it looks where its teacher looks",
    }[outcome]
    corrected = ", the masks' noise taken out" if found.kd.value != found.raw_kd.value else ""
    return [
        f"{_student(report)} {how}: its maps agree with the teacher's by {found.kd.value:.3f}, those of the student "
        f"alone by {found.alone.value:.3f} ({kind}{corrected}); the difference is {_interval(found.difference)}, over "
        f"{report.images:,} images and {_seeds(report.seeds)}.",
        f"Uncorrected, across independent halves of the masks, it is {found.raw_kd.value:.3f} against "
        f"{found.raw_alone.value:.3f}, where equal maps would reach {found.ceiling_kd:.3f} and "
        f"{found.ceiling_alone:.3f}.",
    ]


def _student(report: AttentionReport) -> str:
    value = report.chosen.value
    if value is None:
        return "The KD student"
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    return f"The KD student {kind.distillation(value)}"


def _size(report: AttentionReport, outcome: str) -> list[str]:
    size = report.chosen.size
    if outcome == "cannot be told":
        return []
    what = "closer to" if outcome == "closer" else "further from"
    share = size.superiority if outcome == "closer" else 1 - size.superiority
    return [f"Its map is {what} the teacher's on {share:.0%} of the images (Cohen's d_z = {size.d_z:.2f})."]


def _controls(report: AttentionReport) -> list[str]:
    if not report.controls:
        return ["Nothing controls this study: no second students and no shuffled teachers were in it."]
    shown = "; ".join(f"{_of(one)} {_interval(one.difference)}" for one in report.controls)
    sentences = [f"Controls, which must come out as nothing: {shown}."]
    failed = [one for one in report.controls if not one.passed]
    effect = abs(report.chosen.difference.value)
    if not failed:
        sentences.append("All of their intervals contain zero.")
    for one in failed:
        share = abs(one.difference.value) / effect if effect else float("inf")
        sentences.append(
            f"{_of(one).capitalize()} does not come out as nothing, but at {one.difference.value:+.3f}, {share:.0%} of "
            "the effect: so much of it may have nothing to do with this teacher's map of this image."
        )
    if report.shuffle is not None:
        sentences.append(
            f"With its weights shuffled the teacher's maps agree with its true ones by {report.shuffle.value:.3f}: "
            + ("they depend on what it learned." if report.shuffle.value < 0.5 else "they hardly depend on it!")
        )
    return sentences


def _of(control: Control) -> str:
    return {
        "second": "a second student alone in the KD student's place",
        "shuffled": "a teacher with shuffled weights",
        "other": "the teacher's maps of other images",
    }[control.kind]


def _values(report: AttentionReport) -> list[str]:
    if len(report.values) < 2:
        return []
    kind = STUDIES[report.study]
    shown = ", ".join(f"{kind.shown(one.value)}: {one.difference.value:+.3f}" for one in report.values)
    sentences = [f"By value: {shown}."]
    if report.trend is not None:
        step = "Each doubling of T" if report.study == "temperature" else f"Each further 1 of {kind.unit}"
        what = "changes it by" if report.trend.excludes_zero else "cannot be told to change it:"
        sentences.append(f"{step} {what} {_interval(report.trend)}.")
    return sentences


def _classes(report: AttentionReport) -> list[str]:
    tested = [one for one in report.class_effects if one.p_holm is not None]
    if len(tested) < 2:
        return []
    sure = [one for one in tested if (one.p_holm or 0) < 0.05]
    more = [one.name for one in sure if one.effect.value > 0]
    less = [one.name for one in sure if one.effect.value < 0]
    sentence = f"By class it is above zero in {len(more)} of {len(tested)} (p < .05 for all of them together, Holm)"
    return [sentence + (f", and below zero in {', '.join(less)}." if less else ".")]


def _mistakes(report: AttentionReport) -> list[str]:
    if not report.mistakes:
        return []
    shown = "; ".join(f"{one.name} ({one.images:,.0f} images) {_interval(one.effect)}" for one in report.mistakes)
    return [f"By who is right: {shown}."]


def _inheritance(report: AttentionReport) -> list[str]:
    sentences = []
    for one in report.inheritance:
        who = "the KD student" if one.role == "kd_student" else "the student alone"
        says = "predicts" if one.auroc.excludes_zero and one.auroc.value > 0 else "cannot be told to predict"
        low, high = 0.5 + one.auroc.interval.low, 0.5 + one.auroc.interval.high
        sentences.append(
            f"Agreement {says} which of the teacher's mistakes {who} repeats (AUROC {0.5 + one.auroc.value:.2f}, "
            f"95 % interval {max(low, 0):.2f} to {min(high, 1):.2f}; {one.inherited:.0f} repeated, {one.others:.0f} "
            "not)."
        )
    return sentences


def _limits(report: AttentionReport) -> list[str]:
    limits = []
    if report.seeds == 1:
        limits.append("With one seed the interval says nothing about other trainings.")
    elif report.seeds < 10:
        limits.append(
            f"{report.seeds} seeds are few: the interval over seeds is Student's t with {report.seeds - 1} degrees of "
            "freedom, and a bootstrap over them is too narrow."
        )
    if report.study != "teacher-epochs":
        limits.append("There is one teacher: other teachers may teach otherwise.")
    settings = report.about.get("settings", {})
    baseline = settings.get("baseline", "black")
    limits.append(
        f"It is about maps by {report.about.get('method', 'rise').upper()} of the teacher's class on a {baseline} "
        "baseline; maps that agree say that both models look there, not that they do the same with what they see, nor "
        "that distillation works through it."
    )
    return limits


def _interval(effect: Effect) -> str:
    return f"{effect.value:+.3f} (95 % interval {effect.interval.low:+.3f} to {effect.interval.high:+.3f})"


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
