"""Measures of the similarity of two maps. None depends on the maps' level or unit.

A measure works in two steps, so that properties of one map alone (its ranks, its brightest pixels) are computed once
per map and not once per pair. Maps without a pattern, constant or not finite, give NaN.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import stats
from scipy.ndimage import gaussian_filter

from kdviz.core.errors import SettingError
from kdviz.core.registry import Registry


class Measure(ABC):
    """The similarity of two maps: 1 when they are equal, less otherwise; symmetric.

    Call it with two maps, (H, W), or with many prepared ones at once through :meth:`prepare` and :meth:`compare`.

    Attributes:
        least: Lowest possible value; the highest is 1.
        correlation: Whether it is a correlation: 0 by chance, with symmetric errors on Fisher's scale.
        disattenuates: Whether division by a noise ceiling removes the effect of noise.
    """

    least: ClassVar[float]
    correlation: ClassVar[bool] = False
    disattenuates: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Name in reports; for those in ``measures`` their name there."""
        return type(self).__name__.lower()

    @abstractmethod
    def prepare(self, maps: np.ndarray) -> np.ndarray:
        """Maps (n, H, W) prepared for comparison: float64 (n, ...), NaN for a map without a pattern."""

    @abstractmethod
    def compare(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Similarity of the n pairs of prepared maps, float64 (n,)."""

    def __call__(self, first: np.ndarray, second: np.ndarray) -> float:
        """Similarity of two maps, (H, W)."""
        first, second = (self.prepare(np.asarray(values)[None]) for values in (first, second))
        return float(self.compare(first, second)[0])


measures: Registry[Measure] = Registry("agreement measure")
_RANKED = 2**16  # pixels at a time, at least a map: ranking needs several times their memory


def _rows(maps: np.ndarray) -> np.ndarray:
    """Maps as rows, float64 (n, pixels); all NaN for a map without a pattern."""
    rows = np.array(maps, dtype=np.float64).reshape(len(maps), -1)
    rows[~np.isfinite(rows).all(1)] = np.nan
    rows[np.ptp(rows, axis=1) == 0] = np.nan
    return rows


def _centred(rows: np.ndarray) -> np.ndarray:
    """Rows (n, pixels) minus their mean, scaled to length 1."""
    rows = rows - rows.mean(1, keepdims=True)
    rows /= np.abs(rows).max(1, keepdims=True)  # squares of tiny values would underflow
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows


class Pearson(Measure):
    """Linear correlation of the pixels, in [-1, 1]; higher is more alike.

    The only measure whose noise can be removed by division by the ceiling (Spearman, 1904): independent noise adds to
    a map's variance and nothing to its covariance with another map.
    """

    least = -1.0
    correlation = True
    disattenuates = True

    def prepare(self, maps: np.ndarray) -> np.ndarray:
        return _centred(_rows(maps))

    def compare(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nk->n", first, second).clip(-1, 1)


class Spearman(Pearson):
    """Correlation of the pixels' ranks, in [-1, 1]; higher is more alike. Equal pixels get the mean of their ranks.

    Noise in a map is not independent noise in its ranks: it moves the many pixels near zero far and the
    few bright ones not at all. So the noise cannot be removed by division by the ceiling.
    """

    disattenuates = False

    def prepare(self, maps: np.ndarray) -> np.ndarray:
        pixels = math.prod(maps.shape[1:])
        ranks = np.empty((len(maps), pixels))
        at_once = max(1, _RANKED // max(1, pixels))
        for start in range(0, len(maps), at_once):
            part = slice(start, start + at_once)
            ranks[part] = stats.rankdata(_rows(maps[part]), axis=1)  # a row is all NaN if one value is
        return _centred(ranks)


class SSIM(Measure):
    """Structural similarity (Wang et al., 2004), in [-1, 1]; higher is more alike.

    Unlike the others it depends on position: whether the maps have the same pattern in each neighbourhood. It was made
    for pictures of one positive range, and maps may differ in unit and sign, so each map is first scaled to mean 3 and
    variance 1, and the data range is 6: three standard deviations either side of the mean. (About mean 0 a map and
    its negative would count as similar: two factors would be negative.) One extreme pixel does not change
    which differences count as small (k1 = .01, k2 = .03). The value is the mean over all pixels; the window is
    Gaussian of sigma 1.5 and 11 pixels wide, or less where that is wider than the map, whose edges are mirrored. NaN
    for maps under three pixels high or wide.
    """

    least = -1.0
    data_range = 6.0

    def prepare(self, maps: np.ndarray) -> np.ndarray:
        """(n, 3, H, W): the standardised map, and its mean and variance in each pixel's neighbourhood."""
        rows = _centred(_rows(maps))
        standard = (rows * np.sqrt(rows.shape[1]) + self.data_range / 2).reshape(maps.shape)
        mean = self._local(standard)
        return np.stack([standard, mean, self._local(standard**2) - mean**2], axis=1)

    def compare(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        (standard, mean, variance), (other_standard, other_mean, other_variance) = (
            first.swapaxes(0, 1),
            second.swapaxes(0, 1),
        )
        means, covariance = mean * other_mean, self._local(standard * other_standard) - mean * other_mean
        c2, c1 = (0.03 * self.data_range) ** 2, (0.01 * self.data_range) ** 2
        same_level = (2 * means + c1) / (mean**2 + other_mean**2 + c1)
        same_pattern = (2 * covariance + c2) / (variance + other_variance + c2)
        return (same_level * same_pattern).mean((1, 2))

    @staticmethod
    def _local(maps: np.ndarray) -> np.ndarray:
        """Local mean around each pixel by the Gaussian window, (n, H, W); NaN for maps too small for a window."""
        radius = min(5, (min(maps.shape[1:]) - 1) // 2)
        if radius == 0:
            return np.full_like(maps, np.nan)
        return gaussian_filter(maps, sigma=0.3 * radius, radius=radius, mode="mirror", axes=(1, 2))


@dataclass(frozen=True)
class TopOverlap(Measure):
    """Intersection over union of the brightest pixels, in [0, 1]; higher is more alike.

    Two unrelated maps share ``top_share ** 2`` of the pixels by chance: the value is then about
    top_share / (2 - top_share), .11 for the default. Equal pixels at the threshold share the remaining places:
    each belongs to the brightest by the same fraction, and the overlap is sum(min) / sum(max) of the memberships,
    which without ties is the overlap of sets.

    Attributes:
        top_share: Share of the pixels that counts as bright, between 0 and 1.

    Raises:
        SettingError: The share is not between 0 and 1.
    """

    top_share: float = 0.2
    least = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.top_share < 1:
            raise SettingError(
                "The share of brightest pixels is {top_share}; it must be between 0 and 1.", top_share=self.top_share
            )

    @property
    def name(self) -> str:
        return "iou" if self.top_share == 0.2 else f"iou of the top {self.top_share:.3g}"

    def prepare(self, maps: np.ndarray) -> np.ndarray:
        rows = _rows(maps)
        count = max(1, round(self.top_share * rows.shape[1]))
        threshold = np.partition(rows, -count, axis=1)[:, [-count]]
        above, level = rows > threshold, rows == threshold
        remaining = count - above.sum(1, keepdims=True)
        tied = np.maximum(level.sum(1, keepdims=True), 1)
        return np.where(np.isnan(rows), np.nan, above + level * remaining / tied)

    def compare(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return np.minimum(first, second).sum(1) / np.maximum(first, second).sum(1)


spearman = measures.add("spearman", Spearman())
pearson = measures.add("pearson", Pearson())
ssim = measures.add("ssim", SSIM())
iou = measures.add("iou", TopOverlap())

MAIN = "pearson"
"""The measure that studies use for their conclusions: the one whose noise can be removed."""
