"""Numbers of files turned into shapes; what is no number or has no extent is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kdviz.core.errors import DatasetError
from kdviz.core.images import MAX_PIXELS
from kdviz.data.regions.shapes import Box, Polygon, Size


def numbers_of(values: Sequence[Any], picture: str) -> list[float]:
    """Finite numbers, of numbers or texts.

    Raises:
        DatasetError: One is no finite number.
    """
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        shown = ", ".join(str(value)[:20] for value in values[:6])
        raise DatasetError(
            "A region of '{picture}' has coordinates that are no numbers: {shown}.", picture=picture, shown=shown
        )
    return numbers


def box_of_size(numbers: Sequence[float], picture: str) -> Box:
    """The box of left, top, width and height."""
    left, top, width, height = _of_count(numbers, 4, picture)
    return box_of_corners((left, top, left + width, top + height), picture)


def box_of_corners(numbers: Sequence[float], picture: str) -> Box:
    """The box of left, top, right and bottom.

    Raises:
        DatasetError: There are not four numbers, or the box has no extent.
    """
    left, top, right, bottom = _of_count(numbers, 4, picture)
    if not (left < right and top < bottom):
        raise DatasetError(
            "A box of '{picture}' from ({left:g}, {top:g}) to ({right:g}, {bottom:g}) has no extent; its width and "
            "height must be above 0.",
            picture=picture,
            left=left,
            top=top,
            right=right,
            bottom=bottom,
        )
    return Box(left, top, right, bottom)


def polygon_of(numbers: Sequence[float], picture: str) -> Polygon:
    """The polygon of x and y by turns.

    Raises:
        DatasetError: There are fewer than three points, or an x without its y.
    """
    if len(numbers) < 6 or len(numbers) % 2:
        raise DatasetError(
            "A polygon of '{picture}' has {count} coordinates; it needs x and y of three points at least.",
            picture=picture,
            count=len(numbers),
        )
    return Polygon(tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def size_of(height: Any, width: Any) -> Size | None:
    """Height and width that a file gives; None: it gives none."""
    try:
        size = int(float(height)), int(float(width))
    except (TypeError, ValueError, OverflowError):
        return None
    return size if min(size) > 0 else None


def run_lengths_of(values: Sequence[Any], picture: str) -> tuple[int, ...]:
    """Lengths of runs.

    Raises:
        DatasetError: One is no whole number of at least 0, or they are more pixels than a picture may have.
    """
    numbers = numbers_of(values, picture)
    if any(number < 0 or number != int(number) for number in numbers) or sum(numbers) > MAX_PIXELS:
        raise DatasetError(
            "The run lengths of a region of '{picture}' are not whole numbers of pixels; export the annotations again.",
            picture=picture,
        )
    return tuple(map(int, numbers))


def _of_count(numbers: Sequence[float], count: int, picture: str) -> Sequence[float]:
    if len(numbers) != count:
        raise DatasetError(
            "A box of '{picture}' has {found} numbers instead of {count}.",
            picture=picture,
            found=len(numbers),
            count=count,
        )
    return numbers
