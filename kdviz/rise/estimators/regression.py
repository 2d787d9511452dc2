"""Estimators with a fitted model of the scores as control variate: less noise, the same estimand."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from kdviz.rise import spread
from kdviz.rise.control_variates import LinearModel, LogisticModel
from kdviz.rise.estimators.estimate import Estimate, jackknife_error
from kdviz.rise.estimators.mask_sums import CentredEstimate
from kdviz.rise.groups import single_group, sums_of_masks


class RidgeEstimate(Estimate):
    """Ridge control variate: the same estimand as ``centred``, with less noise.

    A linear model of the scores is fitted; the covariance of the fitted part with the mask is known exactly, that of
    the residuals is estimated from the sample (:mod:`kdviz.rise.control_variates`).
    """

    @cached_property
    def _model(self) -> LinearModel:
        return LinearModel(self.masks, self.scores)

    def _maps(self, selected: Tensor) -> Tensor:
        covariance, residuals = self._model.fit(selected)
        used = selected[:, self.groups.numbers].double().unsqueeze(1)  # (k, 1, n)
        size = used.sum(2, keepdim=True)
        # Centred, so that M can stand in place of M - p.
        residuals = (residuals - (residuals * used).sum(2, keepdim=True) / size) * used / size
        sums = sums_of_masks(self.masks, residuals.flatten(0, 1), single_group(residuals.shape[2]))
        return (covariance + sums.view(covariance.shape)) / self.masks.probability

    def _deviations(self) -> Tensor:
        return spread.residual_deviations(self._model)

    @cached_property
    def standard_error(self) -> Tensor:
        """Standard error of :attr:`map`, float32 (targets, H, W)."""
        if self.masks.independent or self.scores.shape[1] > self.masks.block:
            return jackknife_error(self.jackknife_maps)
        return CentredEstimate(self.masks, self.scores).standard_error


class LogisticEstimate(RidgeEstimate):
    """Logistic control variate: the same estimand, for probabilities, with even less noise.

    The model is a sigmoid of a linear function, fitted to the log odds. Scores outside [0, 1] are no probabilities: for
    these targets ``ridge`` is used.
    """

    @cached_property
    def _is_probability(self) -> Tensor:
        """Whether scores are probabilities, bool (targets,)."""
        return (self.scores.amin(1) >= -1e-6) & (self.scores.amax(1) <= 1 + 1e-6)

    @cached_property
    def _estimates(self) -> list[tuple[Tensor, RidgeEstimate]]:
        """Selections of targets, with their estimates, by kind."""
        kinds = ((self._is_probability, _SigmoidEstimate), (~self._is_probability, RidgeEstimate))
        return [(targets, kind(self.masks, self.scores[targets])) for targets, kind in kinds if targets.any()]

    def _merged(self, maps: list[Tensor]) -> Tensor:
        if len(maps) == 1:
            return maps[0]
        result = maps[0].new_empty(len(maps[0]), len(self.scores), *self.masks.size)
        for (targets, _), values in zip(self._estimates, maps, strict=True):
            result[:, targets] = values
        return result

    def _maps(self, selected: Tensor) -> Tensor:
        return self._merged([estimate._maps(selected) for _, estimate in self._estimates])

    def _deviations(self) -> Tensor:
        return self._merged([estimate._deviations() for _, estimate in self._estimates])


class _SigmoidEstimate(RidgeEstimate):
    @cached_property
    def _model(self) -> LinearModel:
        return LogisticModel(self.masks, self.scores)
