"""Estimators with a fitted model of the scores as control variate: less noise, the same estimand."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from kdviz.rise import spread
from kdviz.rise.control_variates import LinearModel, LogisticModel
from kdviz.rise.estimators.estimate import Estimate, jackknife_error
from kdviz.rise.estimators.mask_sums import CentredEstimate
from kdviz.rise.groups import sums_of_masks, together


class RidgeEstimate(Estimate):
    """Ridge control variate: the same estimand as ``centred``, with less noise.

    A linear model of the scores is fitted; the covariance of the fitted part with the mask is known exactly, that of
    the rest is taken from the sample (:mod:`kdviz.rise.control_variates`).
    """

    @cached_property
    def _model(self) -> LinearModel:
        return LinearModel(self.masks, self.scores)

    def _maps(self, chosen: Tensor) -> Tensor:
        known, rest = self._model.fit(chosen)
        used = chosen[:, self.groups.numbers].double().unsqueeze(1)  # (k, 1, n)
        size = used.sum(2, keepdim=True)
        rest = (rest - (rest * used).sum(2, keepdim=True) / size) * used / size  # of mean 0: M in place of M - p
        sums = sums_of_masks(self.masks, rest.flatten(0, 1), together(rest.shape[2]))
        return (known + sums.view(known.shape)) / self.masks.probability

    def _deviations(self) -> Tensor:
        return spread.of_rest(self._model)

    @cached_property
    def standard_error(self) -> Tensor:
        """float32 (targets, H, W), of :attr:`map`."""
        if self.masks.independent or self.scores.shape[1] > self.masks.block:
            return jackknife_error(self.jackknife_maps)
        return CentredEstimate(self.masks, self.scores).standard_error


class LogisticEstimate(RidgeEstimate):
    """Logistic control variate: the same estimand again, for probabilities, with less noise still.

    The model is a sigmoid of a linear function, fitted to the log odds. Scores outside 0 to 1 are no probabilities: for
    these targets it is ``ridge``.
    """

    @cached_property
    def _is_probability(self) -> Tensor:
        """(targets,)."""
        return (self.scores.amin(1) >= -1e-6) & (self.scores.amax(1) <= 1 + 1e-6)

    @cached_property
    def _parts(self) -> list[tuple[Tensor, RidgeEstimate]]:
        """Which targets, and their estimate, by kind."""
        kinds = ((self._is_probability, _SigmoidEstimate), (~self._is_probability, RidgeEstimate))
        return [(which, kind(self.masks, self.scores[which])) for which, kind in kinds if which.any()]

    def _merged(self, parts: list[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0]
        result = parts[0].new_empty(len(parts[0]), len(self.scores), *self.masks.size)
        for (which, _), part in zip(self._parts, parts, strict=True):
            result[:, which] = part
        return result

    def _maps(self, chosen: Tensor) -> Tensor:
        return self._merged([part._maps(chosen) for _, part in self._parts])

    def _deviations(self) -> Tensor:
        return self._merged([part._deviations() for _, part in self._parts])


class _SigmoidEstimate(RidgeEstimate):
    @cached_property
    def _model(self) -> LinearModel:
        return LogisticModel(self.masks, self.scores)
