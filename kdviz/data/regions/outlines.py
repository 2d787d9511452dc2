"""The border of a region of pixels, as polygons along the pixels' edges."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

Polygon = list[tuple[int, int]]
"""The corners of a closed polygon as x and y in pixels from the top left corner of the picture, each once."""

# The neighbour's offset in rows and columns, and the edge towards it, clockwise round the pixel: its start and its end.
_SIDES = (
    ((-1, 0), (0, 0), (1, 0)),
    ((0, 1), (1, 0), (1, 1)),
    ((1, 0), (1, 1), (0, 1)),
    ((0, -1), (0, 1), (0, 0)),
)


def outlines(inside: np.ndarray) -> list[Polygon]:
    """The borders of a region: of each of its parts one polygon, clockwise, and of each hole one the other way round.

    Parts that touch only at a corner may share a polygon.

    Args:
        inside: Bool (H, W).
    """
    onward = _edges(inside)
    polygons = []
    while onward:
        start = next(iter(onward))
        corners = [start]
        while (corner := _step(onward, corners[-1])) != start or corner in onward:
            corners.append(corner)
        polygons.append(_without_straight(corners))
    return polygons


def _edges(inside: np.ndarray) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Start -> ends of all edges between a pixel inside and one outside, or beyond the picture."""
    padded = np.pad(inside, 1)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    height, width = inside.shape
    for (down, right), (start_x, start_y), (end_x, end_y) in _SIDES:
        neighbour = padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
        for row, column in np.argwhere(inside & ~neighbour).tolist():
            edges[column + start_x, row + start_y].append((column + end_x, row + end_y))
    return edges


def _step(onward: dict[tuple[int, int], list[tuple[int, int]]], corner: tuple[int, int]) -> tuple[int, int]:
    """The end of an edge from a corner, which is taken away."""
    ends = onward[corner]
    end = ends.pop()
    if not ends:
        del onward[corner]
    return end


def _without_straight(corners: Polygon) -> Polygon:
    """The corners at which the border turns."""
    before, after = corners[-1:] + corners[:-1], corners[1:] + corners[:1]
    return [
        corner
        for previous, corner, following in zip(before, corners, after, strict=True)
        if not (previous[0] == corner[0] == following[0] or previous[1] == corner[1] == following[1])
    ]
