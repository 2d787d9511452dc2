"""RISE masks: random low-resolution grids, upsampled bilinearly and shifted (Petsiuk et al., 2018, section 3.2).

Only the grids' bits, the shifts and the seed are kept; masks are made from them when they are needed. They
are drawn in blocks of fixed length, each from its own generator, so that mask number i is the same
whatever chunks it is made in and however many masks follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.errors import SettingError

BLOCK = 64


@dataclass(frozen=True)
class RandomMasks:
    """An endless, reproducible series of masks; 1 keeps a pixel, 0 replaces it by the baseline.

    Attributes:
        size: Height and width of the masks.
        grid: Cells from top to bottom and from left to right.
        probability: That a cell keeps its pixels; also the expected value of a mask at each pixel.
        seed: Of bits and shifts.

    Raises:
        SettingError: A setting is outside its range.
    """

    size: tuple[int, int]
    grid: tuple[int, int] = (7, 7)
    probability: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.probability < 1:
            raise SettingError(f"The probability must be between 0 and 1 (exclusive), got {self.probability:g}.")
        for cells, side in zip(self.grid, self.size, strict=True):
            if not 1 <= cells <= side:
                raise SettingError(
                    f"A grid of {self.grid[0]} x {self.grid[1]} cells does not fit an image of "
                    f"{self.size[0]} x {self.size[1]} pixels; use 1 to {min(self.size)} cells a side."
                )
        if not 0 <= self.seed < 2**63:
            raise SettingError(f"The seed must be a whole number from 0 to 2^63 - 1, got {self.seed}.")

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a cell, ceil(size / grid); shifts are below it."""
        return -(-self.size[0] // self.grid[0]), -(-self.size[1] // self.grid[1])

    def draw(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Bits, float32 (n, grid rows, grid columns), and shifts, int64 (n, 2), of masks start to stop - 1."""
        blocks = [self._block(number) for number in range(start // BLOCK, -(-stop // BLOCK))]
        first = start // BLOCK * BLOCK
        bits, shifts = (torch.cat(part)[start - first : stop - first] for part in zip(*blocks, strict=True))
        return bits, shifts

    def _block(self, number: int) -> tuple[Tensor, Tensor]:
        generator = np.random.Generator(np.random.PCG64([self.seed, number]))
        bits = generator.random((BLOCK, *self.grid), dtype=np.float32) < self.probability
        shifts = generator.integers(0, self.cell, (BLOCK, 2))
        return torch.from_numpy(bits.astype(np.float32)), torch.from_numpy(shifts)

    def render(self, start: int, stop: int, device: torch.device | str = "cpu") -> Tensor:
        """Masks start to stop - 1 as float32 (n, 1, H, W): W_y(shift) B W_x(shift)^T, two small products."""
        bits, shifts = (part.to(device) for part in self.draw(start, stop))
        rows, columns = (matrices.to(device) for matrices in self._interpolation)
        masks = rows[shifts[:, 0]] @ bits @ columns[shifts[:, 1]].mT  # (n, H, W)
        return masks.unsqueeze(1)

    @cached_property
    def _interpolation(self) -> tuple[Tensor, Tensor]:
        """For rows and columns: (cell, side, cells), the bilinear upsampling as a matrix for each shift."""
        return tuple(  # type: ignore[return-value]
            _shifted_upsampling(cells, cell, side)
            for cells, cell, side in zip(self.grid, self.cell, self.size, strict=True)
        )


def _shifted_upsampling(cells: int, cell: int, side: int) -> Tensor:
    """(cell, side, cells): for each shift, the rows of the upsampling of ``cells`` to (cells + 1) * cell pixels."""
    enlarged = F.interpolate(torch.eye(cells).unsqueeze(0), size=(cells + 1) * cell, mode="linear", align_corners=False)
    matrix = enlarged[0].T  # ((cells + 1) * cell, cells)
    return torch.stack([matrix[shift : shift + side] for shift in range(cell)])
