"""Masks in the basis of their principal components, in which scores are fitted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from kdviz.rise.groups import group_parts, groups_of
from kdviz.rise.masks import RandomMasks

_KEPT_VARIANCE = 1 - 1e-4  # share of the masks' variance in the components that are used
_BLOCK_BATCH = 16  # blocks that are processed together
_LARGEST_CACHE = 16_384  # masks whose components are cached for the next pass: 35 MB


class Components(NamedTuple):
    """Principal components of the masks, from their exact covariance.

    For a given shift the cells are independent, and the two shifts are, so Cov(M(y, x), M(y', x')) is
    p (1 - p) C_y(y, y') C_x(x, x') with C = mean over shifts of W W^T: a Kronecker product. Its
    eigenvectors are products of those of C_y and C_x.

    Attributes:
        rows, columns: (H, a) and (W, b), eigenvectors of C_y and C_x.
        variance: (a, b), variance of each product, for p (1 - p) = 1.
        kept: bool (a, b), the components that are used.
        down, right: (shifts, a, grid rows) and (shifts, b, grid columns): a grid's bits in the eigenvectors.
    """

    rows: Tensor
    columns: Tensor
    variance: Tensor
    kept: Tensor
    down: Tensor
    right: Tensor

    def of_cells(self, shift: tuple[int, int]) -> Tensor:
        """(components, cells): the contribution of each cell to each component, for one shift."""
        return torch.kron(self.down[shift[0]], self.right[shift[1]])[self.kept.flatten()]


@lru_cache(maxsize=8)
def components(size: tuple[int, int], grid: tuple[int, int]) -> Components:
    sides, upsampling = [], [matrix.double() for matrix in RandomMasks(size, grid).upsampling]
    for matrices in upsampling:  # (shifts, side, cells)
        values, vectors = torch.linalg.eigh((matrices @ matrices.mT).mean(0))
        order = values.argsort(descending=True)[: 4 * grid[0] * grid[1]]
        sides.append((values[order].clamp_min(0), vectors[:, order]))
    (rows, row_vectors), (columns, column_vectors) = sides
    variance = rows[:, None] * columns
    ranked = variance.flatten().sort(descending=True).values
    count = int((ranked.cumsum(0) < _KEPT_VARIANCE * ranked.sum()).sum())
    kept = variance >= ranked[min(count, len(ranked) - 1)]
    a, b = int(kept.any(1).sum()), int(kept.any(0).sum())
    vectors = row_vectors[:, :a].contiguous(), column_vectors[:, :b].contiguous()
    grids = [vector.T @ matrices for vector, matrices in zip(vectors, upsampling, strict=True)]
    return Components(*vectors, variance[:a, :b], kept[:a, :b], *grids)


@dataclass(frozen=True)
class Part:
    """Some centred masks in their principal components, Z: groups of equally many masks.

    Where the masks of a group have one shift, Z is the product of bits and a small matrix, and is never computed.

    Attributes:
        groups: The index of each group, (groups,).
        index: Indices of the masks, group by group.
        left: Z itself, (groups, masks, components), or with ``cells`` the centred bits, (groups, masks, cells).
        cells: Contribution of each cell to each component, (groups, components, cells).
    """

    groups: Tensor
    index: slice | Tensor
    left: Tensor
    cells: Tensor | None

    def of(self, values: Tensor) -> Tensor:
        """The values of these masks, (groups, rows, masks), from (rows, n)."""
        groups, length = self.left.shape[:2]
        return values[:, self.index].view(len(values), groups, length).transpose(0, 1)

    def predicted(self, slopes: Tensor) -> Tensor:
        """The product of slopes and Z, (groups, rows, masks), from (rows, components)."""
        return (slopes if self.cells is None else slopes @ self.cells) @ self.left.mT

    def cross(self, values: Tensor) -> Tensor:
        """Sum of values times Z over each group, (groups, rows, components), from (groups, rows, masks)."""
        product = values @ self.left
        return product if self.cells is None else product @ self.cells.mT

    def grams(self) -> Iterator[tuple[int, Tensor]]:
        """For each group its unit and Z^T Z, (components, components)."""
        for group, unit in enumerate(self.groups.tolist()):
            square = self.left[group].T @ self.left[group]
            yield unit, square if self.cells is None else self.cells[group] @ square @ self.cells[group].T

    def total(self) -> Tensor:
        """Sum of Z over each group, (groups, components)."""
        return self.cross(torch.ones(len(self.left), 1, self.left.shape[1], dtype=torch.float64))[:, 0]


class Design(NamedTuple):
    """Moments of the masks alone: the same for every image, model and target.

    Attributes:
        gram: sum Z Z^T over each unit, float64 (units, components, components); Z is centred by its known mean.
        total: sum Z over each unit, (units, components).
        values, vectors: Eigenvalues and eigenvectors of the total gram.
    """

    gram: Tensor
    total: Tensor
    values: Tensor
    vectors: Tensor


@lru_cache(maxsize=3)
def design_of(masks: RandomMasks, count: int) -> Design:
    groups, k = groups_of(masks, count), int(components(masks.size, masks.grid).kept.sum())
    gram = torch.zeros(groups.count, k, k, dtype=torch.float64)
    total = torch.zeros(groups.count, k, dtype=torch.float64)
    for part in project_masks(masks, count):
        for unit, product in part.grams():
            gram[unit] += product
        total.index_add_(0, part.groups, part.total())
    values, vectors = torch.linalg.eigh(gram.sum(0))
    return Design(gram, total, values.clamp_min(0), vectors)


def project_masks(masks: RandomMasks, count: int) -> Iterator[Part]:
    """Masks 0 to count - 1 in their principal components, straight from bits and shifts."""
    if masks.one_shift and count > masks.block:
        full_blocks = count // masks.block
        for first in range(0, full_blocks, _BLOCK_BATCH):
            yield _stacked(masks, count, first, min(first + _BLOCK_BATCH, full_blocks))
        if count % masks.block:
            yield _stacked(masks, count, full_blocks, full_blocks + 1)
        return
    yield from _cached(masks, count) if count <= _LARGEST_CACHE else _single(masks, count)


@lru_cache(maxsize=1)
def _cached(masks: RandomMasks, count: int) -> list[Part]:
    return list(_single(masks, count))


def _single(masks: RandomMasks, count: int) -> Iterator[Part]:
    """The parts of masks without whole blocks."""
    basis = components(masks.size, masks.grid)
    _, shifts = masks.draw(0, count)
    for number, index, bits, shift in group_parts(masks, count, groups_of(masks, count)):
        centred, group = bits - masks.probability, torch.tensor([number])
        if shift is not None:
            yield Part(group, index, centred.unsqueeze(0), cells_of(masks.size, masks.grid, shift).unsqueeze(0))
            continue
        down, right = basis.down[shifts[index, 0]], basis.right[shifts[index, 1]]
        z = (down @ centred.view(-1, *masks.grid) @ right.mT)[:, basis.kept]
        yield Part(group, index, z.unsqueeze(0), None)


@lru_cache(maxsize=32)
def _stacked(masks: RandomMasks, count: int, first: int, last: int) -> Part:
    """Blocks first to last - 1 together; only the last block of the masks may be shorter, and then comes alone."""
    start, stop = first * masks.block, min(last * masks.block, count)
    blocks = list(masks.by_shift(start, stop))
    return Part(
        groups=groups_of(masks, count).numbers[start : stop : masks.block],
        index=slice(start, stop),
        left=torch.stack([bits for bits, _ in blocks]).double() - masks.probability,
        cells=torch.stack([cells_of(masks.size, masks.grid, shift) for _, shift in blocks]),
    )


@lru_cache(maxsize=128)
def cells_of(size: tuple[int, int], grid: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    return components(size, grid).of_cells(shift)


def variance_of(masks: RandomMasks) -> Tensor:
    """Exact variance of each component of the masks, (components,)."""
    basis = components(masks.size, masks.grid)
    return masks.probability * (1 - masks.probability) * basis.variance[basis.kept]
