"""Measures of maps and regions, against loops and against the definitions of Quantus."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kdviz.core.errors import SettingError
from kdviz.metrics.localisation import (
    PlaceTotals,
    area,
    energy_by_place,
    energy_chance,
    energy_inside,
    pointing_chance,
    pointing_game,
    rank_accuracy,
    top_k_inside,
)

SHAPE = (7, 9)


@pytest.fixture
def pairs():
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(12, *SHAPE))
    maps[3] = maps[3].round()  # ties
    regions = np.zeros((12, *SHAPE))
    for region in regions:
        top, left = generator.integers(0, 4, 2)
        region[top : top + 3, left : left + 4] = 1
    regions[5] *= 0.25  # parts of pixels
    regions[6, 0, 0] = 0.5
    return maps, regions


def energy_by_loops(saliency, region):
    inside = total = 0.0
    for y, x in itertools.product(*map(range, saliency.shape)):
        if saliency[y, x] > 0:
            total += saliency[y, x]
            inside += saliency[y, x] * region[y, x]
    return inside / total


def pointing_by_loops(saliency, region, tolerance=0.0):
    places = list(itertools.product(*map(range, saliency.shape)))
    highest = max(saliency[pixel] for pixel in places)
    hits = []
    for y, x in places:
        if saliency[y, x] == highest:
            near = [region[v, w] for v, w in places if (v - y) ** 2 + (w - x) ** 2 <= tolerance**2]
            hits.append(max(near))
    return sum(hits) / len(hits)


def moved(region):
    for down, right in itertools.product(*map(range, region.shape)):
        yield np.roll(region, (down, right), (0, 1))


def test_energy_is_the_share_of_the_positive_values(pairs):
    expected = [energy_by_loops(*pair) for pair in zip(*pairs, strict=True)]
    assert energy_inside(*pairs) == pytest.approx(expected)
    assert energy_inside(pairs[0][0], pairs[1][0]) == pytest.approx(expected[0])


@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2, 30])
def test_pointing_game_with_a_tolerance_and_ties(pairs, tolerance):
    expected = [pointing_by_loops(*pair, tolerance) for pair in zip(*pairs, strict=True)]
    assert pointing_game(*pairs, tolerance) == pytest.approx(expected)


def test_the_mean_energy_over_all_places_is_the_area(pairs):
    for saliency, region in zip(*pairs, strict=True):
        mean = np.mean([energy_inside(saliency, moved_region) for moved_region in moved(region)])
        assert mean == pytest.approx(area(region))


def test_chance_counts_the_places_that_are_as_good(pairs):
    for saliency, region in zip(*pairs, strict=True):
        energies = np.array([energy_by_loops(saliency, moved_region) for moved_region in moved(region)])
        hits = np.array([pointing_by_loops(saliency, moved_region) for moved_region in moved(region)])
        assert energy_chance(saliency, region) == pytest.approx((energies >= energies[0] - 1e-12).mean())
        assert pointing_chance(saliency, region) == pytest.approx((hits >= hits[0] - 1e-12).mean())


def test_chance_is_uniform_for_maps_that_know_nothing_of_the_region():
    generator = np.random.default_rng(1)
    region = np.zeros((16, 16))
    region[3:7, 9:14] = 1
    values = energy_chance(generator.normal(size=(4000, 16, 16)), np.broadcast_to(region, (4000, 16, 16)))
    for level in (0.05, 0.25, 0.5):
        assert (values <= level).mean() == pytest.approx(level, abs=4 * (level * (1 - level) / 4000) ** 0.5)


def test_a_map_that_is_the_region_is_best():
    region = np.zeros(SHAPE)
    region[2:4, 5:7] = 1
    assert energy_inside(region, region) == pointing_game(region, region) == rank_accuracy(region, region) == 1
    assert energy_chance(region, region) == 1 / region.size
    assert pointing_chance(region, region) == 1 / region.size
    peak = np.zeros(SHAPE)
    peak[3, 5] = 1
    assert pointing_chance(peak, region) == pytest.approx(area(region))
    assert pointing_chance(-region, region) == 1


def test_pairs_without_an_answer_are_nan():
    region = np.zeros(SHAPE)
    region[1, 1] = 1
    everywhere = [energy_inside, energy_chance, pointing_game, pointing_chance, rank_accuracy]
    for measure in everywhere:
        assert np.isnan(measure(np.ones(SHAPE), np.zeros(SHAPE)))
        broken = np.ones(SHAPE)
        broken[0, 0] = np.nan
        assert np.isnan(measure(broken, region))
    assert np.isnan(energy_inside(-np.ones(SHAPE), region))
    assert np.isnan(energy_chance(np.zeros(SHAPE), region))
    assert pointing_game(np.ones(SHAPE), region) == pytest.approx(1 / region.size)
    assert np.isnan(area(np.zeros(SHAPE)))


def test_huge_values_do_not_overflow():
    saliency, region = np.full(SHAPE, 1e308), np.zeros(SHAPE)
    region[0] = 1
    assert energy_inside(saliency, region) == pytest.approx(1 / 7)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: energy_inside(np.ones((3, 4)), np.ones((4, 3))), "do not fit"),
        (lambda: energy_inside(np.ones(3), np.ones(3)), "do not fit"),
        (lambda: area(np.full((3, 3), 255)), "shares of pixels from 0 to 1"),
        (lambda: area(np.full((3, 3), np.nan)), "shares of pixels from 0 to 1"),
        (lambda: pointing_game(np.ones((3, 3)), np.ones((3, 3)), -1), "at least 0"),
        (lambda: pointing_game(np.ones((3, 3)), np.ones((3, 3)), np.nan), "at least 0"),
        (lambda: top_k_inside(np.ones((3, 3)), np.ones((3, 3)), 10), "from 1 to 9"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(SettingError, match=message):
        call()


# Quantus 0.6, whose definitions are restated from quantus/metrics/localisation/ -------------------------------------


def quantus_hit(saliency, region):
    """PointingGame: whether any of the highest pixels is inside."""
    return float(np.any(region.astype(bool) & (saliency == saliency.max())))


def quantus_mass(saliency, region):
    """RelevanceMassAccuracy of the positive values, and AttributionLocalisation with positive_attributions."""
    positive = np.clip(saliency, 0, None)
    return (positive * region.astype(bool)).sum() / positive.sum()


def quantus_rank(saliency, region):
    """RelevanceRankAccuracy."""
    size = int(region.astype(bool).sum())
    order = np.argsort(-saliency.ravel())
    return region.astype(bool).ravel()[order[:size]].sum() / size


def quantus_top(saliency, region, k):
    """TopKIntersection."""
    return region.astype(bool).ravel()[np.argsort(-saliency.ravel())[:k]].mean()


def test_whole_pixels_without_ties_give_what_quantus_gives(pairs):
    maps, regions = pairs
    whole = [number for number in range(len(maps)) if number not in (3, 5, 6)]
    for saliency, region in zip(maps[whole], regions[whole], strict=True):
        assert pointing_game(saliency, region) == quantus_hit(saliency, region)
        assert energy_inside(saliency, region) == pytest.approx(quantus_mass(saliency, region))
        assert rank_accuracy(saliency, region) == pytest.approx(quantus_rank(saliency, region))
        assert top_k_inside(saliency, region, 5) == pytest.approx(quantus_top(saliency, region, 5))


def test_quantus_itself(pairs):
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    maps, regions = np.delete(pairs[0], [3, 5, 6], 0)[:, None], np.delete(pairs[1], [3, 5, 6], 0)[:, None]
    known = {"x_batch": maps, "y_batch": np.zeros(len(maps), int), "a_batch": maps, "s_batch": regions.astype(bool)}
    known |= {"model": None, "device": "cpu"}
    quiet = {"disable_warnings": True, "display_progressbar": False, "normalise": False}
    scores = {
        quantus.PointingGame(**quiet): pointing_game(maps[:, 0], regions[:, 0]),
        quantus.AttributionLocalisation(positive_attributions=True, **quiet): energy_inside(maps[:, 0], regions[:, 0]),
        quantus.RelevanceRankAccuracy(**quiet): rank_accuracy(maps[:, 0], regions[:, 0]),
        quantus.TopKIntersection(k=5, **quiet): top_k_inside(maps[:, 0], regions[:, 0], 5),
    }
    for metric, values in scores.items():
        assert values == pytest.approx(np.array(metric(**known), float), abs=1e-6)


def test_ties_share_the_places_that_are_left():
    saliency, region = np.array([[2.0, 1.0, 1.0, 0.0]]), np.array([[1.0, 1.0, 0.0, 0.0]])
    assert rank_accuracy(saliency, region) == pytest.approx((1 + 0.5) / 2)
    assert top_k_inside(saliency, region, 3) == pytest.approx(2 / 3)


# the place alone ------------------------------------------------------------------------------------------------------


def test_what_maps_have_in_the_regions_of_other_pictures():
    rng = np.random.default_rng(0)
    maps, regions = rng.normal(size=(6, 5, 7)), (rng.random((6, 5, 7)) < 0.3).astype(float)
    maps[1], regions[4] = -1.0, 0.0  # neither has an answer
    totals = PlaceTotals.of(maps[:2], regions[:2]) + PlaceTotals.of(maps[2:], regions[2:])
    parts = [energy_by_place(maps[part], regions[part], totals) for part in (slice(0, 2), slice(2, 6))]
    of_others, in_others = (np.concatenate(values) for values in zip(*parts, strict=True))
    for picture in range(6):
        rest = [other for other in range(6) if other != picture]
        pairs = [float(energy_inside(maps[other], regions[picture])) for other in rest]
        assert of_others[picture] == pytest.approx(np.nanmean(pairs) if picture != 4 else np.nan, nan_ok=True)
        pairs = [float(energy_inside(maps[picture], regions[other])) for other in rest]
        assert in_others[picture] == pytest.approx(np.nanmean(pairs) if picture != 1 else np.nan, nan_ok=True)


def test_one_picture_has_no_others():
    maps = regions = np.ones((1, 3, 3))
    assert np.isnan(energy_by_place(maps, regions, PlaceTotals.of(maps, regions))).all()
