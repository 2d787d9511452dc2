"""What an effect depends on: the study's value, the class, who is right, inherited mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kdviz.metrics.uncertainty import holm, simultaneous_level
from kdviz.studies.attention.statistics.agreements import Agreements, Series
from kdviz.studies.attention.statistics.effects import effect_of, matched, pair_contrast, sampled
from kdviz.studies.attention.statistics.pairs import MAIN_EFFECT
from kdviz.studies.attention.statistics.uncertainty import Effect, Interval, summarised

_FEWEST = 8  # images of a training, below which nothing is said


@dataclass(frozen=True)
class PartEffect:
    """The effect over some of the images.

    Attributes:
        name: Which: a class's name, or in words.
        images: How many, the mean over trainings.
        effect: There.
        p_holm: For classes: p-value that holds for all classes together.
    """

    name: str
    images: float
    effect: Effect
    p_holm: float | None = None


@dataclass(frozen=True)
class Change:
    """How much the effect changes between two values of the study.

    Attributes:
        first, second: The values, the smaller first.
        effect: That of the second less that of the first.
        together: For neighbours: the interval that holds for all neighbours together with 95 % (Bonferroni).
        p_holm: p-value that holds for all pairs of values together (Holm, 1979).
    """

    first: float
    second: float
    effect: Effect
    together: Interval | None
    p_holm: float

    @property
    def differs(self) -> bool:
        """Whether the two are told apart, at 5 % for all pairs together."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class Prediction:
    """Whether agreement tells which of the teacher's mistakes a student repeats.

    Attributes:
        role: Of the student.
        auroc: P(agreement is higher on a repeated mistake than on another), less one half: 0 says nothing.
        inherited, others: Mistakes that are repeated and not, the mean over trainings.
    """

    role: str
    auroc: Effect
    inherited: float
    others: float


def claim_pairs(agreements: Agreements, value: float | None) -> tuple[list[Series], list[Series]]:
    """The KD students with their teachers, and the students alone with the same, training by training."""
    kd, alone = agreements.of(MAIN_EFFECT, "kd_student", value), agreements.of(MAIN_EFFECT, "student", value)
    pairs = matched(kd, alone)
    return [one for one, _ in pairs], [other for _, other in pairs]


def changes(agreements: Agreements, corrected: bool) -> list[Change]:
    """How much the effect changes from each value of the study to each larger one, the trainings paired."""
    values: list[float] = agreements.values
    found = {value: sampled(agreements, pair_contrast(*claim_pairs(agreements, value)), corrected) for value in values}
    pairs = list(combinations(values, 2))
    effects = [found[large].less(found[small]).effect() for small, large in pairs]
    adjusted = holm([effect.p_value for effect in effects])
    level = simultaneous_level(len(values) - 1)
    return [
        Change(small, large, effect, effect.at(level) if values.index(large) - values.index(small) == 1 else None, p)
        for (small, large), effect, p in zip(pairs, effects, adjusted, strict=True)
    ]


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

    Which images these are depends on the training: each has its own.
    """
    kd, alone = claim_pairs(agreements, value)
    label = agreements.labels
    wrong = [one.teacher_predicted != label for one in kd]
    repeats = [one.predicted == one.teacher_predicted for one in kd]
    right = [(one.predicted == label) & (other.predicted == label) for one, other in zip(kd, alone, strict=True)]
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


def predicts_inheritance(agreements: Agreements, value: float | None) -> list[Prediction]:
    """Does agreement with the teacher predict which of its mistakes a student repeats? Of either student.

    The second is what one would see without distillation: two models that say the same may look at the same.
    """
    found = []
    for role, series in zip(("kd_student", "student"), claim_pairs(agreements, value), strict=True):
        wrong = [one.teacher_predicted != agreements.labels for one in series]
        repeats = [one.predicted == one.teacher_predicted for one in series]
        counts = [(int((a & b).sum()), int((a & ~b).sum())) for a, b in zip(wrong, repeats, strict=True)]
        if not counts or min(map(min, counts)) < _FEWEST:
            continue
        means = np.mean(counts, axis=0)
        found.append(Prediction(role, _auroc_effect(series, wrong, repeats), float(means[0]), float(means[1])))
    return found


def _auroc_effect(series: Sequence[Series], wrong: Sequence[np.ndarray], repeats: Sequence[np.ndarray]) -> Effect:
    """The AUROC less one half, over each training's mistakes; images are drawn with replacement, the same for all."""
    among = np.flatnonzero(np.logical_or.reduce(list(wrong)))
    parts = [(one.agreement[among], a[among], b[among]) for one, a, b in zip(series, wrong, repeats, strict=True)]

    def by_training(drawn: np.ndarray) -> list[float]:
        return [auroc(value[drawn][a[drawn]], b[drawn][a[drawn]]) - 0.5 for value, a, b in parts]

    draws = np.random.default_rng(5).integers(0, len(among), (1000, len(among)))
    replicates = np.array([by_training(one) for one in draws])
    here = np.array(by_training(np.arange(len(among))))
    return summarised([one.place for one in series], here, replicates[np.isfinite(replicates).all(1)], len(among))


def auroc(values: np.ndarray, truth: np.ndarray) -> float:
    """P(a true one has the higher value), ties counting half; NaN without both kinds."""
    order = np.sort(values[~truth])
    if not truth.any() or not len(order):
        return float("nan")
    below = np.searchsorted(order, values[truth], "left") + np.searchsorted(order, values[truth], "right")
    return float(below.mean() / (2 * len(order)))
