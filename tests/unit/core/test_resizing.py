"""Regions follow the resizing and cropping of their pictures."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from kdviz.core.errors import SettingError
from kdviz.core.resizing import area_shares
from kdviz.models.inputs import InputSpec

UNIT = {"channels": 1, "mean": (0.0,), "std": (1.0,)}


def a_mask(height, width, seed=0):
    generator = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    for _ in range(3):
        top, left = int(generator.integers(0, height // 2)), int(generator.integers(0, width // 2))
        mask[top : top + height // 3, left : left + width // 4] = True
    return mask


def shares_by_points(mask, rows, columns, points=40):
    """The share of points of a fine grid in each cell that lie inside."""
    shares = np.zeros((len(rows) - 1, len(columns) - 1))
    steps = (np.arange(points) + 0.5) / points
    for i, j in np.ndindex(*shares.shape):
        ys = np.floor(rows[i] + steps * (rows[i + 1] - rows[i])).astype(int)
        xs = np.floor(columns[j] + steps * (columns[j + 1] - columns[j])).astype(int)
        inside = [mask[y, x] for y in ys for x in xs if 0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]]
        shares[i, j] = sum(inside) / points**2
    return shares


@pytest.mark.parametrize(("rows", "columns"), [((-2, 11, 6), (1.5, 8.25, 5)), ((0, 10, 3), (0, 9, 14))])
def test_shares_are_areas(rows, columns):
    mask, rows, columns = a_mask(10, 9), np.linspace(*rows), np.linspace(*columns)
    shares = area_shares(mask, rows, columns)
    assert shares == pytest.approx(shares_by_points(mask, rows, columns), abs=0.05)
    in_view = area_shares(np.ones_like(mask), rows, columns)
    assert (shares <= in_view + 1e-6).all()


def test_whole_pixels_are_means():
    mask = a_mask(12, 20)
    spec = InputSpec((6, 10), **UNIT)
    assert spec.transform_region(mask) == pytest.approx(mask.reshape(6, 2, 10, 2).mean((1, 3)))


@pytest.mark.parametrize("own", [(60, 90), (90, 60), (64, 64), (24, 24), (13, 57)])
@pytest.mark.parametrize(("size", "resize"), [((24, 24), None), ((24, 24), 30), ((20, 28), (20, 28)), ((24, 24), 20)])
def test_a_region_stays_where_the_picture_shows_it(own, size, resize):
    mask = a_mask(*own)
    spec = InputSpec(size, **UNIT, resize=resize, interpolation="bilinear")
    shown = np.asarray(spec.transform(Image.fromarray(mask))).astype(float) / 255
    shares = spec.transform_region(mask)
    assert shares.shape == size
    assert np.abs(shares - shown).mean() < 0.06  # a filter blurs the borders and moves nothing
    for axis in (0, 1):
        positions = np.arange(size[axis])
        centres = [(values.sum(1 - axis) * positions).sum() / values.sum() for values in (shares, shown)]
        assert centres[0] == pytest.approx(centres[1], abs=0.3)
    assert shares.mean() == pytest.approx(shown.mean(), abs=0.015)


def test_a_region_of_the_inputs_size_is_unchanged():
    mask = a_mask(28, 28)
    assert (InputSpec((28, 28), **UNIT, fit="digit").transform_region(mask) == mask).all()


def test_a_region_of_a_picture_that_becomes_a_digit_is_refused():
    with pytest.raises(SettingError, match="where its region cannot follow"):
        InputSpec((28, 28), **UNIT, fit="digit").transform_region(a_mask(40, 40))
