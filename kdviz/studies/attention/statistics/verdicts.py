"""Verdicts of a study as data: what is concluded, from which numbers, by which rule. The words are made from these.

Every verdict has a value, its interval, what it is held against, and the name of a rule in ``RULES``, so that each
sentence can be checked against its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from kdviz.metrics.uncertainty import LEVEL
from kdviz.studies.attention.statistics.controls import SHARE, TWO_TESTS, Control
from kdviz.studies.attention.statistics.report import AttentionReport
from kdviz.studies.attention.statistics.uncertainty import Effect

CLOSER, FURTHER, AS_CLOSE, UNTOLD = "closer", "further", "as close", "cannot be told"
_MOST = 1000  # trainings, beyond which it is not said how many would decide

RULES = {
    "trainings": "one training of each student: nothing is said of others",
    "equivalence": f"the {TWO_TESTS:.0%} interval lies within the margin (two one-sided tests at 5 %)",
    "difference": f"the {LEVEL:.0%} interval is without zero, and not within the margin",
    "neither": f"the {LEVEL:.0%} interval has zero in it, and the {TWO_TESTS:.0%} interval is not within the margin",
    "bound": f"the {TWO_TESTS:.0%} interval lies within, beyond or across +- {SHARE:g} of the effect",
    "no effect": "the effect that the control is held against cannot be told from nothing",
}
"""Name -> what it says; of the first four the first that is true decides the claim."""


@dataclass(frozen=True)
class AttentionVerdict:
    """One conclusion.

    Attributes:
        about: ``claim`` or ``control``.
        part: Of a control its name.
        of: The study's value that it is about.
        outcome: Of the claim ``closer``, ``further``, ``as close`` or ``cannot be told``; of a control ``passed``,
            ``failed`` or ``cannot tell``.
        rule: A key of ``RULES``.
        value, low, high: The difference with its 95 % interval.
        inner_low, inner_high: Its 90 % interval, of two one-sided tests.
        margin: Below which a difference counts as none; of a control its bound; NaN: nothing to hold it against.
        images, seeds, teachers, trainings: How many.
        enough: About how many trainings would decide, if value and spread stayed as they are; None: no telling.
    """

    about: str
    part: str
    of: float | None
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


def claim_of(effect: Effect, margin: float, value: float | None = None) -> AttentionVerdict:
    """Is the KD student's map closer to the teacher's than that of the student alone, by this effect?"""
    outcome, rule = _claimed(effect, margin)
    enough = trainings_enough(effect, margin) if outcome == UNTOLD else None
    return _verdict("claim", "", value, outcome, rule, effect, margin, enough)


def verdict_of(control: Control) -> AttentionVerdict:
    """What a control says."""
    rule = "trainings" if control.difference.trainings < 2 else "bound" if control.bound > 0 else "no effect"
    return _verdict(
        "control", control.name, control.value, control.outcome, rule, control.difference, control.bound, None
    )


def verdicts(report: AttentionReport) -> list[AttentionVerdict]:
    """The claim for every value of the study, and each control."""
    claims = [claim_of(one.difference, report.margin, one.value) for one in report.values]
    return [*claims, *map(verdict_of, report.all_controls)]


def _claimed(effect: Effect, margin: float) -> tuple[str, str]:
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
    of: float | None,
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
    """The fewest independent trainings after which this value would be told from zero, or from the margin.

    The trainings' variance falls with their number, the images' stays; at least as many as there are.
    """
    if effect.trainings < 2:
        return None
    (images, _), *others = effect.parts
    each = max(variance * (degrees + 1) for variance, degrees in others)
    counts = np.arange(effect.trainings, _MOST + 1)
    error = np.sqrt(each / counts + images)
    wide, inner = (student_t.ppf((1 + level) / 2, counts - 1) * error for level in (LEVEL, TWO_TESTS))
    decided = (abs(effect.value) > wide) | (abs(effect.value) + inner < margin)
    return int(counts[decided.argmax()]) if decided.any() else None
