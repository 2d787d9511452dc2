"""What an effect depends on: the study's value, the class, which models are right, inherited mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np

from kdviz.core.vocabulary import Role
from kdviz.metrics.uncertainty import holm, simultaneous_level
from kdviz.studies.attention.statistics.agreements import Agreements, Series, Value
from kdviz.studies.attention.statistics.effects import effect_of, match_trainings, pair_contrast, sample_contrast
from kdviz.studies.attention.statistics.pairs import MAIN_EFFECT
from kdviz.studies.attention.statistics.uncertainty import Effect, Interval, summarise_effect

_REPLICATES = 1000
_FEWEST = 8  # images of a training; with fewer no effect is reported


@dataclass(frozen=True)
class PartEffect:
    """The effect over some of the images.

    Attributes:
        name: A class's name, or a description of the images.
        images: Number of images, the mean over trainings.
        effect: The effect over these images.
        p_holm: For classes: p-value that holds for all classes together (Holm).
    """

    name: str
    images: float
    effect: Effect
    p_holm: float | None = None


@dataclass(frozen=True)
class Change:
    """How much the effect changes between two values of the study.

    Attributes:
        first, second: The values, the smaller first, or the one that the alphabet has first.
        effect: That of the second less that of the first.
        together: For neighbouring numbers: the interval that holds for all neighbours together with 95 % (Bonferroni).
        p_holm: p-value that holds for all pairs of values together (Holm, 1979).
    """

    first: Value
    second: Value
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
        role: Role of the student.
        auroc: P(agreement is higher on a repeated mistake than on another), less one half: 0 says nothing.
        inherited, others: Numbers of mistakes that are repeated and that are not, means over trainings.
    """

    role: str
    auroc: Effect
    inherited: float
    others: float


def claim_pairs(agreements: Agreements, value: Value | None) -> tuple[list[Series], list[Series]]:
    """The KD students with their teachers, and the students alone with the same teachers, training by training."""
    kd, alone = agreements.of(MAIN_EFFECT, Role.KD_STUDENT, value), agreements.of(MAIN_EFFECT, Role.STUDENT, value)
    pairs = match_trainings(kd, alone)
    return [kd_series for kd_series, _ in pairs], [alone_series for _, alone_series in pairs]


def changes(agreements: Agreements, corrected: bool) -> list[Change]:
    """How much the effect changes from each value of the study to each larger one, paired by training."""
    values = agreements.values
    samples = {
        value: sample_contrast(agreements, pair_contrast(*claim_pairs(agreements, value)), corrected)
        for value in values
    }
    pairs = list(combinations(values, 2))
    neighbours = set() if any(isinstance(value, str) for value in values) else set(pairwise(values))
    effects = [samples[large].less(samples[small]).effect() for small, large in pairs]
    adjusted = holm([effect.p_value for effect in effects])
    level = simultaneous_level(len(values) - 1)
    return [
        Change(small, large, effect, effect.at(level) if (small, large) in neighbours else None, p)
        for (small, large), effect, p in zip(pairs, effects, adjusted, strict=True)
    ]


def by_class(
    agreements: Agreements, value: Value | None, classes: Sequence[str], corrected: bool = True
) -> list[PartEffect]:
    """The effect in each class, by label, with p-values for all of them together (Holm)."""
    kd, alone = claim_pairs(agreements, value)
    effects = []
    for label, name in enumerate(classes):
        among = agreements.labels == label
        if among.sum() >= _FEWEST:
            contrast = pair_contrast(kd, alone, [among] * len(kd))
            effects.append((name, int(among.sum()), effect_of(agreements, contrast, corrected)))
    adjusted = holm([effect.p_value for _, _, effect in effects])
    return [PartEffect(name, count, effect, p) for (name, count, effect), p in zip(effects, adjusted, strict=True)]


def by_mistakes(agreements: Agreements, value: Value | None, corrected: bool = True) -> list[PartEffect]:
    """The effect by which models are right, and on the teacher's mistakes that are repeated and that are not.

    Each training has its own such images.
    """
    kd, alone = claim_pairs(agreements, value)
    label = agreements.labels
    wrong = [series.teacher_predicted != label for series in kd]
    repeats = [series.predicted == series.teacher_predicted for series in kd]
    right = [
        (series.predicted == label) & (other_series.predicted == label)
        for series, other_series in zip(kd, alone, strict=True)
    ]
    parts = {
        "all three right": [~is_wrong & is_right for is_wrong, is_right in zip(wrong, right, strict=True)],
        "KD student wrong": [series.predicted != label for series in kd],
        "student alone wrong": [series.predicted != label for series in alone],
        "teacher wrong": wrong,
        "mistakes of the teacher that the KD student repeats": [
            is_wrong & is_repeated for is_wrong, is_repeated in zip(wrong, repeats, strict=True)
        ],
        "mistakes of the teacher that it does not repeat": [
            is_wrong & ~is_repeated for is_wrong, is_repeated in zip(wrong, repeats, strict=True)
        ],
    }
    part_effects = []
    for name, among in parts.items():
        if all(mask.sum() >= _FEWEST for mask in among):
            effect = effect_of(agreements, pair_contrast(kd, alone, among), corrected)
            part_effects.append(PartEffect(name, float(np.mean([mask.sum() for mask in among])), effect))
    return part_effects


def predicts_inheritance(agreements: Agreements, value: Value | None) -> list[Prediction]:
    """Whether agreement with the teacher predicts which of its mistakes a student repeats, for either student.

    The student alone shows what to expect without distillation: two models that predict the same may look alike.
    """
    predictions = []
    for role, pairs in zip((Role.KD_STUDENT, Role.STUDENT), claim_pairs(agreements, value), strict=True):
        wrong = [pair.teacher_predicted != agreements.labels for pair in pairs]
        repeats = [pair.predicted == pair.teacher_predicted for pair in pairs]
        counts = [
            (int((is_wrong & is_repeated).sum()), int((is_wrong & ~is_repeated).sum()))
            for is_wrong, is_repeated in zip(wrong, repeats, strict=True)
        ]
        if not counts or min(map(min, counts)) < _FEWEST:
            continue
        means = np.mean(counts, axis=0)
        predictions.append(Prediction(role, _auroc_effect(pairs, wrong, repeats), float(means[0]), float(means[1])))
    return predictions


def _auroc_effect(pairs: Sequence[Series], wrong: Sequence[np.ndarray], repeats: Sequence[np.ndarray]) -> Effect:
    """The AUROC less one half, over each training's mistakes; all trainings share the bootstrap draws of images."""
    among = np.flatnonzero(np.logical_or.reduce(list(wrong)))
    parts = [(pair.agreement[among], a[among], b[among]) for pair, a, b in zip(pairs, wrong, repeats, strict=True)]

    def by_training(drawn: np.ndarray) -> np.ndarray:
        counts = np.stack([np.bincount(draw, minlength=len(among)) for draw in drawn])
        by_part = [aurocs(values, truth, counts * is_wrong) for values, is_wrong, truth in parts]
        return np.stack(by_part, axis=1) - 0.5

    draws = np.random.default_rng(5).integers(0, len(among), (_REPLICATES, len(among)))
    # In parts, since each holds some numbers for each image.
    replicates = np.concatenate([by_training(block) for block in np.array_split(draws, 10)])
    values = by_training(np.arange(len(among))[None])[0]
    return summarise_effect(
        [pair.training_key for pair in pairs], values, replicates[np.isfinite(replicates).all(1)], len(among)
    )


def aurocs(values: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """P(a value where ``truth`` holds is above one where it does not), ties counting half, in each resample.

    Args:
        values: (N,).
        truth: bool (N,).
        counts: How often each value counts, (resamples, N).

    Returns:
        (resamples,); NaN where a resample lacks one of both kinds.
    """
    order = np.argsort(values[~truth])
    others, weights = values[~truth][order], counts[:, truth]
    cumulated = np.pad(np.cumsum(counts[:, ~truth][:, order], axis=1), ((0, 0), (1, 0)))
    below = cumulated[:, np.searchsorted(others, values[truth], "left")]
    below += cumulated[:, np.searchsorted(others, values[truth], "right")]
    with np.errstate(invalid="ignore"):
        return (weights * below).sum(1) / (2 * cumulated[:, -1] * weights.sum(1))
