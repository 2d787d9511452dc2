"""Where a saliency map lies in relation to a region that people drew, such as a lesion.

Every measure takes maps and regions of one shape, (..., H, W), and gives one number for each pair, (...,). A region's
value at a pixel is the share of the pixel that lies inside, from 0 to 1. A pair without an answer gives NaN: a region
without any area, a map that is not finite, or, where energy is measured, a map without a positive value.

How much a map would reach by chance is known exactly from the same region at every other place of the picture, moved
cyclically. The mean of :func:`energy_inside` over all places is the region's share of the area, whatever the map is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import maximum_filter

from kdviz.core.errors import SettingError

_PIXELS = (-2, -1)
_ROUNDING = 1e-9  # of sums by Fourier transforms, which are of values up to 1


def energy_inside(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of the positive saliency that lies inside the region, in [0, 1]; higher is more inside.

    The energy-based pointing game (Wang et al., 2020, Score-CAM, section 4.3), which Arras et al. (2022) call relevance
    mass accuracy. Values of a map below zero do not count.

    Args:
        maps: Saliency, (..., H, W), in any unit.
        regions: Share of each pixel that lies inside, (..., H, W).

    Raises:
        SettingError: The shapes differ, or a region has values outside [0, 1].
    """
    maps, regions = _checked(maps, regions)
    return (_energy(maps) * _known(regions)).sum(_PIXELS)


def pointing_game(maps: np.ndarray, regions: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Whether the map's highest pixel lies inside the region, in [0, 1] (Zhang et al., 2018, section 4.2).

    Of several pixels that are equally high the mean counts; a map of one value gives the region's share of the area.

    Args:
        maps: Saliency, (..., H, W), in any unit.
        regions: Share of each pixel that lies inside, (..., H, W).
        tolerance: Distance in pixels by which the highest pixel may miss the region; Zhang et al. allow 15.

    Raises:
        SettingError: The shapes differ, a region has values outside [0, 1], or the tolerance is below 0.
    """
    maps, regions = _checked(maps, regions)
    return (_highest(maps) * _widened(_known(regions), tolerance)).sum(_PIXELS)


def area(regions: np.ndarray) -> np.ndarray:
    """Share of the picture that the region covers, in [0, 1]; NaN for a region without any area."""
    _, regions = _checked(regions, regions)
    return _known(regions).mean(_PIXELS)


def rank_accuracy(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of the k highest pixels that lies inside, for k the region's own number of pixels (Arras et al., 2022).

    In [0, 1]; higher is more inside. Pixels that are equally high at the end of the k share the places that are left.

    Args:
        maps: Saliency, (..., H, W), in any unit.
        regions: Share of each pixel that lies inside, (..., H, W); its sum, rounded, is k.

    Raises:
        SettingError: The shapes differ, or a region has values outside [0, 1].
    """
    maps, regions = _checked(maps, regions)
    counts = np.maximum(1, regions.sum(_PIXELS).round())
    return (_among_highest(maps, counts) * _known(regions)).sum(_PIXELS) / counts


def top_k_inside(maps: np.ndarray, regions: np.ndarray, k: int) -> np.ndarray:
    """Share of the ``k`` highest pixels that lies inside, in [0, 1] (Theiner et al., 2021, top-k intersection).

    Args:
        maps: Saliency, (..., H, W), in any unit.
        regions: Share of each pixel that lies inside, (..., H, W).
        k: Number of pixels, from 1 to H * W.

    Raises:
        SettingError: The shapes differ, a region has values outside [0, 1], or k is out of range.
    """
    maps, regions = _checked(maps, regions)
    pixels = maps.shape[-2] * maps.shape[-1]
    if not 1 <= k <= pixels:
        raise SettingError("The number of highest pixels must be from 1 to {pixels}, got {k}.", pixels=pixels, k=k)
    counts = np.full(maps.shape[:-2], k)
    return (_among_highest(maps, counts) * _known(regions)).sum(_PIXELS) / k


# chance ---------------------------------------------------------------------------------------------------------------


def energy_chance(maps: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of the region's places whose energy is at least that of its own place: an exact p-value, in (0, 1].

    All H * W cyclic shifts of the region count, its own place among them. Low where the map singles out the region; a
    map that does not depend on it gives a uniform value, up to ties.

    Args:
        maps: Saliency, (..., H, W), in any unit.
        regions: Share of each pixel that lies inside, (..., H, W).

    Raises:
        SettingError: The shapes differ, or a region has values outside [0, 1].
    """
    maps, regions = _checked(maps, regions)
    return _share_as_good(_energy(maps), _known(regions))


def pointing_chance(maps: np.ndarray, regions: np.ndarray, tolerance: float = 0.0) -> np.ndarray:
    """Share of the region's places where the highest pixel hits it at least as well as at its own place, in (0, 1].

    For a hit without ties it is the share of the area of the region, widened by the tolerance; for a miss it is 1. The
    widened region is what is moved.

    Args:
        maps: Saliency, (..., H, W), in any unit.
        regions: Share of each pixel that lies inside, (..., H, W).
        tolerance: As in :func:`pointing_game`.

    Raises:
        SettingError: The shapes differ, a region has values outside [0, 1], or the tolerance is below 0.
    """
    maps, regions = _checked(maps, regions)
    return _share_as_good(_highest(maps), _widened(_known(regions), tolerance))


def _share_as_good(weights: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Share of the shifts whose sum of weights times region is at least that without a shift."""
    unknown = np.isnan(weights).any(_PIXELS) | np.isnan(regions).any(_PIXELS)
    weights, regions = np.nan_to_num(weights), np.nan_to_num(regions)
    spectrum = np.fft.rfft2(weights) * np.fft.rfft2(regions).conj()
    sums = np.fft.irfft2(spectrum, s=weights.shape[-2:])  # entry (y, x): the region moved by y down and x to the right
    share = (sums >= sums[..., :1, :1] - _ROUNDING).mean(_PIXELS)
    return np.where(unknown, np.nan, share)


# the place alone ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlaceTotals:
    """Sums over pictures, from which each picture's control by all the others follows; they can be added up.

    Attributes:
        energy: Sum of the maps' positive values, each map of sum 1, (H, W).
        n_maps: Number of maps in it.
        regions: Sum of the regions, (H, W).
        n_regions: Number of regions in it.
    """

    energy: np.ndarray
    n_maps: int
    regions: np.ndarray
    n_regions: int

    @classmethod
    def of(cls, maps: np.ndarray, regions: np.ndarray) -> PlaceTotals:
        """The sums over some pictures; what is not known is left out.

        Args:
            maps: Saliency, (N, H, W), in any unit.
            regions: Share of each pixel that lies inside, (N, H, W).

        Raises:
            SettingError: The shapes differ, or a region has values outside [0, 1].
        """
        energy, known = _energy_and_regions(maps, regions)
        counts = [int((~np.isnan(values[:, 0, 0])).sum()) for values in (energy, known)]
        return cls(np.nansum(energy, 0), counts[0], np.nansum(known, 0), counts[1])

    def __add__(self, other: PlaceTotals) -> PlaceTotals:
        return PlaceTotals(
            self.energy + other.energy,
            self.n_maps + other.n_maps,
            self.regions + other.regions,
            self.n_regions + other.n_regions,
        )


def energy_by_place(maps: np.ndarray, regions: np.ndarray, totals: PlaceTotals) -> tuple[np.ndarray, np.ndarray]:
    """What maps reach by their place alone: the mean energy inside when maps and regions are of different pictures.

    Objects are mostly in the middle of pictures, and so are many maps. A map that looks at the same place in every
    picture has as much energy in the regions of other pictures as in its own picture's: the shuffled control of eye
    movement research (Tatler et al., 2005, section 2.3).

    Args:
        maps: Saliency of one model, (N, H, W), in any unit.
        regions: Share of each pixel that lies inside, (N, H, W).
        totals: The sums over all pictures, these among them.

    Returns:
        Both (N,), in [0, 1]: the mean energy of the other pictures' maps in this region, and of this map in the other
        pictures' regions. NaN where there is no other.

    Raises:
        SettingError: The shapes differ, or a region has values outside [0, 1].
    """
    energy, known = _energy_and_regions(maps, regions)
    other_energy = _less_own(totals.energy, energy, totals.n_maps)
    other_regions = _less_own(totals.regions, known, totals.n_regions)
    return (other_energy * known).sum(_PIXELS), (energy * other_regions).sum(_PIXELS)


def _less_own(total: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """The mean of a sum's other terms, for each of these terms, (N, H, W)."""
    others = count - ~np.isnan(own).any(_PIXELS, keepdims=True)
    return (total - np.nan_to_num(own)) / np.where(others > 0, others, np.nan)


def _energy_and_regions(maps: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    maps, regions = _checked(maps, regions)
    return _energy(maps), _known(regions)


# parts ----------------------------------------------------------------------------------------------------------------


def _checked(maps: np.ndarray, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, with maps that are not finite all NaN."""
    maps, regions = np.array(maps, dtype=np.float64), np.asarray(regions, dtype=np.float64)
    if maps.shape != regions.shape or maps.ndim < 2 or not maps.size:
        raise SettingError(
            "Maps of shape {maps} and regions of shape {regions} do not fit; both must be (..., H, W).",
            maps=maps.shape,
            regions=regions.shape,
        )
    if not ((regions >= 0) & (regions <= 1)).all():
        raise SettingError("A region's values are shares of pixels from 0 to 1; some are not.")
    maps[~np.isfinite(maps).all(_PIXELS)] = np.nan
    return maps, regions


def _known(regions: np.ndarray) -> np.ndarray:
    """The regions, with NaN for those without any area."""
    return np.where(regions.any(_PIXELS, keepdims=True), regions, np.nan)


def _energy(maps: np.ndarray) -> np.ndarray:
    """The positive values, of sum 1; NaN for maps without any."""
    positive = np.maximum(maps, 0.0)  # NaN stays
    largest = positive.max(_PIXELS, keepdims=True)
    positive = positive / np.where(largest > 0, largest, np.nan)  # a sum of huge values would be infinite
    return positive / positive.sum(_PIXELS, keepdims=True)


def _highest(maps: np.ndarray) -> np.ndarray:
    """The highest pixels of each map with equal weights, of sum 1."""
    highest = maps == maps.max(_PIXELS, keepdims=True)
    count = highest.sum(_PIXELS, keepdims=True)
    return highest / np.where(count > 0, count, np.nan)


def _among_highest(maps: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """How far each pixel belongs to the highest ones of its map, in [0, 1]; the sum is the map's count."""
    ordered = -np.sort(-maps.reshape(*maps.shape[:-2], -1), axis=-1)
    index = (counts.astype(np.int64) - 1)[..., None]
    threshold = np.take_along_axis(ordered, index, -1)[..., None]
    above, level = maps > threshold, maps == threshold
    left = counts[..., None, None] - above.sum(_PIXELS, keepdims=True)
    member = above + level * left / np.maximum(level.sum(_PIXELS, keepdims=True), 1)
    return np.where(np.isnan(maps), np.nan, member)


def _widened(regions: np.ndarray, tolerance: float) -> np.ndarray:
    """Each pixel's largest value of the region within a distance, beyond whose border there is nothing."""
    if not 0 <= tolerance < np.inf:
        raise SettingError("The tolerance in pixels must be at least 0, got {tolerance}.", tolerance=tolerance)
    reach = min(int(tolerance), max(regions.shape[-2:]))
    if not reach:
        return regions
    offsets = np.arange(-reach, reach + 1)
    disc = offsets[:, None] ** 2 + offsets**2 <= tolerance**2
    footprint = disc.reshape((1,) * (regions.ndim - 2) + disc.shape)
    return maximum_filter(regions, footprint=footprint, mode="constant", cval=0.0)
