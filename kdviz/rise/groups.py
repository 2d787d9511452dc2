"""Masks in groups that are independent of each other, and sums over them.

No sum creates an array of masks x pixels: sums over masks are taken over their bits first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kdviz.rise.masks import RandomMasks

_MOST_UNITS = 32  # for a standard error: Student's quantile of 31 degrees is 4 % above the normal one
_MOST_GROUPS = 16  # groups of blocks, on which models are fitted
_CHUNK_ELEMENTS = 2_000_000  # of masks, where single masks are needed: 8 MB


@dataclass(frozen=True)
class Groups:
    """The group of each mask. Groups with even indices are the first half of the masks, odd ones the second.

    Attributes:
        numbers: The index of each mask's group, (n,).
        count: Number of groups, even.
        sizes: Number of masks in each group, float64 (count,).
    """

    numbers: Tensor
    count: int
    sizes: Tensor

    @property
    def odd(self) -> Tensor:
        return torch.arange(self.count) % 2 == 1


def _groups(numbers: Tensor) -> Groups:
    count = int(numbers.max()) // 2 * 2 + 2
    sizes = torch.bincount(numbers, minlength=count).double()
    return Groups(numbers, count, sizes)


@lru_cache(maxsize=8)
def single_group(count: int) -> Groups:
    """All masks in one group."""
    return Groups(torch.zeros(count, dtype=torch.long), 1, torch.tensor([float(count)], dtype=torch.float64))


@lru_cache(maxsize=64)
def groups_of(masks: RandomMasks, count: int) -> Groups:
    """At most 16 groups of whole blocks, on which models are fitted; without blocks, the units."""
    if masks.independent or count <= masks.block:
        return units_of(masks, count)
    return _groups(torch.arange(count) // masks.block % _MOST_GROUPS)


@lru_cache(maxsize=64)
def units_of(masks: RandomMasks, count: int) -> Groups:
    """About 32 units for standard errors: blocks, or parts of blocks, or single masks; each within one group.

    Parts of a block are not independent of each other: :mod:`kdviz.rise.spread` corrects for that. Complements
    stay together. A half with fewer units than the other has empty ones.
    """
    index = torch.arange(count)
    if masks.independent:
        return _groups(index % min(_MOST_UNITS, count // 2 * 2))
    if count <= masks.block:
        return _groups(index // 2 % min(_MOST_UNITS, max(2, count // 4 * 2)))
    half = _MOST_UNITS // 2
    block = index // masks.block
    split = -(-half // ((int(block[-1]) + 1) // 2))
    position = block // 2 * split + index % masks.block // 2 % split if split > 1 else block // 2 % half
    return _groups(2 * position + block % 2)


def render_chunks(masks: RandomMasks, count: int) -> Iterator[tuple[int, Tensor]]:
    """Masks 0 to count - 1 in chunks: the index of the first one, and (chunk, 1, H, W)."""
    step = max(16, _CHUNK_ELEMENTS // (masks.size[0] * masks.size[1]))
    for start in range(0, count, step):
        yield start, masks.render(start, min(start + step, count))


def sums_of_masks(masks: RandomMasks, weights: Tensor, groups: Groups) -> Tensor:
    """sum_i w_i M_i over each group, float64 (groups, rows of weights, H, W): over bits first, then upsampled."""
    rows, columns = (matrix.double() for matrix in masks.upsampling)
    result = weights.new_zeros(groups.count, len(weights), *masks.size)
    shifts = None if masks.one_shift else masks.draw(0, weights.shape[1])[1]
    for number, index, bits, shift in group_parts(masks, weights.shape[1], groups):
        if shifts is None:
            assert shift is not None  # for samplers with one shift per block
            grids = (weights[:, index] @ bits).view(-1, *masks.grid)
            result[number] += rows[shift[0]] @ grids @ columns[shift[1]].T
            continue
        result[number] += _upsampled_by_shift(weights[:, index], bits, shifts[index], rows, columns, masks.grid)
    return result


def _upsampled_by_shift(
    weights: Tensor, bits: Tensor, shifts: Tensor, rows: Tensor, columns: Tensor, grid: tuple[int, int]
) -> Tensor:
    """sum_i w_i M_i for masks with individual shifts, (rows of weights, H, W): one sum of grids for each shift."""
    down, right = len(rows), len(columns)
    total = torch.zeros(down * right, len(weights), bits.shape[1], dtype=torch.float64)
    terms = weights.T[:, :, None] * bits[:, None]  # (n, rows of weights, cells)
    total.index_add_(0, shifts[:, 0] * right + shifts[:, 1], terms)
    grids = total.view(down, right, len(weights), *grid)
    across = torch.einsum("srtij,rxj->stix", grids, columns)
    return torch.einsum("stix,syi->tyx", across, rows)


def group_parts(
    masks: RandomMasks, count: int, groups: Groups
) -> Iterator[tuple[int, Tensor, Tensor, tuple[int, int] | None]]:
    """Masks in parts of one group: the group, indices of masks, their bits float64, and their shift if common."""
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
