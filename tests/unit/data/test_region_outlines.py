"""The outline of a region: filled again it is the region, and it has no more than the region's border."""

from __future__ import annotations

import numpy as np
import pytest

from kdviz.data.regions.outlines import Polygon, outlines


def filled(polygons: list[Polygon], shape: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie inside an odd number of the polygons: counted by their upright edges to the left."""
    crossings = np.zeros(shape, int)
    for polygon in polygons:
        for (x, y), (next_x, next_y) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            assert (x == next_x) != (y == next_y)  # along a row or a column
            if x == next_x:
                crossings[min(y, next_y) : max(y, next_y), x:] += 1
    return crossings % 2 == 1


def length(polygon: Polygon) -> int:
    return sum(abs(x - u) + abs(y - v) for (x, y), (u, v) in zip(polygon, polygon[1:] + polygon[:1], strict=True))


def area(polygon: Polygon) -> float:
    """Above zero for a polygon that goes clockwise on a screen, whose rows go down."""
    return sum(x * v - u * y for (x, y), (u, v) in zip(polygon, polygon[1:] + polygon[:1], strict=True)) / 2


def test_a_box_has_four_corners():
    box = np.zeros((4, 6), bool)
    box[1:3, 2:6] = True
    (polygon,) = outlines(box)
    assert sorted(polygon) == [(2, 1), (2, 3), (6, 1), (6, 3)]
    assert area(polygon) == 8


def test_a_hole_goes_the_other_way_round():
    ring = np.ones((5, 5), bool)
    ring[2, 1:3] = False
    assert sorted(map(area, outlines(ring))) == [-2, 25]


def test_there_is_none_of_nothing():
    assert outlines(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize("seed", range(5))
def test_a_region_of_any_shape(seed):
    inside = np.random.default_rng(seed).random((17, 23)) < (0.2, 0.4, 0.5, 0.6, 0.9)[seed]
    polygons = outlines(inside)
    np.testing.assert_array_equal(filled(polygons, inside.shape), inside)
    padded = np.pad(inside, 1)
    border = int((padded[1:] != padded[:-1]).sum() + (padded[:, 1:] != padded[:, :-1]).sum())
    assert sum(map(length, polygons)) == border
