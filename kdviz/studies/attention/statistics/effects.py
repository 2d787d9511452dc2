"""How much closer one student's maps are to the teacher's than another's, and how sure that is.

Every effect is a contrast: for each training, a sum of mean agreements with coefficients. A training is a pair of a
teacher and a student's seed. A mean is over images, each weighted by how many of the split it stands for. Corrected
agreement is a ratio of means,

    mean over images of agreement / mean over images of ceiling

and not the mean of the images' ratios: an image whose map is mostly noise has a ceiling near zero and an arbitrary
ratio, which would dominate the mean; in the ratio of means, images whose maps are noisy count less. On the shipped
digits, with maps whose true correlation is known and with noise of real masks, the ratio of means of Pearson's
correlation is within .005 of the mean true correlation at ceilings of .93 and more, within .01 down to .9, .02 at .85
and .06 at .6. No such rule holds for ranks: see :mod:`kdviz.metrics.similarity`.

Images, teachers and seeds are random samples. Over images the bootstrap is Poisson's: each counts a Poisson(1) number
of times, which for hundreds of images equals the usual bootstrap, and works block by block. Over a few trainings a
bootstrap is too narrow (with S of them the variance is (S - 1) / S of what it should be, and only S^S samples exist),
so that the interval by which effects are judged comes from variances: see
:mod:`kdviz.studies.attention.statistics.uncertainty`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kdviz.studies.attention.statistics.agreements import Agreements, Series
from kdviz.studies.attention.statistics.uncertainty import Effect, summarise_effect

REPLICATES = 2000
_FEWEST_REPLICATES = 200
_COUNTS = 40_000_000  # images times replicates of an effect; with very many images there are fewer replicates
_COUNTS_OF_BLOCK = 4_000_000


@dataclass(frozen=True)
class Term:
    """A coefficient times the mean agreement of one pair, over all images or some of them.

    Attributes:
        factor: The coefficient.
        series: The pair.
        among: bool (images,), the images of the mean; None: all.
    """

    factor: float
    series: Series
    among: np.ndarray | None = None


@dataclass(frozen=True)
class Training:
    """The terms of one teacher and one student's seed.

    Attributes:
        key: Key of the teacher, and the seed.
        terms: The terms whose sum is its value.
    """

    key: tuple[str, int]
    terms: tuple[Term, ...]


Contrast = Sequence[Training]


def effect_of(
    agreements: Agreements, contrast: Contrast, corrected: bool = True, *, replicates: int = REPLICATES, seed: int = 0
) -> Effect:
    """The effect of a contrast of mean agreements, with its uncertainty.

    Args:
        agreements: The images and their weights.
        contrast: The terms of each training; images of which one of them has no agreement are left out.
        corrected: Whether the masks' noise is taken out.
        replicates, seed: Replicates of the bootstrap over images, and their seed.
    """
    return sample_contrast(agreements, contrast, corrected, replicates, seed).effect()


def mean_effect(agreements: Agreements, series: Sequence[Series], corrected: bool) -> Effect | None:
    """The mean agreement of a control's pairs; None without an image of which all of them have one."""
    contrast = mean_contrast(series)
    return effect_of(agreements, contrast, corrected) if contrast and known_images(contrast).any() else None


@dataclass(frozen=True)
class ContrastSamples:
    """The values of a contrast's trainings, (trainings,), and on replicates of the images, (B, trainings)."""

    training_keys: tuple[tuple[str, int], ...]
    values: np.ndarray
    replicates: np.ndarray
    images: int
    seed: int = 0

    def effect(self) -> Effect:
        return summarise_effect(self.training_keys, self.values, self.replicates, self.images, self.seed)

    def less(self, other: ContrastSamples) -> ContrastSamples:
        """The difference, training by training in their order; both over the same images."""
        count = min(len(self.training_keys), len(other.training_keys))
        return ContrastSamples(
            self.training_keys[:count],
            self.values[:count] - other.values[:count],
            self.replicates[:, :count] - other.replicates[:, :count],
            self.images,
            self.seed,
        )


def sample_contrast(
    agreements: Agreements, contrast: Contrast, corrected: bool = True, replicates: int = REPLICATES, seed: int = 0
) -> ContrastSamples:
    """The samples that :func:`effect_of` summarises; effects over the same images have paired replicates."""
    terms = [term for training in contrast for term in training.terms]
    columns = _columns(agreements, terms, corrected)  # (images, 2 * terms): numerators, denominators
    known = known_images(contrast)
    columns[~known] = 0  # in no sum; the other images count in each replicate as they do for other effects
    replicates = min(replicates, max(_FEWEST_REPLICATES, _COUNTS // len(columns)))
    sums = resampled_sums(columns, replicates, seed)  # (1 + replicates, 2 * terms), the data themselves first
    means = sums[:, : len(terms)] / np.where(sums[:, len(terms) :] > 0, sums[:, len(terms) :], np.nan)
    values = _by_training(means, contrast)  # (1 + replicates, trainings)
    used = known & np.logical_or.reduce([_images_of(agreements, term) for term in terms])
    return ContrastSamples(tuple(training.key for training in contrast), values[0], values[1:], int(used.sum()), seed)


def known_images(contrast: Contrast) -> np.ndarray:
    """The images of which all pairs of a contrast have an agreement, bool (images,)."""
    return np.logical_and.reduce([term.series.known for training in contrast for term in training.terms])


def _images_of(agreements: Agreements, term: Term) -> np.ndarray:
    return np.ones(len(agreements.samples), bool) if term.among is None else term.among


def _columns(agreements: Agreements, terms: Sequence[Term], corrected: bool) -> np.ndarray:
    """The summands over images of each term's mean, (images, 2 * terms): numerators, denominators."""
    numerators, denominators = [], []
    for term in terms:
        weight = agreements.weights * _images_of(agreements, term)
        numerators.append(weight * term.series.agreement)
        denominators.append(weight * (term.series.ceiling if corrected else 1.0))
    return np.stack([*numerators, *denominators], axis=1)


def resampled_sums(columns: np.ndarray, replicates: int, seed: int) -> np.ndarray:
    """Sums over images, (1 + replicates, columns): of the data, and with each image counted Poisson(1) times.

    The images are taken in blocks, so that the memory depends neither on the images nor on the replicates. The counts
    are the same for every effect over the same images.
    """
    sums = np.zeros((1 + replicates, columns.shape[1]))
    step = max(1, _COUNTS_OF_BLOCK // max(1, replicates))
    for index, start in enumerate(range(0, len(columns), step)):
        block = columns[start : start + step]
        counts = _counts(len(block), replicates, seed, index)
        sums[0] += block.sum(0)
        sums[1:] += counts.astype(np.float64).T @ block
    return sums


@lru_cache(maxsize=8)
def _counts(images: int, replicates: int, seed: int, block: int) -> np.ndarray:
    """How often each image of a block counts in each replicate, uint8 (images, replicates)."""
    return np.random.default_rng([seed, 3, block]).poisson(1.0, (images, replicates)).astype(np.uint8)


def _by_training(means: np.ndarray, contrast: Contrast) -> np.ndarray:
    """Sums of terms by training: (replicates, terms) -> (replicates, trainings)."""
    values, start = [], 0
    for training in contrast:
        factors = np.array([term.factor for term in training.terms])
        values.append(means[:, start : start + len(factors)] @ factors)
        start += len(factors)
    return np.stack(values, axis=1)


# contrasts ------------------------------------------------------------------------------------------------------------


def match_trainings(first: Sequence[Series], second: Sequence[Series]) -> list[tuple[Series, Series]]:
    """Pairs of series with the same teacher and seed or, where the seeds differ, in the order of their seeds."""
    pairs = []
    for teacher in dict.fromkeys(series.teacher for series in first):
        left, right = ([series for series in group if series.teacher == teacher] for group in (first, second))
        by_seed = {series.seed: series for series in right}
        if all(series.seed in by_seed for series in left):
            right = [by_seed[series.seed] for series in left]
        pairs += zip(left, right, strict=False)
    return pairs


def pair_contrast(
    first: Sequence[Series], second: Sequence[Series], among: Sequence[np.ndarray] | None = None
) -> list[Training]:
    """``first`` less ``second``, training by training, over all images or those that ``among`` selects for each."""
    pairs = match_trainings(first, second)
    masks = among or [None] * len(pairs)
    return [
        Training(left.training_key, (Term(1.0, left, mask), Term(-1.0, right, mask)))
        for (left, right), mask in zip(pairs, masks, strict=True)
    ]


def mean_contrast(series: Sequence[Series]) -> list[Training]:
    """The mean itself, training by training."""
    return [Training(pair.training_key, (Term(1.0, pair),)) for pair in series]


# sizes ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """A difference relative to the spread over single images, for each training: a teacher and its two students.

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
    """The sizes of the paired differences of uncorrected agreement, training by training.

    A mean over trainings has less spread over images than each of them, so that its size would look larger than what
    the user of one student sees.
    """
    weights = agreements.weights / agreements.weights.sum()
    sizes = [_size(left.agreement - right.agreement, weights) for left, right in match_trainings(first, second)]
    return Size(tuple(d_z for d_z, _ in sizes), tuple(superiority for _, superiority in sizes))


def _size(difference: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    mean = float(weights @ difference)
    spread = float(weights @ (difference - mean) ** 2) ** 0.5
    above = float(weights @ ((difference > 0) + 0.5 * (difference == 0)))
    return mean / spread if spread > 0 else float("nan"), above


def image_differences(first: Sequence[Series], second: Sequence[Series]) -> np.ndarray:
    """Mean over trainings of ``first`` less ``second`` for each image, (images,)."""
    return np.mean([left.agreement - right.agreement for left, right in match_trainings(first, second)], axis=0)
