"""Masks in groups that are independent of each other, and sums over them.

No sum ever makes masks x pixels: what is summed over the masks is summed over their bits first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kdviz.rise.masks import RandomMasks

_MOST_UNITS = 32  # for a standard error: Student's quantile of 31 degrees is 4 % above the normal one
_MOST_GROUPS = 16  # of blocks, for what is fitted
_ELEMENTS_AT_ONCE = 2_000_000  # of masks, where single masks are needed: 8 MB


@dataclass(frozen=True)
class Groups:
    """Which group each mask is in. Groups with even numbers are the first half of the masks, odd ones the second.

    Attributes:
        numbers: The number of each mask's group, (n,).
        count: Groups, even.
        sizes: Masks in each, float64 (count,).
    """

    numbers: Tensor
    count: int
    sizes: Tensor

    @property
    def odd(self) -> Tensor:
        return torch.arange(self.count) % 2 == 1


def _numbered(numbers: Tensor) -> Groups:
    count = int(numbers.max()) // 2 * 2 + 2
    sizes = torch.bincount(numbers, minlength=count).double()
    return Groups(numbers, count, sizes)


@lru_cache(maxsize=8)
def together(count: int) -> Groups:
    """All masks in one group."""
    return Groups(torch.zeros(count, dtype=torch.long), 1, torch.tensor([float(count)], dtype=torch.float64))


@lru_cache(maxsize=64)
def groups_of(masks: RandomMasks, count: int) -> Groups:
    """At most 16 groups of whole blocks, on which models are fitted; without blocks, the units."""
    if masks.independent or count <= masks.block:
        return units_of(masks, count)
    return _numbered(torch.arange(count) // masks.block % _MOST_GROUPS)


@lru_cache(maxsize=64)
def units_of(masks: RandomMasks, count: int) -> Groups:
    """About 32 units for standard errors: blocks, or parts of blocks, or single masks; each within one group.

    Parts of a block are not independent of each other: :mod:`kdviz.rise.spread` puts that right. Complements
    stay together. A half with fewer units than the other has empty ones.
    """
    index = torch.arange(count)
    if masks.independent:
        return _numbered(index % min(_MOST_UNITS, count // 2 * 2))
    if count <= masks.block:
        return _numbered(index // 2 % min(_MOST_UNITS, max(2, count // 4 * 2)))
    half = _MOST_UNITS // 2
    block = index // masks.block
    parts = -(-half // ((int(block[-1]) + 1) // 2))  # of a block
    position = block // 2 * parts + index % masks.block // 2 % parts if parts > 1 else block // 2 % half
    return _numbered(2 * position + block % 2)


def rendered(masks: RandomMasks, count: int) -> Iterator[tuple[int, Tensor]]:
    """Masks 0 to count - 1 in chunks: the first one's number, and (chunk, 1, H, W)."""
    step = max(16, _ELEMENTS_AT_ONCE // (masks.size[0] * masks.size[1]))
    for start in range(0, count, step):
        yield start, masks.render(start, min(start + step, count))


def sums_of_masks(masks: RandomMasks, weights: Tensor, groups: Groups) -> Tensor:
    """sum_i w_i M_i over each group, float64 (groups, rows of weights, H, W): over bits first, then enlarged."""
    rows, columns = (matrix.double() for matrix in masks.upsampling)
    result = weights.new_zeros(groups.count, len(weights), *masks.size)
    shifts = None if masks.one_shift else masks.draw(0, weights.shape[1])[1]
    for number, index, bits, shift in parts_of(masks, weights.shape[1], groups):
        if shifts is None:
            assert shift is not None  # of samplers with one shift a block
            grids = (weights[:, index] @ bits).view(-1, *masks.grid)
            result[number] += rows[shift[0]] @ grids @ columns[shift[1]].T
            continue
        result[number] += _enlarged_by_shift(weights[:, index], bits, shifts[index], rows, columns, masks.grid)
    return result


def _enlarged_by_shift(
    weights: Tensor, bits: Tensor, shifts: Tensor, rows: Tensor, columns: Tensor, grid: tuple[int, int]
) -> Tensor:
    """The same for masks with a shift each, (rows of weights, H, W): one sum of grids for each shift."""
    down, right = len(rows), len(columns)
    total = torch.zeros(down * right, len(weights), bits.shape[1], dtype=torch.float64)
    terms = weights.T[:, :, None] * bits[:, None]  # (n, rows of weights, cells)
    total.index_add_(0, shifts[:, 0] * right + shifts[:, 1], terms)
    grids = total.view(down, right, len(weights), *grid)
    across = torch.einsum("srtij,rxj->stix", grids, columns)
    return torch.einsum("stix,syi->tyx", across, rows)


def parts_of(
    masks: RandomMasks, count: int, groups: Groups
) -> Iterator[tuple[int, Tensor, Tensor, tuple[int, int] | None]]:
    """Masks in parts of one group: its number, which masks, their bits float64, and their shift if common."""
    if masks.one_shift:
        for start in range(0, count, masks.block):
            bits, shift = next(masks.by_shift(start, min(start + masks.block, count)))
            numbers = groups.numbers[start : start + len(bits)]
            for number in numbers.unique().tolist():
                index = (numbers == number).nonzero()[:, 0]
                yield number, start + index, bits[index].double(), shift
        return
    bits, _ = masks.draw(0, count)
    for number in groups.numbers.unique().tolist():
        index = (groups.numbers == number).nonzero()[:, 0]
        yield number, index, bits[index].flatten(1).double(), None
