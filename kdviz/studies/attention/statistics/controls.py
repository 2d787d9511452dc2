"""Controls of the claim: differences that should be zero, tested against a bound that is a share of the effect.

An interval that contains zero does not prove a difference of zero: with few trainings it may contain the whole effect
as well. So a control passes when two one-sided tests at 5 % (Schuirmann, 1987) show it to be smaller than a quarter of
the effect, either way: when its 90 % interval lies within +- a quarter of the effect. With a quarter, at least three
quarters of the effect remain, whatever the control shows, while a control that is truly a third of the effect passes in
well under one of 20 studies.
"""

from __future__ import annotations

from dataclasses import dataclass

from kdviz.core.vocabulary import Role
from kdviz.metrics.equivalence import ALPHA
from kdviz.studies.attention.statistics.agreements import Agreements, Value
from kdviz.studies.attention.statistics.effects import effect_of, known_images, mean_contrast, pair_contrast
from kdviz.studies.attention.statistics.pairs import CONTROLS, MAIN_EFFECT
from kdviz.studies.attention.statistics.uncertainty import Effect, Interval

SHARE = 0.25
"""The share of the effect that a control must be shown to stay below."""

TWO_TESTS = 1 - 2 * ALPHA
"""Level of the interval that is equivalent to two one-sided tests at 5 %."""

PASSED, FAILED, CANNOT_TELL = "passed", "failed", "cannot tell"


@dataclass(frozen=True)
class Control:
    """A difference that should be zero.

    Attributes:
        kind: A key of ``CONTROLS``.
        name: Its title in ``CONTROLS``, to be translated.
        value: The study's value of the effect that it is held against.
        level: Mean agreement of the first of the two pairs, which shows whether the maps were alike at all.
        difference: Difference of the two, corrected as the effect is.
        effect: The effect that it is held against.
    """

    kind: str
    name: str
    value: Value | None
    level: float
    difference: Effect
    effect: Effect

    @property
    def bound(self) -> float:
        """A quarter of the effect's size; NaN where the effect itself cannot be told from nothing."""
        is_known = self.effect.excludes_zero and self.effect.trainings > 1
        return SHARE * abs(self.effect.value) if is_known else float("nan")

    @property
    def interval(self) -> Interval:
        """The 90 % interval, that of two one-sided tests."""
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
        """Whether it passes although it is not zero: its 95 % interval excludes zero."""
        return self.passed and self.difference.excludes_zero

    @property
    def share(self) -> float:
        """The difference as a share of the effect; NaN without an effect."""
        return self.difference.value / self.effect.value if self.bound > 0 else float("nan")


def controls_of(agreements: Agreements, value: Value | None, effect: Effect, corrected: bool) -> list[Control]:
    """Every control that the study has, for one of its values and the effect of that value.

    One all of whose images have a constant map is none.
    """
    alone = agreements.of(MAIN_EFFECT, Role.STUDENT, value)
    pairs = {"second": (agreements.of("second", "second", value), alone)}
    pairs |= {
        kind: (agreements.of(kind, Role.KD_STUDENT, value), agreements.of(kind, Role.STUDENT, value))
        for kind in ("shuffled", "other")
    }
    controls = []
    for kind, (first, second) in pairs.items():
        contrast = pair_contrast(first, second)
        if contrast and known_images(contrast).any():
            level = effect_of(agreements, mean_contrast(first), corrected).value
            difference = effect_of(agreements, contrast, corrected)
            controls.append(Control(kind, CONTROLS[kind], value, level, difference, effect))
    return controls
