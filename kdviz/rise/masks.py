"""RISE masks: random low-resolution grids, upsampled bilinearly and shifted (Petsiuk et al., 2018, section 3.2).

Only the grids' bits, the shifts and the seed are stored; masks are rendered from them on demand. They
are drawn in blocks, each from its own generator, so that mask i is the same whatever chunks it is rendered in
and however many masks follow.

Upsampling is the paper's bilinear interpolation with the edge repeated (``F.interpolate``, ``align_corners=False``):
in the outer half cell of the enlarged grid, of size (cells + 1) * cell, a mask has the value of the outermost cell.
The authors' code (github.com/eclique/RISE) calls scikit-image's ``resize`` with order 1 and ``mode="reflect"``, which
mirrors the grid there: its outer half cell blends the outermost cell with its neighbour, up to equal parts at the
very edge. Everywhere else the two agree; the shift decides how much of that rim is in the picture.

Every sampler gives each single mask exactly RISE's distribution: independent bits, a uniform shift. They differ in
how the masks of a block depend on each other. Blocks are independent except for their shifts, which are balanced.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import hadamard
from torch import Tensor

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.core.moved import warn_renamed
from kdviz.core.registry import Registry
from kdviz.rise.settings import RISESettings

_SMALL = 200_000  # values of all upsampled cells, 400 or 800 kB
_LARGEST_ORDER = 256  # of a Hadamard matrix: with longer blocks there would be too few of them for a standard error


class Sampler(NamedTuple):
    """How the masks of a block are drawn.

    Attributes:
        length: Number of grid cells -> number of masks in a block.
        bits: (generator, cells, probability, length) -> bool (length, cells).
        one_shift: Whether all masks of a block have the same shift.
        pairs: Whether masks 2k and 2k + 1 of a block are complements.
    """

    length: Callable[[int], int]
    bits: Callable[[np.random.Generator, int, float, int], np.ndarray]
    one_shift: bool
    pairs: bool


samplers: Registry[Sampler] = Registry("sampler")


def _iid(generator: np.random.Generator, cells: int, probability: float, length: int) -> np.ndarray:
    return generator.random((length, cells), dtype=np.float32) < probability


def _hadamard_order(cells: int) -> int:
    return min(_LARGEST_ORDER, max(64, 1 << (cells - 1).bit_length()))


@lru_cache(maxsize=4)
def _hadamard(order: int) -> np.ndarray:
    return hadamard(order) > 0


def _folded_hadamard(generator: np.random.Generator, cells: int, probability: float, length: int) -> np.ndarray:
    # Rows of a Hadamard matrix with random columns and signs, in random order, each followed by its complement: an
    # orthogonal array of strength 3 (Hedayat, Sloane & Stufken, 1999, theorem 7.5). In a block, all single cells and
    # all pairs of cells are balanced exactly, so that linear effects do not interfere.
    order = length // 2
    columns = np.concatenate([generator.permutation(order) for _ in range(-(-cells // order))])[:cells]
    signs = generator.random(cells) < 0.5
    rows = _hadamard(order)[generator.permutation(order)][:, columns] ^ signs
    return np.stack([rows, ~rows], axis=1).reshape(length, cells)


def _sobol(generator: np.random.Generator, cells: int, probability: float, length: int) -> np.ndarray:
    # A scrambled Sobol' net: each point is uniform, and the points of a block fill the cube evenly (Owen, 1998).
    engine = torch.quasirandom.SobolEngine(cells, scramble=True, seed=int(generator.integers(2**31)))
    return engine.draw(length).numpy()[generator.permutation(length)] < probability


samplers.add("iid", Sampler(lambda cells: 64, _iid, one_shift=False, pairs=False))
samplers.add(
    "hadamard", Sampler(lambda cells: 2 * _hadamard_order(cells), _folded_hadamard, one_shift=True, pairs=True)
)
samplers.add("sobol", Sampler(lambda cells: 128, _sobol, one_shift=True, pairs=False))


@dataclass(frozen=True)
class RandomMasks:
    """An endless, reproducible series of masks; 1 keeps a pixel, 0 replaces it by the baseline.

    Attributes:
        size: Height and width of the masks.
        grid: Cells from top to bottom and from left to right.
        probability: Probability that a cell keeps its pixels; also the expected value of a mask at each pixel.
        seed: Seed of bits and shifts.
        sampler: ``iid`` as published; ``hadamard`` (for probability .5) and ``sobol`` need far fewer masks;
            ``auto`` selects the best for the probability.

    Raises:
        SettingError: A setting is outside its range.
        UnknownNameError: No such sampler.
    """

    size: tuple[int, int]
    grid: tuple[int, int] = (7, 7)
    probability: float = 0.5
    seed: int = 0
    sampler: str = "iid"

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            raise SettingError(
                "The probability must be between 0 and 1 (exclusive), got {probability:g}.",
                probability=self.probability,
            )
        for cells, side in zip(self.grid, self.size, strict=True):
            if not 1 <= cells <= side:
                raise SettingError(
                    "A grid of {rows} x {columns} cells does not fit an image of {height} x {width} "
                    "pixels; use 1 to {size} cells a side.",
                    rows=self.grid[0],
                    columns=self.grid[1],
                    height=self.size[0],
                    width=self.size[1],
                    size=min(self.size),
                )
        if not 0 <= self.seed < 2**63:
            raise SettingError("The seed must be a whole number from 0 to 2^63 - 1, got {seed}.", seed=self.seed)
        if self.sampler != "auto" and self.sampler not in samplers:
            raise UnknownNameError("sampler", self.sampler, ["auto", *samplers])
        if self.sampler == "hadamard" and self.probability != 0.5:
            raise SettingError(
                "The sampler 'hadamard' needs probability 0.5, got {probability:g}; use 'sobol' or 'auto'.",
                probability=self.probability,
            )

    @property
    def kind(self) -> str:
        """The sampler's name, with ``auto`` resolved."""
        if self.sampler != "auto":
            return self.sampler
        return "hadamard" if self.probability == 0.5 else "sobol"

    @property
    def block(self) -> int:
        """Number of masks in a block."""
        return samplers[self.kind].length(math.prod(self.grid))

    def resolve_sampler(self, n_masks: int) -> RandomMasks:
        """The same masks with ``auto`` replaced by the best sampler for this number of masks.

        Fewer than two blocks give no valid standard error: then it is ``iid``.
        """
        kind = "iid" if self.sampler == "auto" and n_masks < 2 * self.block else self.kind
        return replace(self, sampler=kind)

    def suited(self, n_masks: int) -> RandomMasks:
        """Former name of :meth:`resolve_sampler`."""
        warn_renamed("RandomMasks.suited", "resolve_sampler")
        return self.resolve_sampler(n_masks)

    @property
    def independent(self) -> bool:
        """Whether every mask is independent of every other."""
        return self.kind == "iid"

    @property
    def paired(self) -> bool:
        """Whether masks 2k and 2k + 1 are complements."""
        return samplers[self.kind].pairs

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a cell, ceil(size / grid); shifts are below it."""
        return -(-self.size[0] // self.grid[0]), -(-self.size[1] // self.grid[1])

    def draw(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Bits, float32 (n, grid rows, grid columns), and shifts, int64 (n, 2), of masks start to stop - 1."""
        blocks = [(bits[low:high], shifts[low:high]) for bits, shifts, low, high in self._blocks(start, stop)]
        bits, shifts = (torch.cat(tensors) for tensors in zip(*blocks, strict=True))
        return bits.float().view(len(bits), *self.grid), shifts

    def by_shift(self, start: int, stop: int) -> Iterator[tuple[Tensor, tuple[int, int]]]:
        """Block by block, for samplers whose blocks have one shift: bits, bool (n, cells), and the shift."""
        for bits, shifts, low, high in self._blocks(start, stop):
            yield bits[low:high], (int(shifts[0, 0]), int(shifts[0, 1]))

    @property
    def one_shift(self) -> bool:
        """Whether all masks of a block have the same shift."""
        return samplers[self.kind].one_shift

    def _blocks(self, start: int, stop: int) -> Iterator[tuple[Tensor, Tensor, int, int]]:
        """The blocks that hold masks start to stop - 1, and the range of these masks in each."""
        length = self.block
        for number in range(start // length, -(-stop // length)):
            first = number * length
            yield *_block(self, number), max(start - first, 0), min(stop - first, length)

    def _balanced_shift(self, number: int) -> np.ndarray:
        """The shift of a block: every shift once, in random order, before any is repeated."""
        rows, columns = self.cell
        cycle, position = divmod(number, rows * columns)
        shift = int(_shift_order(self.seed, cycle, rows * columns)[position])
        return np.array(divmod(shift, columns), dtype=np.int64)

    def render(
        self, start: int, stop: int, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Masks start to stop - 1, (n, 1, H, W): W_y(shift) B W_x(shift)^T, two small products."""
        return self.rows_of_pixels(start, stop, 1, device, dtype).unsqueeze(1)

    def rows_of_pixels(
        self, start: int, stop: int, channels: int, device: torch.device | str, dtype: torch.dtype
    ) -> Tensor:
        """Masks start to stop - 1 with each value repeated for each channel, (n, H, W * channels).

        This is the layout of channels-last images, so that mask and image are multiplied in one pass.
        """
        device = torch.device(device)
        if self.one_shift and self.size[0] * self.size[1] * channels * math.prod(self.grid) <= _SMALL:
            return self._small_rows(start, stop, channels, device, dtype)
        rows, columns = _upsampling_on(self, channels, device, dtype)
        if not self.one_shift:
            bits, shifts = (values.to(device) for values in self.draw(start, stop))
            return rows[shifts[:, 0]] @ (bits.to(dtype) @ columns[shifts[:, 1]].mT)
        rendered = [
            rows[down] @ (bits.to(device, dtype, non_blocking=True).view(-1, *self.grid) @ columns[right].T)
            for bits, (down, right) in self.by_shift(start, stop)
        ]
        return rendered[0] if len(rendered) == 1 else torch.cat(rendered)

    def _small_rows(self, start: int, stop: int, channels: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """:meth:`rows_of_pixels` with one product per block: for small images calls cost more than arithmetic."""
        rendered = [
            bits.to(device, dtype, non_blocking=True)
            @ _upsampled_cells(self.size, self.grid, shift, channels, device, dtype)
            for bits, shift in self.by_shift(start, stop)
        ]
        return (rendered[0] if len(rendered) == 1 else torch.cat(rendered)).view(stop - start, self.size[0], -1)

    @cached_property
    def upsampling(self) -> tuple[Tensor, Tensor]:
        """For rows and columns: (cell, side, cells), the bilinear upsampling as a matrix for each shift."""
        return tuple(  # type: ignore[return-value]
            _shifted_upsampling(cells, cell, side)
            for cells, cell, side in zip(self.grid, self.cell, self.size, strict=True)
        )


def masks_for(size: tuple[int, int], settings: RISESettings) -> RandomMasks:
    """The masks that the settings describe, with their sampler resolved.

    Args:
        size: Height and width of the images.
        settings: Settings of grid, probability, seed, sampler and number of masks.

    Raises:
        SettingError: A setting is outside its range.
        UnknownNameError: No such sampler.
    """
    rows, columns = (settings.grid,) * 2 if isinstance(settings.grid, int) else settings.grid
    masks = RandomMasks(size, (rows, columns), settings.probability, settings.seed, settings.sampler)
    return masks.resolve_sampler(settings.n_masks)


@lru_cache(maxsize=1024)  # 10 MB of 7 x 7 cells; a server keeps them for seeds that nobody uses any more
def _block(masks: RandomMasks, number: int) -> tuple[Tensor, Tensor]:
    """Bits, bool (block, cells), and shifts, int64 (block, 2). Cached: it is small, and serves many images."""
    sampler, length = samplers[masks.kind], masks.block
    generator = np.random.Generator(np.random.PCG64([masks.seed, number]))
    bits = sampler.bits(generator, math.prod(masks.grid), masks.probability, length)
    if sampler.one_shift:
        shifts = np.broadcast_to(masks._balanced_shift(number), (length, 2)).copy()
    else:
        shifts = generator.integers(0, masks.cell, (length, 2))
    return torch.from_numpy(bits), torch.from_numpy(shifts)


@lru_cache(maxsize=128)
def _upsampled_cells(
    size: tuple[int, int],
    grid: tuple[int, int],
    shift: tuple[int, int],
    channels: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """(cells, H * W * channels): the contribution of each cell to each value."""
    rows, columns = RandomMasks(size, grid).upsampling
    matrix = torch.kron(rows[shift[0]], columns[shift[1]].repeat_interleave(channels, 0))
    return matrix.T.to(device, dtype).contiguous()


@lru_cache(maxsize=16)
def _upsampling_on(
    masks: RandomMasks, channels: int, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    rows, columns = masks.upsampling
    return rows.to(device, dtype), columns.repeat_interleave(channels, 1).to(device, dtype)


@lru_cache(maxsize=16)
def _shift_order(seed: int, turn: int, shifts: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64([seed, turn, 1])).permutation(shifts)


@lru_cache(maxsize=32)
def _shifted_upsampling(cells: int, cell: int, side: int) -> Tensor:
    """(cell, side, cells): for each shift, the rows of the upsampling of ``cells`` to (cells + 1) * cell pixels."""
    upsampled = F.interpolate(
        torch.eye(cells).unsqueeze(0), size=(cells + 1) * cell, mode="linear", align_corners=False
    )
    matrix = upsampled[0].T  # ((cells + 1) * cell, cells)
    return torch.stack([matrix[shift : shift + side] for shift in range(cell)])
