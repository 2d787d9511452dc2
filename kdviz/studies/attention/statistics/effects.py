"""How much closer one student's maps are to the teacher's than another's, and how sure that is.

Everything is a contrast: for each training a sum of mean agreements with coefficients that add up to zero. A training
is a pair of a teacher and a student's seed. A mean is over images, each counting for those of the split that it stands
for. Corrected agreement is a ratio of means,

    mean over images of agreement / mean over images of ceiling

and not the mean of the images' ratios: an image whose map is mostly noise has a ceiling near zero and a ratio that can
be anything, and would decide the mean; in the ratio of means it counts as much as is known of it. So images whose maps
are noisy count less. On the shipped digits, with maps whose true correlation is known and with noise of real masks, the
ratio of means of Pearson's correlation is within .005 of the mean true correlation at ceilings of .93 and more, within
.01 down to .9, .02 at .85 and .06 at .6. No such rule holds for ranks: see :mod:`kdviz.metrics.similarity`.

Images, teachers and seeds are a draw. Of images the bootstrap is Poisson's: each counts a Poisson(1) number of times,
which for hundreds of images is the usual bootstrap, and works block by block. Of a few trainings a bootstrap is too
narrow (with S of them the variance is (S - 1) / S of what it should be, and only S^S samples exist), so that the
interval by which anything is judged is made of variances: see :mod:`kdviz.studies.attention.statistics.uncertainty`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kdviz.studies.attention.statistics.agreements import Agreements, Series
from kdviz.studies.attention.statistics.uncertainty import Effect, summarised

REPLICATES = 2000
_FEWEST_REPLICATES = 200
_COUNTS = 40_000_000  # of images that are drawn for an effect; of very many images there are fewer replicates
_AT_ONCE = 4_000_000


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


@dataclass(frozen=True)
class Training:
    """The terms of one teacher and one student's seed.

    Attributes:
        place: Key of the teacher, and the seed.
        terms: Whose sum is its value.
    """

    place: tuple[str, int]
    terms: tuple[Term, ...]


Contrast = Sequence[Training]


def effect_of(
    agreements: Agreements, contrast: Contrast, corrected: bool = True, *, replicates: int = REPLICATES, seed: int = 0
) -> Effect:
    """A contrast of mean agreements.

    Args:
        agreements: Of which images and weights are taken.
        contrast: For each training its terms.
        corrected: Whether the masks' noise is taken out.
        replicates, seed: Of the bootstrap.
    """
    return sampled(agreements, contrast, corrected, replicates, seed).effect()


@dataclass(frozen=True)
class Sampled:
    """The values of a contrast's trainings, (trainings,), and on replicates of the images, (B, trainings)."""

    places: tuple[tuple[str, int], ...]
    values: np.ndarray
    replicates: np.ndarray
    images: int
    seed: int = 0

    def effect(self) -> Effect:
        return summarised(self.places, self.values, self.replicates, self.images, self.seed)

    def less(self, other: Sampled) -> Sampled:
        """The difference, training by training in their order; both over the same images."""
        count = min(len(self.places), len(other.places))
        return Sampled(
            self.places[:count],
            self.values[:count] - other.values[:count],
            self.replicates[:, :count] - other.replicates[:, :count],
            self.images,
            self.seed,
        )


def sampled(
    agreements: Agreements, contrast: Contrast, corrected: bool = True, replicates: int = REPLICATES, seed: int = 0
) -> Sampled:
    """What :func:`effect_of` summarises; of effects over the same images the replicates are paired."""
    terms = [term for one in contrast for term in one.terms]
    columns = _columns(agreements, terms, corrected)  # (images, 2 * terms): numerators, denominators
    replicates = min(replicates, max(_FEWEST_REPLICATES, _COUNTS // len(columns)))
    sums = resampled_sums(columns, replicates, seed)  # (1 + replicates, 2 * terms), the data themselves first
    means = sums[:, : len(terms)] / np.where(sums[:, len(terms) :] > 0, sums[:, len(terms) :], np.nan)
    values = _by_training(means, contrast)  # (1 + replicates, trainings)
    used = np.logical_or.reduce([_among(agreements, term) for term in terms])
    return Sampled(tuple(one.place for one in contrast), values[0], values[1:], int(used.sum()), seed)


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


def _by_training(means: np.ndarray, contrast: Contrast) -> np.ndarray:
    """(replicates, terms) -> (replicates, trainings)."""
    found, start = [], 0
    for one in contrast:
        factors = np.array([term.factor for term in one.terms])
        found.append(means[:, start : start + len(factors)] @ factors)
        start += len(factors)
    return np.stack(found, axis=1)


# contrasts ------------------------------------------------------------------------------------------------------------


def matched(first: Sequence[Series], second: Sequence[Series]) -> list[tuple[Series, Series]]:
    """Pairs of series with the same teacher: of the same seed, or where those differ, in the order of their seeds."""
    found = []
    for teacher in dict.fromkeys(one.teacher for one in first):
        left, right = ([one for one in group if one.teacher == teacher] for group in (first, second))
        places = {one.seed: one for one in right}
        if all(one.seed in places for one in left):
            right = [places[one.seed] for one in left]
        found += zip(left, right, strict=False)
    return found


def pair_contrast(
    first: Sequence[Series], second: Sequence[Series], among: Sequence[np.ndarray] | None = None
) -> list[Training]:
    """``first`` less ``second``, training by training; over some images of each, or all."""
    pairs = matched(first, second)
    masks = among or [None] * len(pairs)
    return [
        Training(one.place, (Term(1.0, one, mask), Term(-1.0, other, mask)))
        for (one, other), mask in zip(pairs, masks, strict=True)
    ]


def mean_contrast(series: Sequence[Series]) -> list[Training]:
    """The mean itself, training by training."""
    return [Training(one.place, (Term(1.0, one),)) for one in series]


# sizes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How large a difference is beside the spread of single images, for each training: a teacher and its two students.

    Attributes:
        by_training_d_z: Mean over standard deviation of the images' paired differences (Cohen, 1988).
        by_training_superiority: Share of the images whose difference is above zero; ties count half.
    """

    by_training_d_z: tuple[float, ...]
    by_training_superiority: tuple[float, ...]

    @property
    def d_z(self) -> float:
        """The mean over trainings."""
        return float(np.mean(self.by_training_d_z))

    @property
    def superiority(self) -> float:
        """The mean over trainings."""
        return float(np.mean(self.by_training_superiority))


def size_of(agreements: Agreements, first: Sequence[Series], second: Sequence[Series]) -> Size:
    """Of the paired difference of raw agreement, training by training.

    A mean over trainings has less spread from image to image than any of them, and would look larger than what a user
    of one student sees.
    """
    weights = agreements.weights / agreements.weights.sum()
    sizes = [_size(one.agreement - other.agreement, weights) for one, other in matched(first, second)]
    return Size(tuple(one for one, _ in sizes), tuple(one for _, one in sizes))


def _size(difference: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    mean = float(weights @ difference)
    spread = float(weights @ (difference - mean) ** 2) ** 0.5
    above = float(weights @ ((difference > 0) + 0.5 * (difference == 0)))
    return mean / spread if spread > 0 else float("nan"), above


def image_differences(first: Sequence[Series], second: Sequence[Series]) -> np.ndarray:
    """``first`` less ``second`` of each image, the mean over trainings, (images,)."""
    return np.mean([one.agreement - other.agreement for one, other in matched(first, second)], axis=0)
