"""What a study of attention says, in the reader's language and in words that its statistics allow, with its limits."""

from __future__ import annotations

from dataclasses import dataclass

from kdviz.analysis.attention.dependence import PartEffect, Prediction
from kdviz.analysis.attention.controls import Control
from kdviz.analysis.attention.report import AttentionReport
from kdviz.analysis.attention.uncertain import Effect
from kdviz.analysis.attention.verdicts import Verdict, claim_of, verdict_of, verdicts
from kdviz.analysis.study_kinds import STUDIES, Study
from kdviz.language import N_, _, listed, number, percent, plural, signed

LEAST_CEILING = 0.9
"""Mean ceiling down to which corrected agreement is right to .01; see :mod:`.statistics`."""

_MEASURES = {
    "spearman": N_("Spearman's rank correlation"),
    "pearson": N_("Pearson's correlation"),
    "ssim": N_("structural similarity"),
    "iou": N_("overlap of the top 20 %"),
}
_CLAIMS = {
    "closer": N_(
        "{distillation} teaches where to look: the KD student's maps agree with the teacher's by {kd}, those of the "
        "student alone by {alone} ({measure}). The difference is {difference}, over {counts}."
    ),
    "further": N_(
        "{distillation} leads away from where the teacher looks: the KD student's maps agree with the teacher's by "
        "{kd}, those of the student alone by {alone} ({measure}). The difference is {difference}, over {counts}."
    ),
    "as close": N_(
        "{distillation} hardly changes where the student looks: its maps agree with the teacher's by {kd}, those of "
        "the student alone by {alone} ({measure}). The difference is {difference}, over {counts}, and its 90 % "
        "interval, {inner}, lies within the margin of ±{margin}, below which a difference counts as none."
    ),
    "cannot be told": N_(
        "{distillation} cannot be told to teach where to look with {counts}: the KD student's maps agree with the "
        "teacher's by {kd}, those of the student alone by {alone} ({measure}). The difference is {difference}."
    ),
    "one training": N_(
        "One training of each student cannot tell whether {distillation} teaches where to look: here the KD student's "
        "maps agree with the teacher's by {kd}, those of the student alone by {alone} ({measure}). The difference is "
        "{difference}, over {counts}: the interval is over images, and other seeds may differ by more."
    ),
}
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
    """A verdict in words.

    Attributes:
        outcome: ``closer``, ``further``, ``as close`` or ``cannot be told``: the KD student's maps beside those of the
            student alone.
        sentences: What is claimed: the first two say it all.
        controls: What the controls say of it, for the judged value and in short for the others.
        dependence: What it depends on.
        limits: What it does not say.
        verdicts: The same as data: every conclusion with its numbers and its rule.
    """

    outcome: str
    sentences: tuple[str, ...]
    controls: tuple[str, ...]
    dependence: tuple[str, ...]
    limits: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()

    @property
    def everything(self) -> tuple[str, ...]:
        """All sentences, best read in order."""
        return *self.sentences, *self.controls, *self.dependence, *self.limits


def in_words(report: AttentionReport) -> Words:
    """The verdict of a report."""
    claim = claim_of(report.chosen.difference, report.margin, report.chosen.value)
    return Words(
        claim.outcome,
        (_claim(report, claim), *_enough(claim), _ceilings(report), *_size(report, claim.outcome)),
        tuple(_controls(report)),
        (*_values(report), *_classes(report), *_mistakes(report), *map(_inheritance, report.inheritance)),
        tuple(_limits(report)),
        tuple(verdicts(report)),
    )


# the claim ------------------------------------------------------------------------------------------------------------


def _claim(report: AttentionReport, claim: Verdict) -> str:
    alone = claim.rule == "trainings"
    return _(
        _CLAIMS["one training" if alone else claim.outcome],
        distillation=_distillation(report, within=alone),
        kd=number(report.chosen.kd.value, 3),
        alone=number(report.chosen.alone.value, 3),
        measure=_measure(report),
        difference=_interval(report.chosen.difference),
        counts=counted(report.chosen.difference),
        inner=_span(claim.inner_low, claim.inner_high),
        margin=number(claim.margin, 3),
    )


def counted(effect: Effect) -> str:
    """Over how many images, seeds and teachers an effect is."""
    return _(
        "{images}, {seeds} and {teachers}",
        images=plural("{count} image", "{count} images", effect.n_images),
        seeds=plural("{count} seed", "{count} seeds", effect.n_seeds),
        teachers=plural("{count} teacher", "{count} teachers", effect.n_teachers),
    )


def _distillation(report: AttentionReport, within: bool = False) -> str:
    value = report.chosen.value
    if value is None:
        return _("distillation") if within else _("Distillation")
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    if within:
        return _("distillation at {value}", value=kind.amount(value))
    return _(kind.subject, value=kind.amount(value))


def _measure(report: AttentionReport) -> str:
    name = _(_MEASURES.get(report.measure, report.measure))
    if report.corrected:
        return _("{measure}, the masks' noise taken out", measure=name)
    return _("{measure}, with the masks' noise in it", measure=name)


def _enough(claim: Verdict) -> list[str]:
    if claim.enough is None:
        return []
    trainings = plural("{count} training", "{count} trainings", claim.enough)
    return [_("If difference and spread stayed as they are, about {trainings} would tell.", trainings=trainings)]


def _ceilings(report: AttentionReport) -> str:
    one = report.chosen
    text = N_(
        "Across independent halves of the masks and uncorrected it is {kd} against {alone}, where equal maps would "
        "reach {ceiling_kd} and {ceiling_alone}."
    )
    plain = N_("Equal maps would reach {ceiling_kd} and {ceiling_alone}, across independent halves of the masks.")
    return _(
        text if report.corrected else plain,
        kd=number(one.raw_kd.value, 3),
        alone=number(one.raw_alone.value, 3),
        ceiling_kd=number(one.ceiling_kd, 3),
        ceiling_alone=number(one.ceiling_alone, 3),
    )


def _size(report: AttentionReport, outcome: str) -> list[str]:
    if outcome not in ("closer", "further"):
        return []
    size, further = report.chosen.size, outcome == "further"
    shares = [1 - one if further else one for one in size.by_training_superiority]
    text = _FURTHER if further else _CLOSER
    return [
        _(
            text,
            share=percent(sum(shares) / len(shares), 0),
            low=percent(min(shares), 0),
            high=percent(max(shares), 0),
            d=number(size.d_z, 2),
            d_low=number(min(size.by_training_d_z), 2),
            d_high=number(max(size.by_training_d_z), 2),
            trainings=plural("{count} training", "{count} trainings", len(shares)),
        )
    ]


_CLOSER = N_(
    "In single trainings the KD student's map is closer to the teacher's on {share} of the images ({low} to {high}, in "
    "{trainings}), with a Cohen's d of paired differences of {d} ({d_low} to {d_high})."
)
_FURTHER = N_(
    "In single trainings the KD student's map is further from the teacher's on {share} of the images ({low} to {high}, "
    "in {trainings}), with a Cohen's d of paired differences of {d} ({d_low} to {d_high})."
)


# controls -------------------------------------------------------------------------------------------------------------


def _controls(report: AttentionReport) -> list[str]:
    if not report.controls:
        return [_("Nothing controls this study: it has no second students and no shuffled teachers.")]
    sentences = [_control(one) for one in report.controls]
    return [*sentences, *_meaning(report), *_shuffle(report), *_other_values(report)]


def _control(one: Control) -> str:
    rule = verdict_of(one).rule
    key = rule if rule in ("trainings", "no effect") else "small" if one.small else one.outcome
    outcome = _(
        _OUTCOMES[key],
        inner=_span(one.interval.low, one.interval.high),
        bound=number(one.bound, 3),
        share=percent(abs(one.share), 0),
    )
    return _(_CONTROLS[one.kind], difference=_interval(one.difference), outcome=outcome)


def _meaning(report: AttentionReport) -> list[str]:
    """What controls that are something mean for the claim."""
    found = []
    for one in report.controls:
        if not (one.outcome == "failed" or one.small or (one.bound > 0 and one.difference.excludes_zero)):
            continue
        name, share = _(one.name), percent(abs(one.share), 0)
        if one.share < 0:
            text = N_("The control “{control}” goes against the effect ({share} of its size), which it cannot explain.")
            found.append(_(text, control=name, share=share))
        elif one.kind == "other" and report.specific is not None:
            text = N_(
                "By “{control}”, {share} of the effect is a way of looking that all images share. What is about each "
                "image itself is {specific}."
            )
            found.append(_(text, control=name, share=share, specific=_interval(report.specific)))
        else:
            text = N_("By “{control}”, {share} of the effect may have other reasons than distillation.")
            found.append(_(text, control=name, share=share))
    return found


def _other_values(report: AttentionReport) -> list[str]:
    """The controls of the values that are not judged, in short."""
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    sentences = []
    for value in [one.value for one in report.values if one.value != report.chosen.value]:
        controls = listed((_short(one) for one in report.all_controls if one.value == value), N_("; "))
        if controls and value is not None:
            sentences.append(_("Controls at {value}: {controls}.", value=kind.amount(value), controls=controls))
    return sentences


def _short(one: Control) -> str:
    key = "small" if one.small else one.outcome
    return _(_SHORT[key], control=_(one.name), share=percent(abs(one.share), 0))


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
    return [
        _("From each value to the next it changes by, with intervals that hold together at 95 %, {steps}.", steps=shown)
    ]


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
    return [*_few(report), *_noise(report), _scope(report)]


def _few(report: AttentionReport) -> list[str]:
    """What so few trainings leave open."""
    if report.trainings == 1:
        return [
            _("With one seed the interval says nothing about other trainings."),
            _("There is one teacher in it: other teachers may teach otherwise."),
        ]
    limits = []
    if report.trainings < 10:
        limits.append(
            _(
                "{seeds} and {teachers} are few: the interval is Student's t over teachers, seeds and images, and wide "
                "for that reason; a bootstrap over so few is too narrow.",
                seeds=plural("{count} seed", "{count} seeds", report.seeds),
                teachers=plural("{count} teacher", "{count} teachers", report.teachers),
            )
        )
    if report.teachers == 1:
        limits.append(_("There is one teacher in it: other teachers may teach otherwise."))
    return limits


def _noise(report: AttentionReport) -> list[str]:
    """How far the correction for the masks' noise can be trusted."""
    lowest = min(report.chosen.ceiling_kd, report.chosen.ceiling_alone)
    if not report.corrected:
        return [_("The masks' noise cannot be taken out of this measure: compare it with what equal maps would reach.")]
    if lowest >= LEAST_CEILING:
        return []
    return [
        _(
            "The maps are noisy (equal maps would reach {ceiling}): below {least} the correction can be off by more "
            "than .01.",
            ceiling=number(lowest, 2),
            least=number(LEAST_CEILING, 2),
        )
    ]


def _scope(report: AttentionReport) -> str:
    settings = report.about.get("settings", {})
    return _(
        "It is about maps by the method {method} on the baseline {baseline}, of the class that the teacher says. "
        "Maps that agree say that both models look there; not that they do the same with what they see, nor that "
        "distillation works through it.",
        method=report.about.get("method", "rise"),
        baseline=settings.get("baseline", "black"),
    )


def _interval(effect: Effect) -> str:
    return _(
        "{value} (95 % interval {low} to {high})",
        value=signed(effect.value, 3),
        low=signed(effect.interval.low, 3),
        high=signed(effect.interval.high, 3),
    )


def _span(low: float, high: float) -> str:
    return _("{low} to {high}", low=signed(low, 3), high=signed(high, 3))
