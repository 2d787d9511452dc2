"""Verdicts of an attention study as data: the conclusion, its numbers and its rule; sentences are made from these.

Every verdict has a value, its interval, the margin it is held against, and the name of a rule in ``RULES``, so that
each sentence can be checked against its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from kdviz.metrics.uncertainty import LEVEL
from kdviz.studies.attention.statistics.agreements import Value
from kdviz.studies.attention.statistics.controls import SHARE, TWO_TESTS, Control
from kdviz.studies.attention.statistics.report import AttentionReport
from kdviz.studies.attention.statistics.uncertainty import Effect

CLOSER, FURTHER, AS_CLOSE, UNTOLD = "closer", "further", "as close", "cannot be told"
_MOST = 1000  # trainings; beyond these no number is given that would decide

RULES = {
    "trainings": "one training of each student: nothing is said of others",
    "equivalence": f"the {TWO_TESTS:.0%} interval lies within the margin (two one-sided tests at 5 %)",
    "difference": f"the {LEVEL:.0%} interval is without zero, and not within the margin",
    "neither": f"the {LEVEL:.0%} interval has zero in it, and the {TWO_TESTS:.0%} interval is not within the margin",
    "bound": f"the {TWO_TESTS:.0%} interval lies within, beyond or across +- {SHARE:g} of the effect",
    "no effect": "the effect that the control is held against cannot be told from nothing",
}
"""Name -> text of the rule; of the first four, the first that applies decides the claim."""


@dataclass(frozen=True)
class AttentionVerdict:
    """One conclusion.

    Attributes:
        about: ``claim`` or ``control``.
        part: Name of the control; empty for the claim.
        of: The study's value that it is about.
        outcome: For the claim ``closer``, ``further``, ``as close`` or ``cannot be told``; for a control ``passed``,
            ``failed`` or ``cannot tell``.
        rule: A key of ``RULES``.
        value, low, high: The difference with its 95 % interval.
        inner_low, inner_high: Its 90 % interval, that of two one-sided tests.
        margin: Below which a difference counts as none; for a control its bound; NaN: nothing to hold it against.
        images, seeds, teachers, trainings: Their numbers.
        enough: Approximate number of trainings that would decide, if value and spread stayed as they are; None: not
            known.
    """

    about: str
    part: str
    of: Value | None
    outcome: str
    rule: str
    value: float
    low: float
    high: float
    inner_low: float
    inner_high: float
    margin: float
    images: int
    seeds: int
    teachers: int
    trainings: int
    enough: int | None = None


def claim_of(effect: Effect, margin: float, value: Value | None = None) -> AttentionVerdict:
    """The verdict whether the KD student's maps are closer to the teacher's than those of the student alone."""
    outcome, rule = _outcome_and_rule(effect, margin)
    enough = trainings_enough(effect, margin) if outcome == UNTOLD else None
    return _verdict("claim", "", value, outcome, rule, effect, margin, enough)


def verdict_of(control: Control) -> AttentionVerdict:
    """The verdict of a control."""
    rule = "trainings" if control.difference.trainings < 2 else "bound" if control.bound > 0 else "no effect"
    return _verdict(
        "control", control.name, control.value, control.outcome, rule, control.difference, control.bound, None
    )


def verdicts(report: AttentionReport) -> list[AttentionVerdict]:
    """The claim for every value of the study, and each control."""
    claims = [claim_of(effect.difference, report.margin, effect.value) for effect in report.values]
    return [*claims, *map(verdict_of, report.all_controls)]


def _outcome_and_rule(effect: Effect, margin: float) -> tuple[str, str]:
    if effect.trainings < 2:
        return UNTOLD, "trainings"
    inner = effect.at(TWO_TESTS)
    if -margin < inner.low and inner.high < margin:
        return AS_CLOSE, "equivalence"
    if effect.excludes_zero:
        return CLOSER if effect.value > 0 else FURTHER, "difference"
    return UNTOLD, "neither"


def _verdict(
    about: str,
    part: str,
    of: Value | None,
    outcome: str,
    rule: str,
    effect: Effect,
    margin: float,
    enough: int | None,
) -> AttentionVerdict:
    inner = effect.at(TWO_TESTS)
    ends = (effect.value, effect.interval.low, effect.interval.high, inner.low, inner.high)
    counts = (effect.n_images, effect.n_seeds, effect.n_teachers, effect.trainings)
    return AttentionVerdict(about, part, of, outcome, rule, *ends, margin, *counts, enough)


def trainings_enough(effect: Effect, margin: float) -> int | None:
    """The fewest independent trainings that would tell this value from zero, or show it within the margin.

    The variance over trainings falls with their number, that over images stays; never fewer than there are already.
    """
    if effect.trainings < 2:
        return None
    (images, _), *other_parts = effect.parts
    one_training = max(variance * (degrees + 1) for variance, degrees in other_parts)
    counts = np.arange(effect.trainings, _MOST + 1)
    error = np.sqrt(one_training / counts + images)
    outer, inner = (student_t.ppf((1 + level) / 2, counts - 1) * error for level in (LEVEL, TWO_TESTS))
    decided = (abs(effect.value) > outer) | (abs(effect.value) + inner < margin)
    return int(counts[decided.argmax()]) if decided.any() else None
