"""Which images a study looks at: stratified by class and by who is right, with the weights that undo it."""

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
        samples: int64 (n,), numbers in the split.
        weights: float64 (n,), how many images of the split each stands for: a weighted mean is the split's.
        who: Of each, the models that are right, as ``teacher+student``; ``none``.
    """

    samples: np.ndarray
    weights: np.ndarray
    who: tuple[str, ...]


def stratified_sample(
    labels: np.ndarray, right: Mapping[str, np.ndarray], count: int, seed: int = 0
) -> StratifiedSample:
    """Choose ``count`` images: those that a model gets wrong as completely as half of the places allow, the others
    evenly over the classes; within a stratum (class, and who is right) at random.

    Args:
        labels: int (N,).
        right: Role -> bool (N,), who is right where.
        count: At most N are chosen.
        seed: Of the choice and the order.

    Raises:
        SettingError: Fewer than two images.
    """
    if min(count, len(labels)) < 2:
        raise SettingError(f"A study needs at least two images, got {min(count, len(labels))}.")
    generator = np.random.default_rng([seed, 1])
    who = np.array(["+".join(role for role in right if right[role][one]) or "none" for one in range(len(labels))])
    rare = ~np.logical_and.reduce(list(right.values())) if right else np.zeros(len(labels), bool)
    places = min(count, len(labels))
    first = min(int(rare.sum()), max(int(_RARE_SHARE * places), places - int((~rare).sum())))
    taken = [
        *_from_strata(labels, who, rare, first, generator),
        *_from_strata(labels, who, ~rare, places - first, generator),
    ]
    samples = np.concatenate([one for one, _ in taken])
    weights = np.concatenate([np.full(len(one), size / len(one)) for one, size in taken])
    order = generator.permutation(len(samples))
    samples = samples[order]
    return StratifiedSample(samples, weights[order], tuple(who[samples].tolist()))


def _from_strata(
    labels: np.ndarray, who: np.ndarray, among: np.ndarray, count: int, generator: np.random.Generator
) -> list[tuple[np.ndarray, float]]:
    """(chosen samples, size of the stratum) of every stratum that has any; as equal numbers as the sizes allow.

    A stratum too small for its place gives all it has. One that none is taken from is joined to the others of its
    kind, so that the weights still add up: that only happens when there are more strata than places.
    """
    keys = sorted({(int(labels[one]), str(who[one])) for one in np.flatnonzero(among)})
    members = [np.flatnonzero(among & (labels == label) & (who == name)) for label, name in keys]
    numbers = _even([len(one) for one in members], count)
    left_out = sum(len(one) for one, number in zip(members, numbers, strict=True) if not number)
    kept = sum(len(one) for one, number in zip(members, numbers, strict=True) if number)
    scale = 1 + left_out / kept if kept else 1.0
    return [
        (generator.permutation(one)[:number], len(one) * scale)
        for one, number in zip(members, numbers, strict=True)
        if number
    ]


def _even(sizes: list[int], count: int) -> list[int]:
    """``count`` places over strata of these sizes, as evenly as they allow."""
    numbers = [0] * len(sizes)
    while count > 0:
        open_ones = [place for place, size in enumerate(sizes) if numbers[place] < size]
        if not open_ones:
            break
        each = max(1, count // len(open_ones))
        for place in open_ones:
            more = min(each, sizes[place] - numbers[place], count)
            numbers[place] += more
            count -= more
    return numbers
