"""The pictures of a study of regions: a random choice of those that have one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from kdviz.core.errors import DatasetError
from kdviz.data import LabelledImages
from kdviz.data.regions import Regions


@dataclass(frozen=True)
class RegionPictures:
    """Pictures with their regions.

    Attributes:
        samples: The pictures, as the models see them.
        numbers: int64 (N,), their numbers in the split, as in predictions.parquet.
        regions: float32 (N, H, W), the share of each pixel that lies inside.
        empty: How many pictures were left out since nothing of their region is in the models' input.
        sources: Name of the file in which each region was drawn; empty: not known.
    """

    samples: LabelledImages
    numbers: np.ndarray
    regions: np.ndarray
    empty: int = 0
    sources: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.numbers)


def choose_pictures(
    names: Sequence[str],
    regions: Regions,
    samples_of: Callable[[Sequence[int]], LabelledImages],
    shares_of: Callable[[np.ndarray], np.ndarray],
    count: int,
    seed: int = 0,
    numbers: np.ndarray | None = None,
) -> RegionPictures:
    """Choose pictures at random among those with a region in the models' input.

    Args:
        names: Names of all pictures of a split.
        regions: Their regions.
        samples_of: Gives the pictures at some indices, as the models see them.
        shares_of: Turns a region, bool (H, W), into the share of each pixel of the models' input that lies inside.
        count: How many to choose at most.
        seed: Seed of the choice.
        numbers: Number of each picture in the split; default: 0, 1, ...

    Raises:
        DatasetError: Fewer than two pictures have a region, or a region does not fit its picture.
    """
    candidates = [index for index, name in enumerate(names) if name in regions]
    order: list[int] = np.random.default_rng([seed, 2]).permutation(len(candidates)).tolist()
    chosen: dict[int, np.ndarray] = {}
    empty = 0
    for index in (candidates[position] for position in order):
        if len(chosen) == count:
            break
        share = shares_of(regions.mask(names[index]))
        if share.any():
            chosen[index] = share
        else:
            empty += 1
    if len(chosen) < 2:
        raise DatasetError(
            "Only {count} of {total} pictures have a region that the models see; a study needs at least two.",
            count=len(chosen),
            total=len(names),
        )
    indices = sorted(chosen)
    all_numbers = np.arange(len(names)) if numbers is None else numbers
    shares = np.stack([chosen[index] for index in indices])
    sources = tuple(regions.drawn[names[index]].source for index in indices)
    return RegionPictures(samples_of(indices), all_numbers[indices], shares, empty, sources)


def taken_from(samples: LabelledImages) -> Callable[[Sequence[int]], LabelledImages]:
    """The pictures at some indices, of a split in memory."""
    return lambda indices: samples.take(torch.tensor(list(indices)))
