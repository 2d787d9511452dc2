"""Estimators of a saliency map from the scores of masked images, by name."""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.registry import Registry
from kdviz.rise.estimators.estimate import Estimate, jackknife_error, reliability
from kdviz.rise.estimators.mask_sums import CentredEstimate, NormalisedEstimate, RISEEstimate
from kdviz.rise.estimators.regression import LogisticEstimate, RidgeEstimate
from kdviz.rise.masks import RandomMasks
from kdviz.rise.settings import MINIMUM_MASKS

__all__ = ["MINIMUM_MASKS", "Estimate", "estimate", "estimators", "jackknife_error", "reliability"]

estimators: Registry[type[Estimate]] = Registry("estimator")
estimators.add("logistic", LogisticEstimate)
estimators.add("ridge", RidgeEstimate)
estimators.add("centred", CentredEstimate)
estimators.add("normalised", NormalisedEstimate)
estimators.add("rise", RISEEstimate)


def estimate(masks: RandomMasks, scores: Tensor, estimator: str = "logistic") -> Estimate:
    """Maps of several targets from their scores under masks 0 to n - 1.

    The standard error comes from the jackknife over units of masks that are independent of each other (Efron & Stein,
    1981), times the quantile of Student's t over that of the normal: map +- 1.96 standard errors is a 95 % interval
    also when the units are few. With independent masks and a linear estimator it comes from single masks. One block
    alone has one shift and cannot show how much shifts matter; until it is full, its masks are treated as if
    independent, which errs on the wide side.

    Args:
        masks: The series of masks.
        scores: (targets, n).
        estimator: A name in ``estimators``.

    Raises:
        SettingError: Fewer than four masks (two for each half).
        UnknownNameError: No such estimator.
    """
    estimator_class = estimators[estimator]
    if scores.shape[1] < MINIMUM_MASKS:
        raise SettingError(
            "A map with its halves needs at least {minimum_masks} masks, got {shape}.",
            minimum_masks=MINIMUM_MASKS,
            shape=scores.shape[1],
        )
    return estimator_class(masks, scores.detach().to("cpu", torch.float64))
