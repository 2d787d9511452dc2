"""Controls of the claim: differences that must come out as nothing, held against the effect by an equivalence bound.

An interval that contains zero is no proof of nothing: with few trainings it may contain the whole effect as well. So a
control passes when two one-sided tests at 5 % (Schuirmann, 1987) show it to be smaller than a quarter of the effect,
either way: when its 90 % interval lies within +- a quarter of the effect. A quarter, since then at least three quarters
of the effect are left, whatever it is that the control shows, while a control that is truly a third of the effect
passes in well under one of 20 studies.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdviz.metrics.equivalence import ALPHA
from kdviz.studies.attention.statistics.agreements import Agreements
from kdviz.studies.attention.statistics.effects import effect_of, mean_contrast, pair_contrast
from kdviz.studies.attention.statistics.pairs import CONTROLS, MAIN_EFFECT
from kdviz.studies.attention.statistics.uncertainty import Effect, Interval

SHARE = 0.25
"""Of the effect, that a control must be shown to be smaller than."""

TWO_TESTS = 1 - 2 * ALPHA
"""Level of the interval that says what two one-sided tests at 5 % say."""

PASSED, FAILED, CANNOT_TELL = "passed", "failed", "cannot tell"


@dataclass(frozen=True)
class Control:
    """A difference that must come out as nothing.

    Attributes:
        kind: A key of ``CONTROLS``.
        name: In words.
        value: Of the study: of the effect that it is held against, and of the KD students where such are in it.
        level: Mean agreement of the first of the two, to see whether the maps were alike at all.
        difference: Of the two, corrected as the effect is.
        effect: What it is held against.
    """

    kind: str
    name: str
    value: float | None
    level: float
    difference: Effect
    effect: Effect

    @property
    def bound(self) -> float:
        """A quarter of the effect's size; NaN where the effect itself cannot be told from nothing."""
        known = self.effect.excludes_zero and self.effect.trainings > 1
        return SHARE * abs(self.effect.value) if known else float("nan")

    @property
    def interval(self) -> Interval:
        """90 %, of two one-sided tests."""
        return self.difference.at(TWO_TESTS)

    @property
    def outcome(self) -> str:
        """``passed``: the interval lies within the bound; ``failed``: beyond it; ``cannot tell``: neither."""
        low, high, bound = self.interval.low, self.interval.high, self.bound
        if self.difference.trainings < 2 or not bound > 0:
            return CANNOT_TELL
        if -bound < low and high < bound:
            return PASSED
        return FAILED if low > bound or high < -bound else CANNOT_TELL

    @property
    def passed(self) -> bool:
        return self.outcome == PASSED

    @property
    def small(self) -> bool:
        """Whether it passes and is not nothing: its 95 % interval is without zero."""
        return self.passed and self.difference.excludes_zero

    @property
    def share(self) -> float:
        """Of the effect; NaN without one."""
        return self.difference.value / self.effect.value if self.bound > 0 else float("nan")


def controls_of(agreements: Agreements, value: float | None, effect: Effect, corrected: bool) -> list[Control]:
    """Each control that the study has, for one of its values and the effect there."""
    alone = agreements.of(MAIN_EFFECT, "student", value)
    pairs = {"second": (agreements.of("second", "second", value), alone)}
    pairs |= {
        kind: (agreements.of(kind, "kd_student", value), agreements.of(kind, "student", value))
        for kind in ("shuffled", "other")
    }
    found = []
    for kind, (first, other) in pairs.items():
        contrast = pair_contrast(first, other)
        if contrast:
            level = effect_of(agreements, mean_contrast(first), corrected).value
            difference = effect_of(agreements, contrast, corrected)
            found.append(Control(kind, CONTROLS[kind], value, level, difference, effect))
    return found
