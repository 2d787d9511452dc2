"""Which classes a model takes for which: mean probabilities off the diagonal, and how alike two models order them.

A cell is the mean probability of a class over the pictures of another, true class. Two models have the same dark
knowledge where they rank the cells alike. Ranks do not depend on how sure a model is, and neither does their
correlation.

The interval is a delete-a-group jackknife: pictures of each class go into 20 groups at random, and Student's t with 19
degrees of freedom has the error of the values without each group. Of the *difference* of two models' correlations with
a third, it holds 95 to 100 % of the truth with 1,000 to 10,000 pictures, sharp or softened probabilities, where the
bootstrap holds 55 to 97 %: one confident mistake moves a cell over many ranks, and in a resample it comes twice or not
at all. A single correlation is measured too low, since noise disorders the cells: its interval holds 89 to 99 % with
1,000 pictures a class, and much less with 100. Simulated in ``tests/unit/metrics/test_confusions.py`` and from the
answers in ``models``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from kdviz.metrics.uncertainty import Difference, interval_of

GROUPS = 20
"""Groups of pictures that are left out one after the other."""

FEWEST_CELLS = 6
"""Cells from which on a rank correlation is told: those of three classes."""


def mean_confusions(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean probability of each class over the pictures of each true class, float64 (classes, classes).

    Args:
        probabilities: (N, classes), with sum 1 over the classes.
        labels: int (N,), true classes.

    Returns:
        Row: true class; NaN for one without pictures. Column: class that the model gives probability to.
    """
    classes = probabilities.shape[1]
    sums = np.zeros((classes, classes))
    np.add.at(sums, labels, probabilities)
    counts = np.bincount(labels, minlength=classes).astype(float)
    return sums / np.where(counts > 0, counts, np.nan)[:, None]


def confusion_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's correlation of the off-diagonal cells of two models, in [-1, 1]; higher is more alike.

    Args:
        first, second: (classes, classes), as :func:`mean_confusions` gives them. Rows with NaN are left out.

    Returns:
        NaN with fewer than ``FEWEST_CELLS`` cells, or where all cells of a model are equal.
    """
    known = ~np.eye(len(first), dtype=bool) & np.isfinite(first) & np.isfinite(second)
    ranks = [rankdata(cells[known]) for cells in (first, second)]
    if known.sum() < FEWEST_CELLS or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])


@dataclass(frozen=True)
class ConfusionsWithoutGroups:
    """Mean confusions of a model: of all pictures, and without each group.

    Attributes:
        whole: float64 (classes, classes).
        parts: float64 (groups, classes, classes).
        pictures: Their number.
    """

    whole: np.ndarray
    parts: np.ndarray
    pictures: int

    def correlations(self, other: ConfusionsWithoutGroups) -> np.ndarray:
        """Correlation with another model's, float64 (groups + 1,): of all pictures first."""
        pairs = zip((self.whole, *self.parts), (other.whole, *other.parts), strict=True)
        return np.array([confusion_correlation(first, second) for first, second in pairs])


def confusions_without_groups(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> ConfusionsWithoutGroups:
    """Mean confusions of all pictures, and without each group of them.

    Args:
        probabilities: (N, classes).
        labels: int (N,), true classes. Those with fewer than two pictures are left out.
        groups: int (N,), from :func:`groups_of`; the same for models that are compared.
    """
    rare = np.bincount(labels, minlength=probabilities.shape[1]) < 2
    parts = [mean_confusions(probabilities[groups != group], labels[groups != group]) for group in range(GROUPS)]
    whole, stacked = mean_confusions(probabilities, labels), np.stack(parts)
    whole[rare], stacked[:, rare] = np.nan, np.nan
    return ConfusionsWithoutGroups(whole, stacked, len(labels))


def groups_of(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """A group from 0 to ``GROUPS - 1`` for each picture, int (N,); those of a class are spread evenly over them."""
    generator, groups = np.random.default_rng(seed), np.empty(len(labels), int)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        groups[members] = (np.arange(len(members)) + generator.integers(GROUPS)) % GROUPS
    return groups


def grouped_difference(second: np.ndarray, first: np.ndarray | float, pictures: int) -> Difference:
    """``second`` less ``first``, with the interval of a delete-a-group jackknife; see the module's docstring.

    Args:
        second, first: float64 (groups + 1,), of all pictures first; 0 for the interval of ``second`` itself.
        pictures: Their number.
    """
    values = second - first
    value, parts = float(values[0]), values[1:]
    error = float(np.sqrt((len(parts) - 1) / len(parts) * np.square(parts - parts.mean()).sum()))
    low, high = interval_of(value, [(error**2, len(parts) - 1)])
    return GroupedDifference(value, float(low), float(high), 1, pictures, float("nan"), error)


class GroupedDifference(Difference):
    """A difference whose error is that of ``GROUPS`` groups of pictures."""

    def interval(self, level: float) -> tuple[float, float]:
        """The interval at another level, within what a difference of correlations can be."""
        low, high = interval_of(self.value, [(self.sample_error**2, GROUPS - 1)], level)
        return float(low), float(high)
