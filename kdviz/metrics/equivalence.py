"""Whether a difference is negligible, significant or undecided: two one-sided tests.

That a difference is not significant does not show that it is small. Equivalence is shown when the difference is both
above -margin and below +margin, each by a one-sided test at alpha = .05, which is when the 90 % interval lies within
the margins (Schuirmann, 1987, https://doi.org/10.1007/BF01068419). A difference is shown when its 95 % interval
excludes 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy.special import ndtr, ndtri

from kdviz.metrics.uncertainty import Difference, p_value_above

MARGIN = 0.005
"""Default margin for accuracy: half a percentage point."""

ALPHA = 0.05
"""Error rate of each of the two one-sided tests, and of the two-sided test of no difference."""

POWER = 0.8
"""Power for which numbers of samples are computed."""

BETTER, WORSE, EQUIVALENT, UNDECIDED = "better", "worse", "equivalent", "cannot tell"
YES, NO = "yes", "no"

_MOST_SAMPLES = 10**9


@dataclass(frozen=True)
class Equivalence:
    """The judgement of a difference by a margin.

    Attributes:
        difference: The difference.
        margin: Differences of this size or less do not matter; > 0, in the unit of the difference.
        low, high: The interval at 1 - 2 * alpha (90 %), of the two one-sided tests. That at 1 - alpha (95 %) is
            the difference's own.
        outcome: ``equivalent``: ``low`` and ``high`` are within the margins. Otherwise ``better`` (second above first)
            or ``worse`` when the 95 % interval excludes 0, else ``cannot tell``. A difference that is significant and
            within the margin is ``equivalent``, and ``apart``.
        no_worse: Answer to the one-sided question "as good as the first": ``yes`` when ``low > -margin``
            (non-inferiority), ``no`` when ``high < -margin``, else ``cannot tell``.
    """

    difference: Difference
    margin: float
    low: float
    high: float
    outcome: str
    no_worse: str

    @property
    def apart(self) -> bool:
        """Whether the 95 % interval excludes 0."""
        low, high = self.difference.interval(1 - ALPHA)
        return low > 0 or high < 0

    @property
    def one_seed(self) -> bool:
        """Whether there is one seed only, so that nothing is known about others."""
        return self.difference.seeds < 2


def judge_equivalence(difference: Difference, margin: float = MARGIN) -> Equivalence:
    """Judge a difference by a margin.

    Args:
        difference: Second minus first.
        margin: The margin, > 0.

    Raises:
        ValueError: The margin is not above 0.
    """
    if not margin > 0:
        raise ValueError(f"the margin must be above 0, got {margin}")
    low, high = difference.interval(1 - 2 * ALPHA)
    outer = difference.interval(1 - ALPHA)
    return Equivalence(
        difference, margin, low, high, _outcome((low, high), outer, margin), _no_worse((low, high), margin)
    )


def _outcome(inner: tuple[float, float], outer: tuple[float, float], margin: float) -> str:
    if -margin < inner[0] and inner[1] < margin:
        return EQUIVALENT
    if outer[0] > 0:
        return BETTER
    return WORSE if outer[1] < 0 else UNDECIDED


def _no_worse(inner: tuple[float, float], margin: float) -> str:
    return YES if inner[0] > -margin else NO if inner[1] < -margin else UNDECIDED


def samples_to_decide(difference: Difference, margin: float = MARGIN, *, one_sided: bool = False) -> int | None:
    """The number of samples that would decide in 4 of 5 cases, given the difference and its variance per sample.

    For this the intervals must decide when they are wider by the .8 quantile of the normal distribution, in standard
    errors (Cohen, 1988). Where the difference is exactly 0, it can leave both margins, and 3 of 5 decide.

    None when no number of samples would: the variance between seeds is too large for it (more seeds are needed), or the
    difference lies exactly on a margin. A decided question needs no more samples than there are.

    Args:
        difference: The measured difference.
        margin: The margin, > 0.
        one_sided: Whether the question is :attr:`Equivalence.no_worse`; otherwise :attr:`Equivalence.outcome`.
    """
    if _decided(difference, margin, one_sided):
        return difference.samples
    if not _will_decide(with_samples(difference, _MOST_SAMPLES), margin, one_sided):
        return None
    too_few, enough = difference.samples, _MOST_SAMPLES
    while enough - too_few > 1:
        half = int(math.sqrt(too_few) * math.sqrt(enough)) if enough > 2 * too_few else (too_few + enough) // 2
        half = min(max(half, too_few + 1), enough - 1)
        too_few, enough = (
            (too_few, half) if _will_decide(with_samples(difference, half), margin, one_sided) else (half, enough)
        )
    return enough


def _decided(difference: Difference, margin: float, one_sided: bool) -> bool:
    judgement = judge_equivalence(difference, margin)
    return (judgement.no_worse if one_sided else judgement.outcome) != UNDECIDED


def _will_decide(difference: Difference, margin: float, one_sided: bool) -> bool:
    inner, outer = (difference.interval(_with_power(level)) for level in (1 - 2 * ALPHA, 1 - ALPHA))
    return (_no_worse(inner, margin) if one_sided else _outcome(inner, outer, margin)) != UNDECIDED


def _with_power(level: float) -> float:
    """The level of an interval that is widened so that 4 of 5 such intervals decide."""
    return float(1 - 2 * ndtr(ndtri((1 - level) / 2) - ndtri(POWER)))


def with_samples(difference: Difference, samples: int) -> Difference:
    """The difference scaled to a number of samples: the variance by samples shrinks, that by seeds stays."""
    share = difference.samples / samples
    observed = difference.sample_error**2 - difference.added
    by_sample = observed * share + difference.added * share**2
    shared = difference.shared * share
    by_seed = max(0.0, difference.seed_error**2 - difference.shared) + shared if difference.seeds > 1 else math.nan
    return replace(
        difference,
        samples=samples,
        seed_error=math.sqrt(by_seed),
        sample_error=math.sqrt(by_sample),
        shared=shared,
        added=difference.added * share**2,
    )


def equivalence_p_value(difference: Difference, margin: float = MARGIN) -> float:
    """The larger of the two one-sided p-values: below alpha where the 1 - 2 * alpha interval is within +-margin."""
    above = p_value_above(difference.value + margin, difference.parts, difference.shared)
    below = p_value_above(margin - difference.value, difference.parts, difference.shared)
    return max(above, below)
