"""How much closer one student's maps are to the teacher's than another's, and how sure that is.

Everything is a contrast: for each seed a sum of mean agreements with coefficients that add up to zero. A mean is over
images, each counting for those of the split that it stands for. Corrected agreement is a ratio of means,

    mean over images of agreement / mean over images of ceiling

and not the mean of the images' ratios: an image whose map is mostly noise has a ceiling near zero and a ratio that can
be anything, and would decide the mean; in the ratio of means it counts as much as is known of it.

Images and seeds are both a draw. Of images the bootstrap is Poisson's: each counts a Poisson(1) number of times, which
for hundreds of images is the usual bootstrap, and works block by block. Of a few seeds a bootstrap is too narrow (with
S of them the variance is (S - 1) / S of what it should be, and only S^S samples exist), so that the interval by which
anything is judged is Student's t with both variances, as in :func:`kdviz.metrics.paired_difference`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.stats import t as student_t

from kdviz.analysis.attention.agreements import Agreements, Series

REPLICATES = 2000
_FEWEST_REPLICATES = 200
_COUNTS = 40_000_000  # of images that are drawn for an effect; of very many images there are fewer replicates
_AT_ONCE = 4_000_000
_LEVEL = 0.95


@dataclass(frozen=True)
class Term:
    """A coefficient times a mean: of one pair's agreement, over all images or some of them.

    Attributes:
        factor: The coefficient.
        series: The pair.
        among: bool (images,); None: all.
    """

    factor: float
    series: Series
    among: np.ndarray | None = None


Contrast = Sequence[Sequence[Term]]
"""The terms of each seed."""


@dataclass(frozen=True)
class Interval:
    """A 95 % interval, and what is treated as a draw in it: ``images``, ``seeds`` or ``both``."""

    low: float
    high: float
    over: str

    @property
    def has_zero(self) -> bool:
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Effect:
    """A contrast with its uncertainty.

    Attributes:
        value: The mean over seeds.
        by_seed: Of each seed.
        interval: Over images and seeds, Student's t: by this one it is judged. With one seed over images alone.
        images, seeds, both: Percentiles of the bootstrap; ``seeds`` and ``both`` are too narrow with few seeds.
        seeds_t: Over seeds alone, Student's t; NaN with one.
        image_error, seed_error: Standard errors that images and seeds alone give; the second NaN with one seed.
        p_value: Two-sided, of no effect, by ``interval``'s t.
        n_images, n_seeds: How many of each.
    """

    value: float
    by_seed: tuple[float, ...]
    interval: Interval
    images: Interval
    seeds: Interval
    both: Interval
    seeds_t: Interval
    image_error: float
    seed_error: float
    p_value: float
    n_images: int
    n_seeds: int
    replicates: np.ndarray = field(repr=False, compare=False)

    @property
    def excludes_zero(self) -> bool:
        return not self.interval.has_zero


def effect_of(
    agreements: Agreements, contrast: Contrast, corrected: bool = True, *, replicates: int = REPLICATES, seed: int = 0
) -> Effect:
    """A contrast of mean agreements.

    Args:
        agreements: Of which images and weights are taken.
        contrast: For each seed its terms.
        corrected: Whether the masks' noise is taken out.
        replicates, seed: Of the bootstrap.
    """
    terms = [term for one in contrast for term in one]
    columns = _columns(agreements, terms, corrected)  # (images, 2 * terms): numerators, denominators
    replicates = min(replicates, max(_FEWEST_REPLICATES, _COUNTS // len(columns)))
    sums = resampled_sums(columns, replicates, seed)  # (1 + replicates, 2 * terms), the data themselves first
    means = sums[:, : len(terms)] / np.where(sums[:, len(terms) :] > 0, sums[:, len(terms) :], np.nan)
    by_seed = _by_seed(means, contrast)  # (1 + replicates, seeds)
    used = np.logical_or.reduce([_among(agreements, term) for term in terms])
    return summarised(by_seed[0], by_seed[1:], int(used.sum()), seed)


def summarised(by_seed: np.ndarray, replicates: np.ndarray, n_images: int, seed: int = 0) -> Effect:
    """An effect from the seeds' values, (seeds,), and their replicates over images, (B, seeds)."""
    count = len(by_seed)
    draws = np.random.default_rng([seed, 2]).integers(0, count, (len(replicates), count))
    over_both = np.take_along_axis(replicates, draws, 1).mean(1)
    over_images = replicates.mean(1)
    image_variance = float(np.nanvar(over_images, ddof=1))
    seed_variance = float(by_seed.var(ddof=1) / count) if count > 1 else float("nan")
    value = float(by_seed.mean())
    interval, p_value = _students(value, image_variance, seed_variance, n_images, count)
    return Effect(
        value,
        tuple(map(float, by_seed)),
        interval,
        _percentiles(over_images, "images"),
        _percentiles(by_seed[draws].mean(1), "seeds"),
        _percentiles(over_both, "both"),
        _students(value, 0.0, seed_variance, n_images, count)[0]
        if count > 1
        else Interval(float("nan"), float("nan"), "seeds"),
        image_variance**0.5,
        seed_variance**0.5,
        p_value,
        n_images,
        count,
        over_images,
    )


def _students(value: float, images: float, seeds: float, n_images: int, n_seeds: int) -> tuple[Interval, float]:
    """The t interval from both variances, with Welch and Satterthwaite's degrees of freedom, and its p-value."""
    parts = [(images, max(1, n_images - 1))] + ([(seeds, n_seeds - 1)] if n_seeds > 1 else [])
    variance = sum(part for part, _ in parts)
    over = "both" if n_seeds > 1 and images else "seeds" if n_seeds > 1 else "images"
    if not variance > 0:
        return Interval(value, value, over), 1.0 if value == 0 else 0.0
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = float(student_t.ppf((1 + _LEVEL) / 2, freedom)) * variance**0.5
    return Interval(value - half, value + half, over), float(2 * student_t.sf(abs(value) / variance**0.5, freedom))


def _percentiles(values: np.ndarray, over: str) -> Interval:
    low, high = np.nanpercentile(values, [100 * (1 - _LEVEL) / 2, 100 * (1 + _LEVEL) / 2])
    return Interval(float(low), float(high), over)


def _among(agreements: Agreements, term: Term) -> np.ndarray:
    return np.ones(len(agreements.samples), bool) if term.among is None else term.among


def _columns(agreements: Agreements, terms: Sequence[Term], corrected: bool) -> np.ndarray:
    """What is summed over images for each term's mean: (images, 2 * terms)."""
    tops, bottoms = [], []
    for term in terms:
        weight = agreements.weights * _among(agreements, term)
        tops.append(weight * term.series.agreement)
        bottoms.append(weight * (term.series.ceiling if corrected else 1.0))
    return np.stack([*tops, *bottoms], axis=1)


def resampled_sums(columns: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Sums over images, (1 + replicates, columns): of the data, and with each image Poisson(1) times.

    Image by image in blocks, so that the memory depends neither on the images nor on the replicates. The counts are the
    same for every effect over the same images.
    """
    sums = np.zeros((1 + replicates, columns.shape[1]))
    step = max(1, _AT_ONCE // max(1, replicates))
    for number, start in enumerate(range(0, len(columns), step)):
        block = columns[start : start + step]
        counts = _counts(len(block), replicates, seed, number)
        sums[0] += block.sum(0)
        sums[1:] += counts.astype(np.float64).T @ block
    return sums


@lru_cache(maxsize=8)
def _counts(images: int, replicates: int, seed: int, number: int) -> np.ndarray:
    """How often each image of a block counts in each replicate, uint8 (images, replicates)."""
    return np.random.default_rng([seed, 3, number]).poisson(1.0, (images, replicates)).astype(np.uint8)


def _by_seed(means: np.ndarray, contrast: Contrast) -> np.ndarray:
    """(replicates, terms) -> (replicates, seeds)."""
    found, start = [], 0
    for terms in contrast:
        factors = np.array([term.factor for term in terms])
        found.append(means[:, start : start + len(terms)] @ factors)
        start += len(terms)
    return np.stack(found, axis=1)


def pair_contrast(
    first: Sequence[Series], second: Sequence[Series], among: Sequence[np.ndarray] | None = None
) -> list[list[Term]]:
    """``first`` less ``second``, seed by seed; over some images of each seed, or all."""
    masks = among or [None] * len(first)
    return [
        [Term(1.0, one, mask), Term(-1.0, other, mask)] for one, other, mask in zip(first, second, masks, strict=False)
    ]


def mean_contrast(series: Sequence[Series]) -> list[list[Term]]:
    """The mean itself, seed by seed."""
    return [[Term(1.0, one)] for one in series]


@dataclass(frozen=True)
class Size:
    """How large a difference is beside the spread of single images.

    Attributes:
        d_z: Mean over standard deviation of the images' paired differences (Cohen, 1988), means over seeds.
        superiority: Share of the images whose difference is above zero; ties count half.
    """

    d_z: float
    superiority: float


def size_of(agreements: Agreements, first: Sequence[Series], second: Sequence[Series]) -> Size:
    """Of the paired difference of raw agreement."""
    difference = image_differences(first, second)
    weights = agreements.weights / agreements.weights.sum()
    mean = float(weights @ difference)
    spread = float(weights @ (difference - mean) ** 2) ** 0.5
    above = float(weights @ ((difference > 0) + 0.5 * (difference == 0)))
    return Size(mean / spread if spread > 0 else float("nan"), above)


def image_differences(first: Sequence[Series], second: Sequence[Series]) -> np.ndarray:
    """``first`` less ``second`` of each image, the mean over seeds, (images,)."""
    pairs = [one.agreement - other.agreement for one, other in zip(first, second, strict=False)]
    return np.mean(pairs, axis=0)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values that hold for all of them together (Holm, 1979): the smallest times their number, and so on down."""
    order, found, least = np.argsort(p_values), [0.0] * len(p_values), 0.0
    for place, number in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - place) * float(p_values[number])))
        found[int(number)] = least
    return found
