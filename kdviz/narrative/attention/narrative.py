"""What an attention study shows, in the reader's language, no stronger than its statistics allow, with its limits."""

from __future__ import annotations

from dataclasses import dataclass

from kdviz.core.language import N_, _, number, percent, plural
from kdviz.narrative.attention.controls import control_sentences
from kdviz.narrative.attention.dependence import dependence_sentences
from kdviz.narrative.attention.phrases import counts_of, range_of, with_interval
from kdviz.studies.attention.statistics.report import AttentionReport
from kdviz.studies.attention.statistics.verdicts import CLOSER, FURTHER, AttentionVerdict, claim_of, verdicts
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.loss_values import trained_on_maps_of

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


@dataclass(frozen=True)
class Narrative:
    """A verdict in words.

    Attributes:
        outcome: ``closer``, ``further``, ``as close`` or ``cannot be told``: the KD student's maps beside those of the
            student alone.
        sentences: The claim; the first two sentences suffice.
        controls: What the controls say of the claim, for the judged value and in short for the others.
        dependence: What the effect depends on.
        limits: What the study does not show.
        verdicts: The same as data: every conclusion with its numbers and its rule.
    """

    outcome: str
    sentences: tuple[str, ...]
    controls: tuple[str, ...]
    dependence: tuple[str, ...]
    limits: tuple[str, ...]
    verdicts: tuple[AttentionVerdict, ...] = ()

    @property
    def everything(self) -> tuple[str, ...]:
        """All sentences, in reading order."""
        return *self.sentences, *self.controls, *self.dependence, *self.limits


def narrate(report: AttentionReport) -> Narrative:
    """Put the verdict of a report into words."""
    claim = claim_of(report.chosen.difference, report.margin, report.chosen.value)
    return Narrative(
        claim.outcome,
        (_claim(report, claim), *_trainings_needed(claim), _ceilings(report), *_effect_size(report, claim.outcome)),
        tuple(control_sentences(report)),
        tuple(dependence_sentences(report)),
        tuple(_limits(report)),
        tuple(verdicts(report)),
    )


# the claim ------------------------------------------------------------------------------------------------------------


def _claim(report: AttentionReport, claim: AttentionVerdict) -> str:
    one_training = claim.rule == "trainings"
    return _(
        _CLAIMS["one training" if one_training else claim.outcome],
        distillation=_distillation(report, within=one_training),
        kd=number(report.chosen.kd.value, 3),
        alone=number(report.chosen.alone.value, 3),
        measure=_measure(report),
        difference=with_interval(report.chosen.difference),
        counts=counts_of(report.chosen.difference),
        inner=range_of(claim.inner_low, claim.inner_high),
        margin=number(claim.margin, 3),
    )


def _distillation(report: AttentionReport, within: bool = False) -> str:
    value = report.chosen.value
    if value is None:
        return _("distillation") if within else _("Distillation")
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    if within:
        return _(kind.phrase, value=kind.amount(value))
    return _(kind.subject, value=kind.amount(value))


def _measure(report: AttentionReport) -> str:
    name = _(_MEASURES.get(report.measure, report.measure))
    if report.corrected:
        return _("{measure}, the masks' noise taken out", measure=name)
    return _("{measure}, with the masks' noise in it", measure=name)


def _trainings_needed(claim: AttentionVerdict) -> list[str]:
    if claim.enough is None:
        return []
    trainings = plural("{count} training", "{count} trainings", claim.enough)
    return [_("If difference and spread stayed as they are, about {trainings} would tell.", trainings=trainings)]


def _ceilings(report: AttentionReport) -> str:
    chosen = report.chosen
    text = N_(
        "Across independent halves of the masks and uncorrected it is {kd} against {alone}, where equal maps would "
        "reach {ceiling_kd} and {ceiling_alone}."
    )
    plain = N_("Equal maps would reach {ceiling_kd} and {ceiling_alone}, across independent halves of the masks.")
    return _(
        text if report.corrected else plain,
        kd=number(chosen.raw_kd.value, 3),
        alone=number(chosen.raw_alone.value, 3),
        ceiling_kd=number(chosen.ceiling_kd, 3),
        ceiling_alone=number(chosen.ceiling_alone, 3),
    )


def _effect_size(report: AttentionReport, outcome: str) -> list[str]:
    if outcome not in (CLOSER, FURTHER):
        return []
    size, further = report.chosen.size, outcome == FURTHER
    shares = [1 - share if further else share for share in size.by_training_superiority]
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


# limits ---------------------------------------------------------------------------------------------------------------


def _limits(report: AttentionReport) -> list[str]:
    return [*_few_trainings(report), *_noise(report), *_own_work(report), _scope(report)]


def _few_trainings(report: AttentionReport) -> list[str]:
    """What a small number of trainings leaves open."""
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


def _own_work(report: AttentionReport) -> list[str]:
    """Which losses are measured by the maps that they were trained on."""
    trained = trained_on_maps_of(_method(report), (effect.value for effect in report.values))
    if not trained:
        return []
    return [
        _(
            "Trained on maps of this very method, so that their figures mark their own work: {losses}.",
            losses=", ".join(trained),
        )
    ]


def _method(report: AttentionReport) -> str:
    return report.about.get("method", "rise")


def _scope(report: AttentionReport) -> str:
    settings = report.about.get("settings", {})
    return _(
        "It is about maps by the method {method} on the baseline {baseline}, of the class that the teacher says. "
        "Maps that agree say that both models look there; not that they do the same with what they see, nor that "
        "distillation works through it.",
        method=_method(report),
        baseline=settings.get("baseline", "black"),
    )
