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
    spread evenly over their strata; where there are more strata than images to draw, as with a thousand classes, in
    proportion to the strata's sizes.

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
    """(chosen samples, number of samples that they stand for) of every stratum that is drawn from.

    As many are drawn from each as the sizes allow: a stratum smaller than its part gives all its samples.
    """
    members = _strata(labels, who, among)
    if not count or not members:
        return []
    if count < len(members):
        return [(_systematic(members, count, generator), float(among.sum()))]
    numbers = _even_numbers([len(stratum) for stratum in members], count)
    return [
        (generator.permutation(stratum)[:number], float(len(stratum)))
        for stratum, number in zip(members, numbers, strict=True)
    ]


def _strata(labels: np.ndarray, who: np.ndarray, among: np.ndarray) -> list[np.ndarray]:
    """The samples of each stratum, by class and then by who is right."""
    samples = np.flatnonzero(among)
    _, codes = np.unique(who[samples], return_inverse=True)
    keys = labels[samples].astype(np.int64) * (int(codes.max(initial=0)) + 1) + codes
    order = np.argsort(keys, kind="stable")
    parts = np.split(samples[order], np.flatnonzero(np.diff(keys[order])) + 1)
    return [part for part in parts if len(part)]


def _systematic(members: list[np.ndarray], count: int, generator: np.random.Generator) -> np.ndarray:
    """Every k-th sample of the strata in a row, from a random start: each has the same chance (Cochran, 1977, ch. 8).

    Strata drawn one by one would have to leave some out, and what is drawn would not stand for these.
    """
    row = np.concatenate([generator.permutation(stratum) for stratum in members])
    places = (np.arange(count) + generator.random()) * (len(row) / count)
    return row[places.astype(np.int64).clip(max=len(row) - 1)]


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
