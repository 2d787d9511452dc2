"""How well a number tells two states of the same pictures apart: the area under the ROC curve, picture by picture."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from kdviz.core.errors import SettingError


def auroc_parts(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Parts of the AUROC, one a picture, whose mean is the AUROC and whose spread gives its standard error.

    The AUROC is the probability that a value among ``positive`` is above one among ``negative``, ties as a half. The
    two values of a picture belong together: a picture's part is the sum of DeLong's (1988) structural components of
    both, less the AUROC, so that Var(parts) / N is DeLong's variance for pairs.

    Args:
        positive: (N,), a value of each picture in one state.
        negative: (N,), of the same pictures in the other state.

    Returns:
        float64 (N,).

    Raises:
        SettingError: The two differ in length, are empty, or hold NaN.
    """
    positive, negative = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    if positive.shape != negative.shape or positive.ndim != 1 or not len(positive):
        raise SettingError("Values of the same pictures in two states are needed, for at least one picture.")
    if np.isnan(positive).any() or np.isnan(negative).any():
        raise SettingError("The values of pictures that are to be told apart must be numbers.")
    count = len(positive)
    ranks = rankdata(np.concatenate([positive, negative]))
    above = (ranks[:count] - rankdata(positive)) / count  # share of the negative values below each positive one
    below = 1 - (ranks[count:] - rankdata(negative)) / count  # share of the positive values above each negative one
    return above + below - above.mean()
