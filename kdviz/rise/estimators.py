"""From scores of masked images to a saliency map, its standard error and its two halves.

Notation: M_i is mask i, f_i the score of the image under it, n the number of masks, p the expected mask
value at each pixel. Every estimator's map has the unit of the score.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import torch
from scipy import stats
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.registry import Registry
from kdviz.rise import spread
from kdviz.rise.control_variates import LinearModel, LogisticModel
from kdviz.rise.groups import groups_of, rendered, sums_of_masks, together, units_of
from kdviz.rise.masks import RandomMasks

MINIMUM_MASKS = 4


class Estimate(ABC):
    """Maps of several targets from their scores under the same masks. Each part is computed when it is asked for.

    Attributes:
        masks: The series of masks.
        scores: float64 (targets, n), under masks 0 to n - 1.
    """

    def __init__(self, masks: RandomMasks, scores: Tensor):
        self.masks = masks
        self.scores = scores
        self.units = units_of(masks, scores.shape[1])
        self.groups = groups_of(masks, scores.shape[1])

    @cached_property
    def map(self) -> Tensor:
        """float32 (targets, H, W)."""
        return self._maps(torch.ones(1, self.groups.count, dtype=torch.bool))[0].float()

    @cached_property
    def halves(self) -> Tensor:
        """float32 (2, targets, H, W), maps from two independent halves of the masks, for the noise ceiling."""
        return self._maps(torch.stack([~self.groups.odd, self.groups.odd])).float()

    @cached_property
    def deviations(self) -> Tensor:
        """float32 (units, targets, H, W): how the map moves without each unit of masks in turn, to first order.

        In the scale of the jackknife, so that :func:`jackknife_error` gives the map's standard error. Further units may
        stand for what single masks cannot show, such as shifts that did not come.
        """
        return self._deviations().float()

    @cached_property
    def left_out(self) -> Tensor:
        """float32 (units, targets, H, W): the map without each unit of masks in turn, for the jackknife.

        Two models that saw the same masks have the same units: the spread of the differences of their maps is
        that of the difference map.
        """
        return self.map + self.deviations

    @cached_property
    def halves_without(self) -> Tensor:
        """float32 (units, targets, H, W): without each unit in turn, the map of the half that it belongs to.

        Unit u is in half u % 2. A half has half of the masks, so that a unit moves it twice as far as the map.
        """
        own = self.halves[torch.arange(len(self.deviations)) % 2]  # a copy
        return own.add_(self.deviations, alpha=2)

    @cached_property
    def standard_error(self) -> Tensor:
        """float32 (targets, H, W), of :attr:`map`."""
        return jackknife_error(self.left_out)

    @property
    def reliability(self) -> Tensor:
        """(targets,): predicted correlation of each map with that of infinitely many masks; :func:`reliability`."""
        return reliability(self.halves)

    @abstractmethod
    def _maps(self, chosen: Tensor) -> Tensor:
        """Maps from some groups of masks, (k, targets, H, W); ``chosen``, bool (k, groups), says which for each."""

    @abstractmethod
    def _deviations(self) -> Tensor:
        """See :attr:`deviations`."""


estimators: Registry[type[Estimate]] = Registry("estimator")


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
    chosen = estimators[estimator]
    if scores.shape[1] < MINIMUM_MASKS:
        raise SettingError(f"A map with its halves needs at least {MINIMUM_MASKS} masks, got {scores.shape[1]}.")
    return chosen(masks, scores.detach().to("cpu", torch.float64))


def reliability(halves: Tensor) -> Tensor:
    """Predicted correlation with the map of infinitely many masks: sqrt(2 h / (1 + h)), h between the two halves.

    The halves' correlation is stepped up to the full length (Spearman, 1910; Brown, 1910), and its root is that with
    the true map. 0 where the halves do not agree or a map is constant.

    Args:
        halves: (2, ..., H, W).

    Returns:
        float64 (...).
    """
    centred = halves.double().flatten(-2)
    centred = centred - centred.mean(-1, keepdim=True)
    product = centred.square().sum(-1).prod(0).sqrt()
    half = (centred.prod(0).sum(-1) / product.clamp_min(1e-300)).clamp(0, 1)
    return (2 * half / (1 + half)).sqrt()


def jackknife_error(left_out: Tensor) -> Tensor:
    """Standard error from the maps without each unit in turn, (units, ...), widened for few units by Student's t."""
    units = len(left_out)
    spread = (left_out - left_out.mean(0)).square_().sum(0) * ((units - 1) / units)
    return spread.sqrt() * float(stats.t.ppf(0.975, units - 1) / stats.norm.ppf(0.975))


# sums of masks: published, coverage-normalised, centred ---------------------------------------------------------------


class _FromSums(Estimate):
    """Estimators that need, for each group, only sum f M, sum M, sum f and the number of masks."""

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sum f M and sum M, float64 (groups, targets or 1, H, W), and sum f, (groups, targets)."""
        values = torch.cat([self.scores, torch.ones(1, self.scores.shape[1], dtype=torch.float64)])
        spread = sums_of_masks(self.masks, values, self.groups)
        level = torch.zeros(self.groups.count, len(self.scores), dtype=torch.float64)
        level.index_add_(0, self.groups.numbers, self.scores.T.contiguous())
        return spread[:, :-1], spread[:, -1:], level

    def _maps(self, chosen: Tensor) -> Tensor:
        pick = chosen.double()
        weighted, cover, level = (torch.tensordot(pick, part, 1) for part in self._sums)
        count = (pick @ self.groups.sizes)[:, None, None, None]
        return self._combine(weighted, cover, level[:, :, None, None], count)

    _has_level = True  # whether the common level of the scores is in the map

    def _deviations(self) -> Tensor:
        if self.masks.independent or self.scores.shape[1] <= self.masks.block:
            return self._maps(~torch.eye(self.groups.count, dtype=torch.bool)) - self.map
        model = LinearModel(self.masks, self.scores)
        return torch.cat([spread.of_rest(model, False, self._has_level), spread.of_design(model, self._has_level)])

    @abstractmethod
    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        """The map from sum f M, sum M, sum f and n, all (k, targets or 1, H or 1, W or 1)."""

    @cached_property
    def standard_error(self) -> Tensor:
        """float32 (targets, H, W), of :attr:`map`."""
        count = self.scores.shape[1]
        if not self.masks.independent and count > self.masks.block:
            return jackknife_error(self.left_out)
        total, squares = self._single_terms()
        variance = (squares / count - (total / count).square()).clamp_min(0) / (count - 1)
        return variance.sqrt().view(self.map.shape).float()

    def _single_terms(self) -> tuple[Tensor, Tensor]:
        """Sum over the masks of each one's term (w M - v) / p and of its square, float64 (targets, H * W)."""
        weights, offset = self._weights()
        total = torch.zeros(len(self.scores), self.masks.size[0] * self.masks.size[1], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for start, part in rendered(self.masks, self.scores.shape[1]):
            terms = (part.flatten(1).double() - offset) / self.masks.probability  # (chunk, H * W)
            chunk = weights[:, start : start + len(part)]
            total += chunk @ terms
            squares += chunk.square() @ terms.square()
        return total, squares

    def _weights(self) -> tuple[Tensor, float]:
        """Weights w, (targets, n), and offset o of a form sum w (M - o) / p that has the map's error."""
        return self.scores - self.scores.mean(1, keepdim=True), self.masks.probability


class RISEEstimate(_FromSums):
    """As published: sum f M / (n p) (Petsiuk et al., 2018, eq. 6). Unbiased for E[f M] / p.

    The common level of the scores multiplies the masks' own noise, which is why it needs about five times the masks.
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        return weighted / (count * self.masks.probability)

    def _weights(self) -> tuple[Tensor, float]:
        return self.scores, 0.0


class NormalisedEstimate(_FromSums):
    """Coverage-normalised: sum f M / sum M at each pixel, the mean score under masks that keep it.

    As in many implementations of RISE (Xplique, DIANNA). The same expectation as the published form, to order 1 / n:
    a ratio estimator, whose error is that of (f - map) M / p (Cochran, 1977, section 2.11).
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        # A pixel that no mask of a small sample kept has no coverage: its map is the mean score.
        return torch.where(cover > 1e-9, weighted / cover.clamp_min(1e-9), level / count)

    def _single_terms(self) -> tuple[Tensor, Tensor]:
        p = self.masks.probability
        level = self.map.double().flatten(1)  # (targets, H * W)
        total, squares = torch.zeros_like(level), torch.zeros_like(level)
        for start, part in rendered(self.masks, self.scores.shape[1]):
            kept = part.flatten(1).double() / p
            chunk = self.scores[:, start : start + len(part)]
            total += chunk @ kept - level * kept.sum(0)
            power = kept.square()
            squares += chunk.square() @ power - 2 * level * (chunk @ power) + level.square() * power.sum(0)
        return total, squares


class CentredEstimate(_FromSums):
    """Sample covariance of score and mask over p: sum (f - mean f)(M - p) / ((n - 1) p).

    Unbiased for Cov(f, M) / p, the published map's estimand less the constant E[f]. Zero means: keeping the
    pixel does not change the score on average.
    """

    _has_level = False

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        # Complements add up to one at each pixel, so the mean costs no degree of freedom: n in place of n - 1.
        degrees = count - (0 if self.masks.paired else 1)
        return (weighted - level / count * cover) / (degrees.clamp_min(1) * self.masks.probability)


# control variates -----------------------------------------------------------------------------------------------------


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
            return jackknife_error(self.left_out)
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
        return self._merged([one._maps(chosen) for _, one in self._parts])

    def _deviations(self) -> Tensor:
        return self._merged([one._deviations() for _, one in self._parts])


class _SigmoidEstimate(RidgeEstimate):
    @cached_property
    def _model(self) -> LinearModel:
        return LogisticModel(self.masks, self.scores)


estimators.add("logistic", LogisticEstimate)
estimators.add("ridge", RidgeEstimate)
estimators.add("centred", CentredEstimate)
estimators.add("normalised", NormalisedEstimate)
estimators.add("rise", RISEEstimate)
