"""Estimators that need only sums of masks: published, coverage-normalised, centred."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import torch
from torch import Tensor

from kdviz.rise import spread
from kdviz.rise.control_variates import LinearModel
from kdviz.rise.estimators.estimate import Estimate, jackknife_error
from kdviz.rise.groups import render_chunks, sums_of_masks


class MaskSumEstimate(Estimate):
    """Estimators that need, for each group, only sum f M, sum M, sum f and the number of masks."""

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sum f M and sum M, float64 (groups, targets or 1, H, W), and sum f, (groups, targets)."""
        values = torch.cat([self.scores, torch.ones(1, self.scores.shape[1], dtype=torch.float64)])
        sums = sums_of_masks(self.masks, values, self.groups)
        level = torch.zeros(self.groups.count, len(self.scores), dtype=torch.float64)
        level.index_add_(0, self.groups.numbers, self.scores.T.contiguous())
        return sums[:, :-1], sums[:, -1:], level

    def _maps(self, selected: Tensor) -> Tensor:
        weights = selected.double()
        weighted, cover, level = (torch.tensordot(weights, sums, 1) for sums in self._sums)
        count = (weights @ self.groups.sizes)[:, None, None, None]
        return self._combine(weighted, cover, level[:, :, None, None], count)

    _has_level = True  # whether the map contains the common level of the scores

    def _deviations(self) -> Tensor:
        if self.masks.independent or self.scores.shape[1] <= self.masks.block:
            return self._maps(~torch.eye(self.groups.count, dtype=torch.bool)) - self.map
        model = LinearModel(self.masks, self.scores)
        return torch.cat(
            [
                spread.residual_deviations(model, False, self._has_level),
                spread.design_deviations(model, self._has_level),
            ]
        )

    @abstractmethod
    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        """The map from sum f M, sum M, sum f and n, all (k, targets or 1, H or 1, W or 1)."""

    @cached_property
    def standard_error(self) -> Tensor:
        """Standard error of :attr:`map`, float32 (targets, H, W)."""
        count = self.scores.shape[1]
        if not self.masks.independent and count > self.masks.block:
            return jackknife_error(self.jackknife_maps)
        total, squares = self._single_terms()
        variance = (squares / count - (total / count).square()).clamp_min(0) / (count - 1)
        return variance.sqrt().view(self.map.shape).float()

    def _single_terms(self) -> tuple[Tensor, Tensor]:
        """Sums over the masks of w (M - o) / p and of its square, float64 (targets, H * W)."""
        weights, offset = self._weights()
        total = torch.zeros(len(self.scores), self.masks.size[0] * self.masks.size[1], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for start, chunk_masks in render_chunks(self.masks, self.scores.shape[1]):
            terms = (chunk_masks.flatten(1).double() - offset) / self.masks.probability  # (chunk, H * W)
            chunk = weights[:, start : start + len(chunk_masks)]
            total += chunk @ terms
            squares += chunk.square() @ terms.square()
        return total, squares

    def _weights(self) -> tuple[Tensor, float]:
        """Weights w, (targets, n), and offset o of a form sum w (M - o) / p that has the map's error."""
        return self.scores - self.scores.mean(1, keepdim=True), self.masks.probability


class RISEEstimate(MaskSumEstimate):
    """As published: sum f M / (n p) (Petsiuk et al., 2018, eq. 6). Unbiased for E[f M] / p.

    The common level of the scores multiplies the noise of the masks, so that it needs about five times as many masks.
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        return weighted / (count * self.masks.probability)

    def _weights(self) -> tuple[Tensor, float]:
        return self.scores, 0.0


class NormalisedEstimate(MaskSumEstimate):
    """Coverage-normalised: sum f M / sum M at each pixel, the mean score under masks that keep it.

    As in many implementations of RISE (Xplique, DIANNA). It has the expectation of the published form, to order 1 / n:
    a ratio estimator, whose error is that of (f - map) M / p (Cochran, 1977, section 2.11).
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        # A pixel that no mask of a small sample kept has no coverage: its map is the mean score.
        return torch.where(cover > 1e-9, weighted / cover.clamp_min(1e-9), level / count)

    def _single_terms(self) -> tuple[Tensor, Tensor]:
        p = self.masks.probability
        level = self.map.double().flatten(1)  # (targets, H * W)
        total, squares = torch.zeros_like(level), torch.zeros_like(level)
        for start, chunk_masks in render_chunks(self.masks, self.scores.shape[1]):
            values = chunk_masks.flatten(1).double() / p
            chunk = self.scores[:, start : start + len(chunk_masks)]
            total += chunk @ values - level * values.sum(0)
            power = values.square()
            squares += chunk.square() @ power - 2 * level * (chunk @ power) + level.square() * power.sum(0)
        return total, squares


class CentredEstimate(MaskSumEstimate):
    """Sample covariance of score and mask over p: sum (f - mean f)(M - p) / ((n - 1) p).

    Unbiased for Cov(f, M) / p, the published map's estimand minus the constant E[f]. Zero means that keeping the
    pixel does not change the score on average.
    """

    _has_level = False

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        # Complements add up to one at each pixel, so the mean costs no degree of freedom: n in place of n - 1.
        degrees = count - (0 if self.masks.paired else 1)
        return (weighted - level / count * cover) / (degrees.clamp_min(1) * self.masks.probability)
