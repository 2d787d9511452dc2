"""Shapes of which regions consist, and their drawing: a pixel is inside where its centre is.

Coordinates are pixels from the picture's upper left corner: the centre of the first pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from kdviz.core.decoding.guarded import open_mask_guarded
from kdviz.core.errors import DatasetError

Size = tuple[int, int]
"""Height and width, in pixels."""


class Shape(Protocol):
    """A part of a region."""

    def draw(self, mask: np.ndarray, picture: str) -> None:
        """Add the shape to a mask.

        Args:
            mask: bool (H, W), in the picture's own size.
            picture: Name of the picture, for errors.

        Raises:
            DatasetError: The shape does not fit the picture.
        """
        ...


@dataclass(frozen=True)
class Box:
    """An upright rectangle from ``left`` to ``right`` and from ``top`` to ``bottom``."""

    left: float
    top: float
    right: float
    bottom: float

    def draw(self, mask: np.ndarray, picture: str) -> None:
        _require_touching(self.left, self.top, self.right, self.bottom, mask.shape, picture)
        mask[_centres(self.top, self.bottom, mask.shape[0]), _centres(self.left, self.right, mask.shape[1])] = True


@dataclass(frozen=True)
class Polygon:
    """A closed line of (x, y); what an odd number of its edges surrounds is inside."""

    points: tuple[tuple[float, float], ...]

    def draw(self, mask: np.ndarray, picture: str) -> None:
        xs, ys = (np.array(values) for values in zip(*self.points, strict=True))
        _require_touching(xs.min(), ys.min(), xs.max(), ys.max(), mask.shape, picture)
        rows = _centres(ys.min(), ys.max(), mask.shape[0])
        inside = np.zeros_like(mask)
        for row in range(rows.start, rows.stop):
            crossings = _crossings(xs, ys, row + 0.5)
            for left, right in zip(crossings[::2], crossings[1::2], strict=True):
                inside[row, _centres(left, right, mask.shape[1])] = True
        mask |= inside


@dataclass(frozen=True)
class RunLengths:
    """Lengths of runs of pixels in a rectangle, outside and inside by turns; the first run is outside.

    Attributes:
        counts: Lengths of the runs.
        size: Height and width of the rectangle.
        by_column: Whether the runs go down the columns, as in COCO, or along the rows, as in CVAT.
        left, top: Corner of the rectangle; a part outside the picture does not count.
    """

    counts: tuple[int, ...]
    size: Size
    by_column: bool = False
    left: int = 0
    top: int = 0

    def draw(self, mask: np.ndarray, picture: str) -> None:
        height, width = self.size
        if sum(self.counts) != height * width:
            raise DatasetError(
                "The run lengths of a region of '{picture}' add up to {total:,} pixels, but its size is {width} x "
                "{height}; export the annotations again.",
                picture=picture,
                total=sum(self.counts),
                width=width,
                height=height,
            )
        _require_touching(self.left, self.top, self.left + width, self.top + height, mask.shape, picture)
        turns = np.arange(len(self.counts)) % 2 == 1
        pixels = np.repeat(turns, self.counts).reshape((width, height) if self.by_column else (height, width))
        pixels = pixels.T if self.by_column else pixels
        top, left = max(0, self.top), max(0, self.left)
        part = pixels[top - self.top : mask.shape[0] - self.top, left - self.left : mask.shape[1] - self.left]
        mask[top : top + part.shape[0], left : left + part.shape[1]] |= part


@dataclass(frozen=True)
class MaskFile:
    """A picture of the region; see :func:`kdviz.core.images.open_mask`."""

    path: Path

    def draw(self, mask: np.ndarray, picture: str) -> None:
        pixels = open_mask_guarded(self.path)
        require_size(pixels.shape, mask.shape, picture, self.path.name)
        mask |= pixels


def require_size(actual: Sequence[int], expected: Sequence[int], picture: str, source: str) -> None:
    """Refuse a region of a picture of another size.

    Args:
        actual, expected: Height and width of the region's picture, and of the picture itself.
        picture: Name of the picture.
        source: Name of the region's file.

    Raises:
        DatasetError: They differ.
    """
    if tuple(actual) != tuple(expected):
        raise DatasetError(
            "The region of '{picture}' in '{source}' is for a picture of {found_width} x {found_height} pixels, and "
            "the picture has {width} x {height}; draw it on the picture itself, or scale it.",
            picture=picture,
            source=source,
            found_width=actual[1],
            found_height=actual[0],
            width=expected[1],
            height=expected[0],
        )


def _require_touching(left: float, top: float, right: float, bottom: float, size: Sequence[int], picture: str) -> None:
    """Refuse a shape that is wholly outside the picture; one that is partly outside is clipped."""
    if right <= 0 or bottom <= 0 or left >= size[1] or top >= size[0]:
        raise DatasetError(
            "A region of '{picture}' from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) is wholly outside the "
            "picture of {width} x {height} pixels; were its coordinates made for another size?",
            picture=picture,
            left=left,
            top=top,
            right=right,
            bottom=bottom,
            width=size[1],
            height=size[0],
        )


def _centres(low: float, high: float, count: int) -> slice:
    """The pixels of a row or column whose centres lie in [low, high)."""
    first, last = (min(max(math.ceil(edge - 0.5), 0), count) for edge in (low, high))
    return slice(first, last)


def _crossings(xs: np.ndarray, ys: np.ndarray, level: float) -> np.ndarray:
    """Where a polygon's edges cross a horizontal line, from left to right; always an even number."""
    next_xs, next_ys = np.roll(xs, -1), np.roll(ys, -1)
    crossed = (ys <= level) != (next_ys <= level)
    share = (level - ys[crossed]) / (next_ys[crossed] - ys[crossed])
    return np.sort(xs[crossed] + share * (next_xs[crossed] - xs[crossed]))
