"""A small bright square at the border."""

from __future__ import annotations

import numpy as np

from kdviz.data.shortcuts.registry import Mark, register_shortcut
from kdviz.data.shortcuts.tints import tint

_SIDE = 1 / 7  # of the picture's shorter side
_HUES = 12  # that are told apart easily


@register_shortcut("patch")
def patch(label: int, classes: int, shape: tuple[int, int, int]) -> Mark:
    """A small bright square at the border; its place says the class on grey pictures, its hue on coloured ones.

    Of more classes than there are places, or hues, each has a place and a tint.
    """
    channels, height, width = shape
    side = max(2, round(_SIDE * min(height, width)))
    corners = _border(height, width, side)
    tints = max(min(_HUES, classes) if channels == 3 else 1, -(-classes // len(corners)))
    corner, number = divmod(label, tints)
    places = -(-classes // tints)
    row, column = corners[corner * len(corners) // places]
    opacity = np.zeros((height, width))
    opacity[row : row + side, column : column + side] = 1
    return Mark(np.broadcast_to(tint(number, tints, channels), shape), opacity)


def _border(height: int, width: int, side: int) -> list[tuple[int, int]]:
    """Row and column of squares along the border that do not overlap, clockwise from the top left."""
    rows = np.linspace(0, height - side, height // side).round().astype(int).tolist()
    columns = np.linspace(0, width - side, width // side).round().astype(int).tolist()
    top = [(rows[0], column) for column in columns]
    right = [(row, columns[-1]) for row in rows[1:]]
    bottom = [(rows[-1], column) for column in columns[-2::-1]] if len(rows) > 1 else []
    left = [(row, columns[0]) for row in rows[-2:0:-1]] if len(columns) > 1 else []
    return [*top, *right, *bottom, *left]
