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

from kdviz.core.moved import warn_renamed
from kdviz.rise.groups import groups_of, units_of
from kdviz.rise.masks import RandomMasks


class Estimate(ABC):
    """Maps of several targets from their scores under the same masks. Each property is computed on first access.

    Attributes:
        masks: The series of masks.
        scores: float64 (targets, n): scores under masks 0 to n - 1.
    """

    def __init__(self, masks: RandomMasks, scores: Tensor):
        self.masks = masks
        self.scores = scores
        self.units = units_of(masks, scores.shape[1])
        self.groups = groups_of(masks, scores.shape[1])

    @cached_property
    def map(self) -> Tensor:
        """The saliency maps, float32 (targets, H, W)."""
        return self._maps(torch.ones(1, self.groups.count, dtype=torch.bool))[0].float()

    @cached_property
    def halves(self) -> Tensor:
        """Maps from two independent halves of the masks, for the noise ceiling, float32 (2, targets, H, W)."""
        return self._maps(torch.stack([~self.groups.odd, self.groups.odd])).float()

    @cached_property
    def deviations(self) -> Tensor:
        """Change of the map without each unit of masks in turn, to first order, float32 (units, targets, H, W).

        In the scale of the jackknife, so that :func:`jackknife_error` gives the map's standard error. Further units may
        stand for error that single masks cannot show, such as shifts that were not drawn.
        """
        return self._deviations().float()

    @cached_property
    def jackknife_maps(self) -> Tensor:
        """The map without each unit of masks in turn, for the jackknife, float32 (units, targets, H, W).

        Two models under the same masks have the same units: the spread of the differences of their maps is
        that of the difference map.
        """
        return self.map + self.deviations

    @cached_property
    def jackknife_halves(self) -> Tensor:
        """The map of each unit's half without this unit, float32 (units, targets, H, W).

        Unit u is in half u % 2. A half has half of the masks, so that a unit moves it twice as far as the map.
        """
        halves = self.halves[torch.arange(len(self.deviations)) % 2]  # a copy
        return halves.add_(self.deviations, alpha=2)

    @property
    def left_out(self) -> Tensor:
        """Former name of :attr:`jackknife_maps`."""
        warn_renamed("Estimate.left_out", "jackknife_maps")
        return self.jackknife_maps

    @property
    def halves_without(self) -> Tensor:
        """Former name of :attr:`jackknife_halves`."""
        warn_renamed("Estimate.halves_without", "jackknife_halves")
        return self.jackknife_halves

    @cached_property
    def standard_error(self) -> Tensor:
        """Standard error of :attr:`map`, float32 (targets, H, W)."""
        return jackknife_error(self.jackknife_maps)

    @property
    def reliability(self) -> Tensor:
        """Predicted correlation of each map with that of infinitely many masks, (targets,); see :func:`reliability`."""
        return reliability(self.halves)

    @abstractmethod
    def _maps(self, selected: Tensor) -> Tensor:
        """Maps from some groups of masks, (k, targets, H, W); ``selected``, bool (k, groups), has their groups."""

    @abstractmethod
    def _deviations(self) -> Tensor:
        """See :attr:`deviations`."""


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


def jackknife_error(jackknife_maps: Tensor) -> Tensor:
    """Standard error from the maps without each unit in turn, (units, ...), widened for few units by Student's t."""
    units = len(jackknife_maps)
    spread = (jackknife_maps - jackknife_maps.mean(0)).square_().sum(0) * ((units - 1) / units)
    return spread.sqrt() * float(stats.t.ppf(0.975, units - 1) / stats.norm.ppf(0.975))
