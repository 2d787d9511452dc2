"""How sure a difference between two ways of training is, when both the seeds and the test samples are a draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t


@dataclass(frozen=True)
class Difference:
    """A mean difference with a 95 % confidence interval over seeds and samples.

    Attributes:
        value: Second minus first.
        low, high: The interval.
        seeds, samples: How many of each.
        seed_error, sample_error: The standard error that each alone gives; the first is NaN with one seed, and then
            the interval says nothing about other seeds.
    """

    value: float
    low: float
    high: float
    seeds: int
    samples: int
    seed_error: float
    sample_error: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_difference(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Difference:
    """The mean of ``second - first`` and its interval, when seeds (rows) and samples (columns) are both random.

    Rows and columns are crossed: with d_sn the difference of seed s on sample n, the variance of the mean is at most

        Var_s(mean over n of d) / S + Var_n(mean over s of d) / N

    which counts what is particular to a pair of both twice, so that the interval is a little wide (Owen, 2007,
    section 3, for crossed random effects). The degrees of freedom are Welch and Satterthwaite's, of S - 1 and N - 1.
    It needs no more than the table of right and wrong answers, and gives the same on every call, as a bootstrap would
    not.

    Args:
        first, second: (seeds, samples), numbers or bool, paired by seed and by sample.
        level: Of confidence.

    Raises:
        ValueError: They have different shapes, or fewer than two samples.
    """
    if first.shape != second.shape or first.ndim != 2 or first.shape[1] < 2:
        raise ValueError(f"needs two tables (seeds, samples) of one shape, got {first.shape} and {second.shape}")
    difference = second.astype(float) - first.astype(float)
    seeds, samples = difference.shape
    by_sample = difference.mean(0).var(ddof=1) / samples
    by_seed = difference.mean(1).var(ddof=1) / seeds if seeds > 1 else float("nan")
    parts = [(by_sample, samples - 1)] + ([(by_seed, seeds - 1)] if seeds > 1 else [])
    variance = sum(part for part, _ in parts)
    scale = sum(part**2 / freedom for part, freedom in parts)
    half = float(student_t.ppf((1 + level) / 2, variance**2 / scale) * variance**0.5) if variance > 0 else 0.0
    value = float(difference.mean())
    return Difference(value, value - half, value + half, seeds, samples, float(by_seed**0.5), float(by_sample**0.5))
