"""The images of a study: stratified by class and by which models are right, with weights that undo the strata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kdviz.core.errors import SettingError

_RARE_SHARE = 0.5  # of the images, at most, for those that some model gets wrong


@dataclass(frozen=True)
class StratifiedSample:
    """The images of a study, in random order.

    Attributes:
        samples: int64 (n,), numbers of the images in the split.
        weights: float64 (n,), how many images of the split each stands for: a weighted mean estimates the split's.
        who: For each image, the roles that are right, as ``teacher+student``, or ``none``.
    """

    samples: np.ndarray
    weights: np.ndarray
    who: tuple[str, ...]


def stratified_sample(
    labels: np.ndarray, right: Mapping[str, np.ndarray], count: int, seed: int = 0
) -> StratifiedSample:
    """Choose ``count`` images at random within strata, which are a class and a set of roles that are right.

    Samples that some model gets wrong are taken first, up to half of the images; the others fill the rest. Both are
    spread evenly over their strata.

    Args:
        labels: int (N,), ground truth.
        right: Role -> bool (N,), where it is right.
        count: Number of images; at most N are chosen.
        seed: Seed of the choice and of the order.

    Raises:
        SettingError: Fewer than two images.
    """
    if min(count, len(labels)) < 2:
        raise SettingError("A study needs at least two images, got {count}.", count=min(count, len(labels)))
    generator = np.random.default_rng([seed, 1])
    who = np.array(["+".join(role for role in right if right[role][sample]) or "none" for sample in range(len(labels))])
    rare = ~np.logical_and.reduce(list(right.values())) if right else np.zeros(len(labels), bool)
    total = min(count, len(labels))
    first = min(int(rare.sum()), max(int(_RARE_SHARE * total), total - int((~rare).sum())))
    strata = [
        *_from_strata(labels, who, rare, first, generator),
        *_from_strata(labels, who, ~rare, total - first, generator),
    ]
    samples = np.concatenate([chosen for chosen, _ in strata])
    weights = np.concatenate([np.full(len(chosen), size / len(chosen)) for chosen, size in strata])
    order = generator.permutation(len(samples))
    samples = samples[order]
    return StratifiedSample(samples, weights[order], tuple(who[samples].tolist()))


def _from_strata(
    labels: np.ndarray, who: np.ndarray, among: np.ndarray, count: int, generator: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """(chosen samples, size of the stratum) of every stratum that is drawn from, as evenly as the sizes allow.

    A stratum smaller than its part gives all its samples. Strata that nothing is drawn from, when there are more
    strata than images to draw, add their size to the others of their kind, so that the weights still add up.
    """
    keys = sorted({(int(labels[sample]), str(who[sample])) for sample in np.flatnonzero(among)})
    members = [np.flatnonzero(among & (labels == label) & (who == name)) for label, name in keys]
    numbers = _even_numbers([len(stratum) for stratum in members], count)
    not_drawn = sum(len(stratum) for stratum, number in zip(members, numbers, strict=True) if not number)
    drawn = sum(len(stratum) for stratum, number in zip(members, numbers, strict=True) if number)
    scale = 1 + not_drawn / drawn if drawn else 1.0
    return [
        (generator.permutation(stratum)[:number], len(stratum) * scale)
        for stratum, number in zip(members, numbers, strict=True)
        if number
    ]


def _even_numbers(sizes: list[int], count: int) -> list[int]:
    """How many to draw from strata of these sizes, ``count`` in all, as evenly as they allow."""
    numbers = [0] * len(sizes)
    while count > 0:
        open_strata = [index for index, size in enumerate(sizes) if numbers[index] < size]
        if not open_strata:
            break
        each = max(1, count // len(open_strata))
        for index in open_strata:
            added = min(each, sizes[index] - numbers[index], count)
            numbers[index] += added
            count -= added
    return numbers
