"""What an effect depends on: the study's value, the class, who is right, inherited mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdviz.analysis.attention.agreements import Agreements, Series
from kdviz.analysis.attention.pairs import CLAIM
from kdviz.analysis.attention.statistics import Effect, Term, effect_of, holm, pair_contrast, summarised

_FEWEST = 8  # images of a seed, below which nothing is said


@dataclass(frozen=True)
class PartEffect:
    """The effect over some of the images.

    Attributes:
        name: Which: a class's name, or in words.
        images: How many, the mean over seeds.
        effect: There.
        p_holm: For classes: p-value that holds for all classes together.
    """

    name: str
    images: float
    effect: Effect
    p_holm: float | None = None


@dataclass(frozen=True)
class Prediction:
    """Whether agreement tells which of the teacher's mistakes a student repeats.

    Attributes:
        role: Of the student.
        auroc: P(agreement is higher on a repeated mistake than on another), less one half: 0 says nothing.
        inherited, others: Mistakes that are repeated and not, the mean over seeds.
    """

    role: str
    auroc: Effect
    inherited: float
    others: float


def claim_pairs(agreements: Agreements, value: float | None) -> tuple[list[Series], list[Series]]:
    """The KD students with their teacher, and the students alone with it, in the order of their seeds."""
    return agreements.of(CLAIM, "kd_student", value), agreements.of(CLAIM, "student", value)


def trend(agreements: Agreements, corrected: bool, log: bool) -> Effect | None:
    """The slope of the effect against the study's value, or its doubling; None with fewer than three values.

    Least squares over the values, the same for each seed: a contrast like any other.
    """
    values = np.array(agreements.values)
    if len(values) < 3 or (log and values.min() <= 0):
        return None
    place = np.log2(values) if log else values
    factors = (place - place.mean()) / ((place - place.mean()) ** 2).sum()
    seeds = min(len(claim_pairs(agreements, value)[0]) for value in values)
    contrast: list[list[Term]] = [[] for _ in range(seeds)]
    for value, factor in zip(values, factors, strict=True):
        for seed, terms in enumerate(pair_contrast(*claim_pairs(agreements, float(value)))[:seeds]):
            contrast[seed] += [Term(factor * term.factor, term.series) for term in terms]
    return effect_of(agreements, contrast, corrected)


def by_class(
    agreements: Agreements, value: float | None, classes: Sequence[str], corrected: bool = True
) -> list[PartEffect]:
    """The effect in each class, by label, with p-values for all of them together (Holm)."""
    kd, alone = claim_pairs(agreements, value)
    found = []
    for label, name in enumerate(classes):
        among = agreements.labels == label
        if among.sum() >= _FEWEST:
            contrast = pair_contrast(kd, alone, [among] * len(kd))
            found.append((name, int(among.sum()), effect_of(agreements, contrast, corrected)))
    adjusted = holm([effect.p_value for _, _, effect in found])
    return [PartEffect(name, count, effect, p) for (name, count, effect), p in zip(found, adjusted, strict=True)]


def by_mistakes(agreements: Agreements, value: float | None, corrected: bool = True) -> list[PartEffect]:
    """The effect on images that are right and wrong, and on the teacher's mistakes that are repeated and not.

    Which images these are depends on the seed: each has its own.
    """
    kd, alone = claim_pairs(agreements, value)
    label = agreements.labels
    wrong = [one.taught != label for one in kd]
    repeats = [one.predicted == one.taught for one in kd]
    right = [(one.predicted == label) & (other.predicted == label) for one, other in _both(kd, alone)]
    parts = {
        "all three right": [~no & yes for no, yes in zip(wrong, right, strict=True)],
        "KD student wrong": [one.predicted != label for one in kd],
        "student alone wrong": [one.predicted != label for one in alone],
        "teacher wrong": wrong,
        "mistakes of the teacher that the KD student repeats": [a & b for a, b in zip(wrong, repeats, strict=True)],
        "mistakes of the teacher that it does not repeat": [a & ~b for a, b in zip(wrong, repeats, strict=True)],
    }
    found = []
    for name, among in parts.items():
        if all(one.sum() >= _FEWEST for one in among):
            effect = effect_of(agreements, pair_contrast(kd, alone, among), corrected)
            found.append(PartEffect(name, float(np.mean([one.sum() for one in among])), effect))
    return found


def _both(first: Sequence[Series], second: Sequence[Series]) -> list[tuple[Series, Series]]:
    return list(zip(first, second, strict=False))


def predicts_inheritance(agreements: Agreements, value: float | None) -> list[Prediction]:
    """Does agreement with the teacher predict which of its mistakes a student repeats? Of either student.

    The second is what one would see without distillation: two models that say the same may look at the same.
    """
    found = []
    for role, series in zip(("kd_student", "student"), claim_pairs(agreements, value), strict=True):
        wrong = [one.taught != agreements.labels for one in series]
        repeats = [one.predicted == one.taught for one in series]
        counts = [(int((a & b).sum()), int((a & ~b).sum())) for a, b in zip(wrong, repeats, strict=True)]
        if not counts or min(map(min, counts)) < _FEWEST:
            continue
        means = np.mean(counts, axis=0)
        found.append(Prediction(role, _auroc_effect(series, wrong, repeats), float(means[0]), float(means[1])))
    return found


def _auroc_effect(series: Sequence[Series], wrong: Sequence[np.ndarray], repeats: Sequence[np.ndarray]) -> Effect:
    """The AUROC less one half, over each seed's mistakes; images are drawn with replacement, the same for all seeds."""
    among = np.flatnonzero(np.logical_or.reduce(list(wrong)))
    parts = [(one.agreement[among], a[among], b[among]) for one, a, b in zip(series, wrong, repeats, strict=True)]

    def by_seed(drawn: np.ndarray) -> list[float]:
        return [auroc(value[drawn][a[drawn]], b[drawn][a[drawn]]) - 0.5 for value, a, b in parts]

    draws = np.random.default_rng(5).integers(0, len(among), (1000, len(among)))
    replicates = np.array([by_seed(one) for one in draws])
    here = np.array(by_seed(np.arange(len(among))))
    return summarised(here, replicates[np.isfinite(replicates).all(1)], len(among))


def auroc(values: np.ndarray, truth: np.ndarray) -> float:
    """P(a true one has the higher value), ties counting half; NaN without both kinds."""
    order = np.sort(values[~truth])
    if not truth.any() or not len(order):
        return float("nan")
    below = np.searchsorted(order, values[truth], "left") + np.searchsorted(order, values[truth], "right")
    return float(below.mean() / (2 * len(order)))
