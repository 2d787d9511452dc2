"""Confidence intervals of a difference between two ways of training, when both seeds and test samples are random.

One rule serves every statistic with several sources of randomness. Each source gives a *part*: the variance of the
mean that it alone causes, and the degrees of freedom of the estimate of that variance. With ``t_d`` the quantile of
Student's distribution, ``v`` a part's variance and ``d`` its degrees, half of the interval is the largest of

    t_D * sqrt(V)      all parts together: V = sum of v, D = V^2 / sum of v^2 / d  (Satterthwaite, 1946)
    t_d * sqrt(v)      each part alone

so that, except for the two cases below, the interval over seeds and samples is never narrower than that over seeds
alone or over samples alone. The first by itself is Welch's and Satterthwaite's interval, which can be, and covers as
little as .87 with two seeds and .92 with three. The largest covers .945 to .967 with two seeds, .949 to .955 with
three, .943 to .951 with five, at any ratio of the two variances. To add the squares of both halves (as Graybill and
Wang, 1980) covers .953 to .987 and is up to 1.7 times as wide as this where the samples decide; the distribution of
Behrens and Fisher is as wide.

With one degree of freedom (two seeds) t is 12.7, and an interval that is never narrower than that of either part covers
.977 at some ratios. There the part alone counts, minus .05 of the other parts' variance.

``shared`` is variance that is in two parts. With seeds and samples crossed, the part specific to a pair of both is in
the variance between seeds and in that between samples (Owen, 2007, section 3), and counts once: it is taken from the
variance between seeds, V = sum of v - shared. Where seeds differ by no more than it explains, nothing shows that seeds
matter, and their part alone sets no bound: where v / shared is below that quantile of chi^2_d / d whose probability is
.45 (.25 with one degree), or 9 (5) times 1 - level at levels above .95. Where shared is half of the samples' variance
or more and seeds hardly matter, .95 becomes up to .976 with three seeds or more and .986 with two; nowhere is it below
.94. Measured by ``tests/unit/metrics/test_uncertainty.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import chdtr, stdtr, stdtrit  # as scipy.stats uses them, whose checks take forty times as long

LEVEL = 0.95
"""Default confidence level."""

Part = tuple[Any, float]
"""The variance of the mean that one source of chance causes (>= 0, a number or an array), and its degrees of freedom.

A variance of NaN is unknown and left out: the interval then says nothing about that source. Where all are unknown the
interval is, too: its ends and the p-value are NaN."""

_SPARED = 0.05
_EXPLAINED, _EXPLAINED_BY_TWO = 0.45, 0.25  # probabilities of the quantile in the module's docstring, at .95
_PSEUDO = 4.0  # about 1.96 squared, as Agresti and Coull (1998) add to counts


def interval_of(value: Any, parts: Sequence[Part], level: float = LEVEL, shared: Any = 0.0) -> tuple[Any, Any]:
    """The two-sided interval of a mean with several sources of chance: (low, high); see the module's docstring.

    The intervals at 1 - 2 * alpha are those of two one-sided tests at alpha.

    Args:
        value: The mean, a number or an array like the parts' variances.
        parts: Variance of the mean and degrees of freedom of each source. Sources may be crossed (seeds and samples).
            Of nested sources (seeds within teachers) only the outermost is a part: the variance of its means already
            contains that of the inner ones.
        level: Confidence level.
        shared: Variance that is in two of the parts; see :func:`crossed_variances` and :func:`shared_variance`.
    """
    half = half_width(parts, level, shared)
    return value - half, value + half


def half_width(parts: Sequence[Part], level: float = LEVEL, shared: Any = 0.0) -> Any:
    """Half of the width of :func:`interval_of`; 0 without any variance, and NaN where no variance is known."""
    if _nothing_known(parts):
        return float("nan")
    ratio = min(1.0, (1 - level) / (1 - LEVEL))
    widths = [
        np.where(proven > ratio, stdtrit(degrees, (1 + level) / 2) * error, 0.0)
        for error, degrees, proven in _bounds(parts, shared)
    ]
    return _plain(np.max(np.broadcast_arrays(*widths), axis=0)) if widths else 0.0


def p_value_of(value: Any, parts: Sequence[Part], shared: Any = 0.0) -> Any:
    """Two-sided p-value of no effect: below 1 - level exactly where :func:`interval_of` at that level excludes 0."""
    return _plain(2 * np.minimum(0.5, p_value_above(np.abs(value), parts, shared)))


def p_value_above(value: Any, parts: Sequence[Part], shared: Any = 0.0) -> Any:
    """One-sided p-value of "the mean is not above 0": below alpha where the interval at 1 - 2 * alpha is above 0."""
    if _nothing_known(parts):
        return _plain(np.full(np.shape(value), np.nan))
    # Without any variance a value above 0 is certain, and a value of 0 is no evidence.
    certain = np.where(np.asarray(value) > 0, np.inf, -np.inf)
    bounds = []
    for error, degrees, proven in _bounds(parts, shared):
        tail = stdtr(degrees, -np.where(error > 0, value / np.where(error > 0, error, 1.0), certain))
        # A part that sets a bound only at levels above 1 - .05 * proven sets none for a larger alpha of both sides.
        bounds.append(np.where(proven > 1, tail, np.minimum(tail, proven * (1 - LEVEL) / 2)))
    return _plain(np.max(np.broadcast_arrays(*bounds), axis=0) if bounds else np.where(certain > 0, 0.0, 1.0))


def _nothing_known(parts: Sequence[Part]) -> bool:
    """Whether there are sources of chance, and of none of them the variance is known."""
    return bool(parts) and all(np.all(np.isnan(np.asarray(variance, float))) for variance, _ in parts)


def _bounds(parts: Sequence[Part], shared: Any) -> list[tuple[np.ndarray, Any, Any]]:
    """Standard error and degrees of freedom of all parts together, and of each alone, with the evidence that the part
    exceeds the shared variance: above 1 it sets a bound at every level, below only at 1 - .05 times it and more.
    """
    known_parts = [(np.asarray(variance, float), degrees) for variance, degrees in parts]
    known_parts = [
        (np.maximum(variance, 0.0), degrees) for variance, degrees in known_parts if not np.all(np.isnan(variance))
    ]
    if not known_parts:
        return []
    (fewest_variance, fewest_degrees), *other_parts = sorted(known_parts, key=lambda part: part[1])
    shared = np.asarray(shared if other_parts else 0.0, float)
    unshared = np.maximum(fewest_variance - shared, 0.0)
    total = unshared + sum(variance for variance, _ in other_parts)
    scale = unshared**2 / fewest_degrees + sum(variance**2 / degrees for variance, degrees in other_parts)
    total_degrees = np.where(scale > 0, total**2 / np.where(scale > 0, scale, 1), np.inf)
    reached = np.where(
        shared > 0, chdtr(fewest_degrees, fewest_degrees * fewest_variance / np.where(shared > 0, shared, 1.0)), 1.0
    )
    proven = reached / (_EXPLAINED_BY_TWO if fewest_degrees <= 1 else _EXPLAINED)
    reduced = (
        np.maximum(fewest_variance - _SPARED * np.maximum(total - fewest_variance, 0.0), 0.0)
        if fewest_degrees <= 1
        else fewest_variance
    )
    alone = [(np.sqrt(variance), degrees, np.inf) for variance, degrees in other_parts]
    return [(np.sqrt(total), total_degrees, np.inf), (np.sqrt(reduced), fewest_degrees, proven), *alone]


def _plain(value: np.ndarray) -> Any:
    return float(value) if np.ndim(value) == 0 else value


# crossed seeds and samples --------------------------------------------------------------------------------------------


def crossed_variances(table: np.ndarray, pseudo: float = 0.0) -> tuple[Any, Any, Any]:
    """Variances of the mean of a table of crossed seeds and samples: (by seed, by sample, shared).

    With d_sn the entry of seed s and sample n, S seeds and N samples, and r_sn the residual of d_sn
    without the means of its row and column:

        by seed   = Var_s(mean over n of d) / S         NaN with one seed
        by sample = Var_n(mean over s of d) / N
        shared    = sum of r^2 / ((S - 1) (N - 1)) / (S N)     0 with one seed

    Args:
        table: Values, (..., seeds, samples).
        pseudo: Value added to the sum of squares over samples.
    """
    seeds, samples = table.shape[-2:]
    rows, columns = table.mean(-1), table.mean(-2)
    by_sample = (columns.var(-1) * samples + pseudo) / (samples - 1) / samples
    if seeds < 2:
        return np.full(by_sample.shape, np.nan), by_sample, np.zeros(by_sample.shape)
    residuals = table - rows[..., None] - columns[..., None, :] + rows.mean(-1)[..., None, None]
    shared = (residuals**2).sum((-1, -2)) / ((seeds - 1) * (samples - 1)) / (seeds * samples)
    return rows.var(-1, ddof=1) / seeds, by_sample, shared


def shared_variance(replicates: np.ndarray) -> float:
    """``shared`` for a statistic that is not a mean over samples, from a bootstrap over samples.

    The sum over units of Var_b(x_kb - mean over units of x_b) / (K (K - 1)), an estimate of the part specific to a
    pair of unit and sample in the mean over units.

    Args:
        replicates: (B, K), the statistic of each of K units (seeds, teachers) on the same B resamples.
    """
    count = replicates.shape[1]
    if count < 2:
        return 0.0
    deviations = replicates - replicates.mean(1, keepdims=True)
    return float(np.nanvar(deviations, axis=0, ddof=1).sum() / (count * (count - 1)))


@dataclass(frozen=True)
class Difference:
    """A mean difference with a confidence interval over seeds and samples.

    Attributes:
        value: Second minus first.
        low, high: The interval.
        seeds, samples: Numbers of seeds and samples.
        seed_error, sample_error: The standard error by each alone; the first is NaN with one seed, and then
            the interval says nothing about other seeds.
        shared: Variance that is in both; see the module's docstring.
        level: Confidence level of ``low`` and ``high``.
        added: Part of the samples' variance that was added to the observed one; see :func:`paired_difference`.
    """

    value: float
    low: float
    high: float
    seeds: int
    samples: int
    seed_error: float
    sample_error: float
    shared: float = 0.0
    level: float = LEVEL
    added: float = 0.0

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts for :func:`interval_of`; with one seed the samples alone."""
        samples = (self.sample_error**2, max(1, self.samples - 1))
        return (samples, (self.seed_error**2, self.seeds - 1)) if self.seeds > 1 else (samples,)

    def interval(self, level: float) -> tuple[float, float]:
        """The interval at another level; .9 is that of two one-sided tests at .05."""
        return interval_of(self.value, self.parts, level, self.shared)

    @property
    def p_value(self) -> float:
        """Two-sided p-value of no difference."""
        return p_value_of(self.value, self.parts, self.shared)


def paired_difference(first: np.ndarray, second: np.ndarray, level: float = LEVEL) -> Difference:
    """The mean of ``second - first`` and its interval, when seeds (rows) and samples (columns) are both random.

    Rows and columns are crossed; the variances are those of :func:`crossed_variances`, the interval is that of
    :func:`interval_of`. It needs no more than the table of correct and wrong predictions, and is deterministic,
    unlike a bootstrap.

    Bools that never differ have no variance in the table, but may differ on the next sample: for them 4 is
    added to the sum of squares over samples, as Agresti and Coull (1998) add 2 successes and 2 failures. So N equal
    values have a 90 % interval of +-3.3 / N; the exact bound is 3.0 / N.

    Args:
        first, second: (seeds, samples), numbers or bool, paired by seed and by sample.
        level: Confidence level.

    Raises:
        ValueError: They have different shapes, or fewer than two samples.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 2:
        raise ValueError(f"needs two tables (seeds, samples) of one shape, got {first.shape} and {second.shape}")
    pseudo = _PSEUDO if first.dtype == bool and second.dtype == bool else 0.0
    difference = second.astype(float) - first.astype(float)
    seeds, samples = difference.shape
    by_seed, by_sample, shared = map(float, crossed_variances(difference, pseudo))
    value, added = float(difference.mean()), pseudo / (samples - 1) / samples
    estimate = Difference(value, value, value, seeds, samples, by_seed**0.5, by_sample**0.5, shared, level, added)
    low, high = estimate.interval(level)
    if pseudo:  # shares differ by no more than 1
        low, high = max(low, -1.0), min(high, 1.0)
    return replace(estimate, low=low, high=high)


# several comparisons --------------------------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm, 1979): the smallest times their number, and so on."""
    order, adjusted, floor = np.argsort(p_values, kind="stable"), [0.0] * len(p_values), 0.0
    for rank, number in enumerate(order):
        floor = max(floor, min(1.0, (len(p_values) - rank) * float(p_values[number])))
        adjusted[int(number)] = floor
    return adjusted


def simultaneous_level(count: int, level: float = LEVEL) -> float:
    """The level of each of ``count`` intervals that together hold all truths with probability ``level`` or more.

    Bonferroni's: 1 - (1 - level) / count. It holds for dependent comparisons too, such as neighbouring differences.
    """
    return 1 - (1 - level) / max(1, count)


def simultaneous_intervals(differences: Sequence[Difference], level: float = LEVEL) -> list[tuple[float, float]]:
    """The intervals of several differences that all hold together with probability ``level`` or more."""
    each_level = simultaneous_level(len(differences), level)
    return [difference.interval(each_level) for difference in differences]
