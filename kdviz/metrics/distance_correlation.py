"""Distance correlation of the features of two networks, and what is left of it with those of a third partialled out.

For matrices A and B of Euclidean distances, U-centred, the bias-corrected distance correlation (Szekely and Rizzo,
"Partial distance correlation with methods for dissimilarities", Annals of Statistics 42, 2014) is

    R(X, Y) = (A · B) / sqrt((A · A) (B · B))

where A · B is the mean of products of their entries off the diagonal. It is on the scale of the square of the distance
correlation of Szekely, Rizzo and Bakirov (2007): 0 in the population exactly for independent features, of any relation
and not linear ones alone; the estimate is about 0 for them, on either side, and 1 for features that are equal up to
rotation, shift and scale. That inner product is the unbiased estimator of HSIC of the two matrices, so that the values
without each picture, and those of pictures paired at random, are computed as for CKA
(:mod:`kdviz.metrics.feature_similarity`), in O(n^2) and O(n^2 log n).

The partial distance correlation of the same paper is that of the projections of A and B onto what is orthogonal to
the matrix C of a third layer; the algebra is that of correlations:

    R(X, Y; Z) = (R(X, Y) - R(X, Z) R(Y, Z)) / sqrt((1 - R(X, Z)^2) (1 - R(Y, Z)^2))

and 0 where nothing of X or Y is left. In the population 0 is not the same as conditional independence.

UniCAM's feature similarity score (FSS) and relevance score (RS) (Adhane et al., 2024, arXiv 2412.13943) are distance
correlations of a layer's features with those of the teacher's layer, and with the ground truth; unique to a model is
what remains with another one's partialled out. The versions of its authors' code (github.com/gadhane/UniCAM) differ;
here, against those:

- Features are of whole pictures, as in their ``main_RSFSS_raw.py``. Elsewhere they take pictures without what each
  model's map calls least relevant, so that two models see different pictures and the map takes part in the score.
- Every score is bias-corrected. Their similarity is the biased one of rows scaled to norm 1, which is well above 0 for
  unrelated features: the more so the wider they are and the fewer the pictures (theirs are batches of 4 to 8).
- The ground truth is the class, as a vector with a single 1, so that two pictures are as far apart as any two of other
  classes. Theirs are the classes' embeddings by BERT or CLIP, which bring a third network's opinion along.
- Both sides are projected, as in Szekely and Rizzo. Their code takes the other model's part from the features and not
  from the ground truth, a semipartial correlation, of lower size by sqrt(1 - R(Y, Z)^2).

Chance is that of the pictures. Coverage of the intervals: ``tests/unit/metrics/test_distance_correlation.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from kdviz.metrics.feature_similarity import (
    Gram,
    PairMatrix,
    correlations_without_each,
    jackknife_difference,
    shuffled_cka,
)
from kdviz.metrics.uncertainty import Difference

_NOTHING = 1e-9  # 1 - R^2 of features that are the same, but for rounding


class Distances(PairMatrix):
    """Euclidean distances between the features of every two pictures.

    Args:
        gram: The kernel of the features, which has them: |x - y|^2 = x · x + y · y - 2 x · y.
    """

    def __init__(self, gram: Gram):
        squared = gram.squares[:, None] + gram.squares - 2 * gram.matrix
        super().__init__(squared.clamp_(min=0).sqrt_())


def class_distances(labels: Tensor) -> Distances:
    """Distances between the classes of every two pictures, int64 (N,): 0, or all the same."""
    return Distances(Gram(F.one_hot(labels).double()))


@dataclass(frozen=True)
class DistanceCorrelation:
    """A distance correlation, or a partial one, of two layers on the same pictures.

    Attributes:
        value: About 0 without a relation, 1 for features that are equal up to rotation and scale; -1 to 1. NaN where a
            layer says the same of every picture.
        without_each: float64 (N,), the value without each picture.
    """

    value: float
    without_each: np.ndarray

    def interval(self) -> Difference:
        """The value with the jackknife's interval over pictures."""
        return jackknife_difference(self.value, self.without_each)

    def less(self, other: DistanceCorrelation) -> Difference:
        """The value less another one of the same pictures, with the jackknife's interval of the paired difference."""
        return jackknife_difference(self.value - other.value, self.without_each - other.without_each)


def distance_correlation(first: Distances, second: Distances) -> DistanceCorrelation:
    """Bias-corrected distance correlation of two layers; see the module's docstring.

    Raises:
        ValueError: They have different numbers of pictures.
    """
    values = correlations_without_each(first, second)
    return DistanceCorrelation(float(values[0]), values[1:])


def partial_distance_correlation(
    both: DistanceCorrelation, first_given: DistanceCorrelation, second_given: DistanceCorrelation
) -> DistanceCorrelation:
    """Distance correlation of X and Y with Z partialled out.

    Args:
        both: Of X and Y.
        first_given, second_given: Of X and Z, and of Y and Z.
    """
    parts = (both, first_given, second_given)
    without_each = partial_of(*(part.without_each for part in parts))
    return DistanceCorrelation(float(partial_of(*(part.value for part in parts))), without_each)


def partial_of(both: Any, first_given: Any, second_given: Any) -> Any:
    """R(X, Y; Z) of R(X, Y), R(X, Z) and R(Y, Z), numbers or arrays; 0 where nothing of X or Y is left."""
    left = [1 - np.square(given) for given in (first_given, second_given)]
    is_nothing = (left[0] < _NOTHING) | (left[1] < _NOTHING)
    scale = np.sqrt(np.where(is_nothing, 1.0, left[0] * left[1]))
    return np.where(is_nothing, 0.0, (both - first_given * second_given) / scale)


def shuffled_distance_correlation(first: Distances, second: Distances, seed: int = 0) -> np.ndarray:
    """Distance correlations with pictures paired at random, as :func:`kdviz.metrics.feature_similarity.shuffled_cka`.

    With one seed the pictures of ``second`` are shifted alike beside any ``first``, so that :func:`partial_of` those of
    two layers, and the value of these two, is the partial one with the pictures of ``second`` paired at random.

    Returns:
        float64 (N - 1,).
    """
    return shuffled_cka(first, second, seed)
