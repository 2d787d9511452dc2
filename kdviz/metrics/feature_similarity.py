"""Similarity of the features of two networks on the same pictures: linear CKA by the unbiased estimator of HSIC.

CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X^T and L = Y Y^T (Kornblith et al., 2019, eq. 3 to 5).
It does not change when features are rotated, scaled as a whole or shifted. The usual estimator of HSIC is biased
upwards, the more the wider the features are and the fewer the pictures; here it is that of Song et al. (2012, eq. 5),
as Nguyen et al. (2021, eq. 3) use it: with K~ and L~ the matrices with zeros on the diagonal,

    HSIC = (tr(K~ L~) + 1'K~1 1'L~1 / ((n - 1) (n - 2)) - 2 / (n - 2) 1'K~ L~1) / (n (n - 3))

so that features without a relation have about 0, on either side of it.

Chance is that of the pictures. The value without each picture in turn follows from row sums in O(n^2), and the
jackknife's standard error from these values (Efron and Stein, 1981). Coverage:
``tests/unit/metrics/test_feature_similarity.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.metrics.uncertainty import Difference, interval_of

FEWEST = 5
"""Least number of pictures: the value without one of them needs four."""

_COLUMNS = 4096  # features that are converted to float64 at once
_ROUNDING = 1e-12  # of HSIC, where the largest entry of a kernel is 1


class PairMatrix:
    """A symmetric matrix of pairs of pictures, zeros on its diagonal, and what every correlation with it needs.

    Args:
        matrix: float64 (N, N), which is changed: kernels or distances. Its scale does not matter.

    Attributes:
        matrix: float64 (N, N), with zeros on the diagonal, divided by its largest entry.
        sums: float64 (N,), of its rows.
        own: HSIC of the matrix with itself, float64 (N + 1,): with all pictures, and without each of them.
    """

    def __init__(self, matrix: Tensor):
        largest = float(matrix.abs().max())
        self.matrix = matrix.fill_diagonal_(0) / (largest or 1.0)
        self.sums = self.matrix.sum(1)
        self.own = hsic_without_each(self, self)

    def __len__(self) -> int:
        return len(self.matrix)


class Gram(PairMatrix):
    """The linear kernel of some features, less their mean.

    Args:
        features: (N, ...), one row a picture; any further dimensions are flattened.

    Raises:
        ValueError: There are fewer than ``FEWEST`` pictures, or a value is not finite.

    Attributes:
        squares: float64 (N,), what was on the diagonal, in the scale of the matrix.
    """

    def __init__(self, features: Tensor):
        rows = features.flatten(1)
        if len(rows) < FEWEST:
            raise ValueError(f"needs at least {FEWEST} pictures, got {len(rows)}")
        if not bool(torch.isfinite(rows).all()):
            raise ValueError("features must be finite")
        matrix = torch.zeros(len(rows), len(rows), dtype=torch.float64)
        for columns in rows.split(_COLUMNS, dim=1):
            centred = columns.double() - columns.double().mean(0)
            matrix += centred @ centred.T
        self.squares = matrix.diagonal() / (float(matrix.abs().max()) or 1.0)
        super().__init__(matrix)


def hsic_without_each(first: PairMatrix, second: PairMatrix) -> Tensor:
    """Unbiased HSIC with all pictures, and without each of them, float64 (N + 1,)."""
    count = len(first)
    product = first.matrix * second.matrix
    rows = product.sum(1)
    traces = _with_all(rows.sum(), -2 * rows)
    first_total, second_total = (_with_all(gram.sums.sum(), -2 * gram.sums) for gram in (first, second))
    crossed = second.matrix @ first.sums + first.matrix @ second.sums
    both = _with_all(first.sums @ second.sums, rows - first.sums * second.sums - crossed)
    sizes = torch.full((count + 1,), count - 1, dtype=torch.float64)
    sizes[0] = count
    return _hsic(traces, first_total * second_total, both, sizes)


def _with_all(value: Tensor, changes: Tensor) -> Tensor:
    """A value with all pictures, and the values without each, by what leaving it out changes."""
    return torch.cat([value[None], value + changes])


def _hsic(trace: Tensor, totals: Tensor, both: Tensor, size: Tensor | float) -> Tensor:
    return (trace + totals / ((size - 1) * (size - 2)) - 2 / (size - 2) * both) / (size * (size - 3))


@dataclass(frozen=True)
class CKA:
    """Linear CKA of two layers on the same pictures.

    Attributes:
        value: About 0 without a relation, 1 for features that are equal up to rotation and scale; higher is more alike.
            Not bounded: it may lie a little below 0 or above 1. NaN where a layer says the same of every picture.
        without_each: float64 (N,), the value without each picture.
    """

    value: float
    without_each: np.ndarray


def cka(first: Gram, second: Gram) -> CKA:
    """Linear CKA of two layers; see the module's docstring.

    Raises:
        ValueError: They have different numbers of pictures.
    """
    values = correlations_without_each(first, second)
    return CKA(float(values[0]), values[1:])


def correlations_without_each(first: PairMatrix, second: PairMatrix) -> np.ndarray:
    """HSIC of two matrices divided by the root of each one's own, with all pictures and without each, float64 (N + 1,).

    Raises:
        ValueError: They have different numbers of pictures.
    """
    if len(first) != len(second):
        raise ValueError(f"needs features of the same pictures, got {len(first)} and {len(second)}")
    return (hsic_without_each(first, second) / _scale(first.own, second.own)).numpy()


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA of two tensors of features (N, ...) of the same N pictures, by the unbiased estimator of HSIC.

    Raises:
        ValueError: They have different numbers of pictures, or too few.
    """
    return cka(Gram(first), Gram(second)).value


def _scale(first: Tensor, second: Tensor) -> Tensor:
    """sqrt(HSIC(K, K) HSIC(L, L)); NaN where one is not above zero, or rounding's: the layer does not vary."""
    squares = torch.where((first > _ROUNDING) & (second > _ROUNDING), first * second, torch.nan)
    return squares.sqrt()


def shuffled_cka(first: PairMatrix, second: PairMatrix, seed: int = 0) -> np.ndarray:
    """CKA of two layers whose pictures are paired at random, or their distance correlation: without any relation.

    The pictures are put into a random order, and those of the second layer are then shifted round by 1 to N - 1. Shifts
    form a group, as all permutations do. The sum of the entries K_ij L_(i + s)(j + s), for all shifts s at once, is a
    sum over the diagonals of circular correlations, each by a fast Fourier transform.

    Args:
        first, second: Layers of the same N pictures.
        seed: Of the order.

    Returns:
        float64 (N - 1,).
    """
    count = len(first)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    spectra = [torch.fft.rfft(_diagonals(gram.matrix, order)) for gram in (first, second)]
    traces = torch.fft.irfft((spectra[0].conj() * spectra[1]).sum(0), count)
    sums = [torch.fft.rfft(gram.sums[order]) for gram in (first, second)]
    both = torch.fft.irfft(sums[0].conj() * sums[1], count)
    hsic = _hsic(traces, first.sums.sum() * second.sums.sum(), both, float(count))
    return (hsic / _scale(first.own[0], second.own[0]))[1:].numpy()


def _diagonals(matrix: Tensor, order: Tensor) -> Tensor:
    """[d, i] -> the entry at i and i + d, counted round, of a matrix (N, N) in this order."""
    columns = torch.cat([order, order]).unfold(0, len(order), 1)[:-1]  # (N, N), row d: the order from d on
    return matrix[order.expand_as(columns), columns]


def within_class_cka(first: PairMatrix, second: PairMatrix, labels: Tensor) -> float:
    """The mean CKA where each picture is paired with a random one of its class: what the classes alone make alike.

    The mean over all such permutations, exactly: an entry of the second kernel becomes the mean of those with its two
    classes.

    Args:
        first, second: Layers of the same N pictures.
        labels: int64 (N,), the class of each picture.
    """
    members = F.one_hot(labels).double()  # (N, classes)
    counts = members.sum(0)
    pairs = counts[:, None] * counts[None] - torch.diag(counts)  # of two pictures
    first_blocks, second_blocks = (members.T @ gram.matrix @ members for gram in (first, second))
    trace = (first_blocks * second_blocks / pairs.clamp(min=1)).sum()
    both = ((members.T @ first.sums) * (members.T @ second.sums) / counts.clamp(min=1)).sum()
    hsic = _hsic(trace, first.sums.sum() * second.sums.sum(), both, float(len(first)))
    return float(hsic / _scale(first.own[0], second.own[0]))


# intervals ------------------------------------------------------------------------------------------------------------


def jackknife_error(without_each: np.ndarray) -> float:
    """Standard error of a statistic by its values without each of n pictures: sqrt((n - 1) / n sum of squares)."""
    count = len(without_each)
    return float(np.sqrt((count - 1) / count * np.square(without_each - without_each.mean()).sum()))


def cka_difference(second: CKA, first: CKA) -> Difference:
    """CKA of ``second`` less that of ``first``, on the same pictures, with the jackknife's interval over them."""
    return jackknife_difference(second.value - first.value, second.without_each - first.without_each)


def jackknife_difference(value: float, without_each: np.ndarray) -> Difference:
    """A value, or a difference of values, with Student's interval by the jackknife's standard error."""
    error, count = jackknife_error(without_each), len(without_each)
    low, high = interval_of(value, [(error**2, count - 1)])
    return Difference(value, float(low), float(high), 1, count, float("nan"), error)
