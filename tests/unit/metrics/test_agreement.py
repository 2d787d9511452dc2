"""Agreement of maps against the noise ceiling, and the measures of predictions, each against an oracle."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.metrics import (
    TopOverlap,
    agreement,
    agreement_table,
    classification_metrics,
    inherited_errors,
    mcnemar,
    similarity,
)
from kdviz.metrics.predictions import expected_calibration_error
from kdviz.metrics.similarity import iou, measures, pearson, spearman, ssim

SIDE = 64
# Correlation of two independent maps of n pixels: standard error 1 / sqrt(n), here 1 / 64 = 0.016.
ERROR = 1 / SIDE
CORRELATIONS = [name for name in measures if measures[name].correlation]
CORRECTED = [name for name in measures if measures[name].disattenuates]


@dataclass
class Map:
    halves: np.ndarray
    target: int = 0
    jackknife_halves: np.ndarray | None = None


def fields(count: int, seed: int = 0) -> np.ndarray:
    """Independent standard normal maps, (count, H, W)."""
    return np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))


def shared_mask_maps() -> dict[str, Map]:
    """Two models that look at different things, under the same masks: the same noise in the same half."""
    first, second, even, odd = fields(4)
    return {"one": Map(np.stack([first + even, first + odd])), "other": Map(np.stack([second + even, second + odd]))}


@pytest.mark.parametrize("measure", CORRELATIONS)
def test_equal_true_maps_with_independent_noise_agree_fully(measure):
    true, *noise = fields(5)
    maps = {
        "one": Map(np.stack([true + noise[0], true + noise[1]])),
        "other": Map(np.stack([true + noise[2], true + noise[3]])),
    }
    pair = agreement(maps, measure).between("one", "other")
    # Each half is half signal, half noise: correlation 1/2 (Spearman's is 6 / pi asin(1/4) = 0.48).
    assert pair.agreement == pytest.approx(0.5 if measure == "pearson" else 0.4826, abs=5 * ERROR)
    # An error of 1 / 64 in each of agreement and ceiling, over a ceiling of 1/2.
    assert pair.agreement / pair.ceiling == pytest.approx(1, abs=5 * np.sqrt(2) * ERROR / 0.48)
    assert np.isnan(pair.corrected) == (measure not in CORRECTED)


@pytest.mark.parametrize("measure", CORRELATIONS)
def test_shared_noise_is_not_agreement(measure):
    maps = shared_mask_maps()
    naive = measures[measure](maps["one"].halves[0], maps["other"].halves[0])
    assert naive > 0.4  # what comparing the same half would say
    pair = agreement(maps, measure).between("one", "other")
    # Both pairings share all four maps; each has error 1 / 64, so their mean has at most that.
    assert abs(pair.agreement) < 5 * ERROR
    assert abs(pair.agreement / pair.ceiling) < 5 * ERROR / 0.48
    assert pair.ceiling > 0.4


def test_ceilings_are_the_split_half_agreement():
    true, noise, clean = fields(3)
    maps = {
        "noisy": Map(np.stack([true + noise, true - 0.5 * noise])),
        "clean": Map(np.stack([clean, clean + 0.1 * noise])),
    }
    pair = agreement(maps).between("noisy", "clean")
    first, second = (
        stats.spearmanr(*(half.ravel() for half in saliency_map.halves)).statistic for saliency_map in maps.values()
    )
    assert (pair.ceiling_first, pair.ceiling_second) == (pytest.approx(first), pytest.approx(second))
    assert pair.ceiling == pytest.approx(np.sqrt(first * second))
    across = [
        stats.spearmanr(maps["noisy"].halves[a].ravel(), maps["clean"].halves[1 - a].ravel()).statistic for a in (0, 1)
    ]
    assert pair.agreement == pytest.approx(np.mean(across))
    assert np.isnan(pair.corrected)  # of ranks the noise cannot be taken out
    linear = agreement(maps, "pearson").pairs[0]
    assert linear.corrected == pytest.approx(linear.agreement / linear.ceiling)


@pytest.mark.parametrize("ceiling", [0.4, 0.7, 0.95])
def test_the_noise_is_taken_out_of_values_and_cannot_be_of_ranks(ceiling):
    """Of maps with a few bright places, as those of digits, and a known correlation."""
    common, first, second = np.exp(2.0 * fields(3, seed=3))
    true = [(each - each.mean()) / each.std() for each in (common + first, common + second)]
    expected = np.mean(true[0] * true[1])
    ranks = stats.spearmanr(true[0].ravel(), true[1].ravel()).statistic
    noise = np.sqrt(1 / ceiling - 1)
    corrected, divided = [], []
    for seed in range(30):
        shared, *own = fields(5, seed=100 + seed)  # the masks' noise is shared within a half
        other_half = fields(1, seed=900 + seed)[0]
        halves = [
            np.stack([each + noise * (shared + mine) / 2**0.5, each + noise * (other_half + its) / 2**0.5])
            for each, mine, its in zip(true, own[:2], own[2:], strict=True)
        ]
        maps = {"one": Map(halves[0]), "other": Map(halves[1])}
        pair = agreement(maps, "pearson").pairs[0]
        assert pair.ceiling == pytest.approx(ceiling, abs=5 * np.sqrt(2) * ERROR)
        corrected.append(pair.agreement / pair.ceiling)
        rank = agreement(maps, "spearman").pairs[0]
        assert np.isnan(rank.corrected)
        divided.append(rank.agreement / rank.ceiling)
    # An error of 1 / 64 in each of agreement and ceiling, over the ceiling, less by sqrt(30) in the mean; 3 of them.
    error = np.sqrt(2 * (1 - ceiling**2)) * ERROR / ceiling / np.sqrt(30)
    assert error < 0.0101
    assert np.mean(corrected) == pytest.approx(expected, abs=0.001 + 3 * error)
    assert abs(np.mean(divided) - ranks) > 0.03


def test_pure_noise_has_no_corrected_agreement():
    a, b, c, d = fields(4)
    pair = agreement({"one": Map(np.stack([a, b])), "other": Map(np.stack([c, d]))}).pairs[0]
    assert pair.ceiling < 0.1
    assert np.isnan(pair.corrected)
    assert np.isnan(
        agreement({"one": Map(np.stack([a, b])), "other": Map(np.stack([c, d]))}, "pearson").pairs[0].corrected
    )


def test_opposite_maps_disagree():
    true, *noise = fields(5)
    noisy = [sign * true + 0.1 * map_noise for sign, map_noise in zip((1, 1, -1, -1), noise, strict=True)]
    pair = agreement({"one": Map(np.stack(noisy[:2])), "other": Map(np.stack(noisy[2:]))}, "pearson").pairs[0]
    assert pair.agreement < -0.9
    assert pair.corrected == pytest.approx(-1, abs=0.02)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_equals_scipy(ties):
    first, second = fields(2)[:, :9, :7]
    if ties:
        first, second = first.round(), second.round()
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first.ravel(), second.ravel()).statistic)
    assert pearson(first, second) == pytest.approx(stats.pearsonr(first.ravel(), second.ravel()).statistic)
    assert spearman(first, np.exp(first)) == pytest.approx(1)
    assert spearman(first, -first) == pytest.approx(-1)


@pytest.mark.parametrize("measure", list(measures))
def test_a_constant_map_agrees_with_nothing(measure):
    assert np.isnan(measures[measure](np.ones((3, 3)), fields(1)[0][:3, :3]))
    constant, a, b = np.zeros((SIDE, SIDE)), *fields(2)
    report = agreement({"dead": Map(np.stack([constant] * 2)), "other": Map(np.stack([a, a + 0.1 * b]))}, measure)
    pair = report.pairs[0]
    assert np.isnan([pair.agreement, pair.ceiling, pair.corrected]).all()
    assert np.isnan([pair.low, pair.high]).all()
    assert report.to_json()["pairs"][0]["agreement"] is None  # JSON has no NaN


def test_the_report():
    maps = {
        role: Map(fields(2, seed), target=seed // 2) for seed, role in enumerate(("teacher", "kd_student", "student"))
    }
    report = agreement(maps, "pearson")
    assert [(pair.first, pair.second) for pair in report.pairs] == [
        ("teacher", "kd_student"),
        ("teacher", "student"),
        ("kd_student", "student"),
    ]
    assert [pair.same_target for pair in report.pairs] == [True, False, False]
    assert report.between("student", "teacher") is report.between("teacher", "student")
    table = report.table()
    assert table.num_rows == 3
    assert table["measure"].to_pylist() == ["pearson"] * 3
    assert table.column_names[:6] == ["measure", "first", "second", "agreement", "low", "high"]
    assert agreement({}).table().schema == table.schema
    assert "teacher / kd_student" in str(report)
    with pytest.raises(SettingError, match="no pair"):
        report.between("teacher", "nobody")


def test_one_map_alone_has_no_pairs():
    assert agreement({"teacher": Map(fields(2))}).pairs == ()


def test_maps_of_different_sizes_and_unknown_measures():
    maps = {"one": Map(np.zeros((2, 3, 4))), "other": Map(np.zeros((2, 4, 3)))}
    with pytest.raises(SettingError, match="different sizes"):
        agreement(maps)
    maps = {"one": Map(np.zeros((2, 3, 4))), "other": Map(np.zeros((2, 3, 4)), 0, np.zeros((4, 4, 3)))}
    with pytest.raises(SettingError, match="different sizes"):
        agreement(maps)
    with pytest.raises(UnknownNameError, match="Did you mean 'spearman'"):
        agreement({}, "speerman")


# measures -------------------------------------------------------------------------------------------------------------


def smooth_pair(seed: int = 0, size: tuple[int, int] = (17, 23)) -> tuple[np.ndarray, np.ndarray]:
    """Two maps with something in common, of different level and unit, (H, W)."""
    random = np.random.default_rng(seed)
    common, first, second = random.normal(size=(3, *size)).cumsum(2)
    return common + first, 40 - 3 * common + 2 * second


@pytest.mark.parametrize("measure", list(measures))
class TestMeasureContract:
    def test_identical_maps_give_the_maximum(self, measure):
        first, second = smooth_pair()
        assert measures[measure](first, first) == pytest.approx(1)
        assert measures[measure].least <= measures[measure](first, second) < 0.9
        assert measures[measure](first, -first) < measures[measure](first, first + second) < 1

    def test_symmetric(self, measure):
        first, second = smooth_pair()
        assert measures[measure](first, second) == pytest.approx(measures[measure](second, first), abs=1e-12)

    def test_level_and_unit_do_not_matter(self, measure):
        first, second = smooth_pair()
        value = measures[measure](first, second)
        assert measures[measure](1e-3 * first + 7, 1e5 * second - 2) == pytest.approx(value, abs=1e-8)
        assert measures[measure](1e-200 * first, second) == pytest.approx(value, abs=1e-8)

    def test_many_at_once_equal_one_by_one(self, measure):
        compare = measures[measure]
        pairs = [smooth_pair(seed) for seed in range(5)]
        first, second = (compare.prepare(np.stack(side)) for side in zip(*pairs, strict=True))
        assert compare.compare(first, second) == pytest.approx([compare(*pair) for pair in pairs], abs=1e-12)

    def test_maps_without_a_pattern(self, measure):
        compare = measures[measure]
        first, second = smooth_pair()
        bad = (
            np.where(first == first.max(), np.nan, first),
            np.where(first == first.max(), np.inf, first),
            np.zeros_like(first),
        )
        assert np.isnan([compare(each, second) for each in bad]).all()
        prepared = compare.prepare(np.stack([*bad, first]))  # one bad map leaves the others alone
        assert compare.compare(prepared[3:], compare.prepare(second[None]))[0] == pytest.approx(compare(first, second))

    def test_the_name(self, measure):
        assert measures[measure].name == measure
        maps = {"one": Map(fields(2)), "other": Map(fields(2, 1))}
        assert str(agreement(maps, measures[measure]).to_json()) == str(agreement(maps, measure).to_json())

    def test_equal_true_maps_reach_the_ceiling_and_unrelated_ones_do_not(self, measure):
        true, other, *noise = fields(6)
        halves = [Map(np.stack([true + a, true + b])) for a, b in (noise[:2], noise[2:])]
        pair = agreement({"one": halves[0], "other": halves[1]}, measure).pairs[0]
        # Means of about 4096 pixels (iou: 819 bright ones, neighbours in ssim: independent windows fewer): .05 is wide.
        assert pair.agreement == pytest.approx(pair.ceiling, abs=0.05)
        unrelated = agreement(
            {"one": halves[0], "other": Map(np.stack([other + noise[2], other + noise[3]]))}, measure
        ).pairs[0]
        assert unrelated.agreement < pair.agreement - 0.1
        assert unrelated.ceiling == pytest.approx(pair.ceiling, abs=0.05)
        assert np.isnan(pair.corrected) == (measure != "pearson")


def test_ranks_are_the_same_however_many_maps_are_ranked_at_once(monkeypatch):
    maps = np.random.default_rng(0).integers(0, 9, (7, 5, 4)).astype(float)
    maps[3] = 1
    alone = np.concatenate([measures["spearman"].prepare(values[None]) for values in maps])
    monkeypatch.setattr(similarity, "_RANKED", 45)  # two maps and a quarter
    assert np.array_equal(measures["spearman"].prepare(maps), alone, equal_nan=True)
    assert np.isnan(alone).all(1).tolist() == [number == 3 for number in range(7)]


def ssim_by_hand(first: np.ndarray, second: np.ndarray, reach: int = 5, sigma: float = 1.5) -> float:
    """Wang et al. (2004), eq. 13, window by window: each pixel's neighbourhood, cut out of the mirrored map."""
    left, right = (3 + (each - each.mean()) / each.std() for each in (first, second))
    weights = np.array(
        [
            [np.exp(-(x * x + y * y) / (2 * sigma**2)) for x in range(-reach, reach + 1)]
            for y in range(-reach, reach + 1)
        ]
    )
    weights /= weights.sum()
    mirrored = [np.pad(each, reach, mode="reflect") for each in (left, right)]
    values = []
    for row in range(first.shape[0]):
        for column in range(first.shape[1]):
            x, y = (each[row : row + 2 * reach + 1, column : column + 2 * reach + 1] for each in mirrored)
            mx, my = (weights * x).sum(), (weights * y).sum()
            vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
            cov = (weights * (x - mx) * (y - my)).sum()
            c1, c2 = (0.01 * 6) ** 2, (0.03 * 6) ** 2
            values.append((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_ssim_by_hand():
    first, second = smooth_pair()
    assert ssim(first, second) == pytest.approx(ssim_by_hand(first, second), abs=1e-10)
    small = first[:7, :6], second[:7, :6]  # the window shrinks to 5 pixels
    assert ssim(*small) == pytest.approx(ssim_by_hand(*small, reach=2, sigma=0.6), abs=1e-10)
    assert np.isnan(ssim(first[:2], second[:2]))


def test_ssim_equals_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure

    pair = smooth_pair(size=(28, 28))
    first, second = (torch.tensor(3 + (each - each.mean()) / each.std())[None, None] for each in pair)
    _, pixels = structural_similarity_index_measure(first, second, sigma=1.5, data_range=6.0, return_full_image=True)
    assert ssim(*pair) == pytest.approx(float(pixels.mean()), abs=1e-10)


def test_ssim_looks_at_places():
    first, second = smooth_pair()
    shuffled = np.random.default_rng(0).permutation(first.size)
    moved = [each.ravel()[shuffled].reshape(each.shape) for each in (first, second)]
    assert pearson(*moved) == pytest.approx(pearson(first, second))
    assert ssim(*moved) != pytest.approx(ssim(first, second), abs=0.01)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_iou_by_sets(share):
    first, second = smooth_pair()
    count = round(share * first.size)
    sets = [set(sorted(range(first.size), key=lambda pixel: -each.ravel()[pixel])[:count]) for each in (first, second)]
    expected = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    assert TopOverlap(share)(first, second) == pytest.approx(expected)


def test_iou_shares_the_places_among_ties():
    # Two of ten pixels are bright: the 5, and half of each 3. The other map's are pixels 0 and 1.
    first, second = np.array([[5, 3, 3, 0, 0, 0, 0, 0, 0, 0]]), np.array([[9, 8, 7, 6, 5, 4, 3, 2, 1, 0]])
    assert iou(first, second) == pytest.approx((1 + 0.5) / (1 + 1 + 0.5))
    assert iou(first, first) == pytest.approx(1)
    assert iou(first[:, ::-1], second[:, ::-1]) == pytest.approx(iou(first, second))  # no reading order


def test_iou_of_unrelated_maps_is_what_chance_gives():
    value = iou(*fields(2))
    # Shared pixels are hypergeometric: K = 819 of N = 4096, K drawn; variance K^2 (N - K)^2 / (N^2 (N - 1)); in
    # value = shared / (2 K - shared) an error d of shared is 2 K d / (2 K - shared)^2.
    n, k = SIDE**2, 819
    error = np.sqrt(k**2 * (n - k) ** 2 / (n**2 * (n - 1))) * 2 * k / (2 * k - k * k / n) ** 2
    assert value == pytest.approx(0.2 / 1.8, abs=5 * error)


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_a_share_outside_its_range(share):
    with pytest.raises(SettingError, match="between 0 and 1"):
        TopOverlap(share)


def test_a_measure_of_ones_own_setting():
    maps = {"one": Map(fields(2)), "other": Map(fields(2, 1))}
    report = agreement(maps, TopOverlap(0.1))
    assert report.measure == "iou of the top 0.1"
    assert report.pairs[0].agreement != agreement(maps, "iou").pairs[0].agreement


def test_all_measures_in_one_table():
    maps = {role: Map(fields(2, seed)) for seed, role in enumerate("abc")}
    table = agreement_table(maps)
    assert table["measure"].to_pylist() == [name for name in measures for _ in range(3)]
    chosen = agreement_table(maps, "ssim", TopOverlap(0.1))
    assert chosen["measure"].to_pylist() == ["ssim"] * 3 + ["iou of the top 0.1"] * 3
    expected = [pair.agreement for pair in agreement(maps, "ssim").pairs]
    assert chosen["agreement"].to_pylist()[:3] == expected
    assert agreement_table({"alone": maps["a"]}).num_rows == 0


# the interval ---------------------------------------------------------------------------------------------------------


def maps_from_units(noise: np.ndarray, true: np.ndarray, jackknife_halves: bool = True) -> Map:
    """A map whose halves are the means of the even and the odd units, of true + noise: (units, H, W), (H, W)."""
    parts = true + noise
    halves = np.stack([parts[::2].mean(0), parts[1::2].mean(0)])
    size = np.where(np.arange(len(parts)) % 2, len(parts[1::2]), len(parts[::2]))[:, None, None]
    own = halves[np.arange(len(parts)) % 2]
    return Map(halves, 0, (own * size - parts) / (size - 1) if jackknife_halves else None)


def simulated(seed: int, units: int = 16, side: int = 12, level: float = 2.0) -> dict[str, Map]:
    """Two models whose true maps correlate and whose noise, from the same masks, does too."""
    common, first, second = np.random.default_rng(99).normal(size=(3, side, side))  # the true maps are always the same
    shared, a, b = np.random.default_rng(seed).normal(size=(3, units, side, side))
    return {
        "one": maps_from_units(level * (shared + a), common + first),
        "other": maps_from_units(level * (shared + b), common + second),
    }


def interval_by_hand(maps: dict[str, Map], measure: str) -> tuple[float, float]:
    """The jackknife, unit by unit, with whole halves put in the place of the old."""
    first_map, second_map = maps.values()
    compare: Any = measures[measure]
    fisher = measures[measure].correlation
    units = range(len(first_map.jackknife_halves))

    def without(*left_out: int) -> float:
        first, second = first_map.halves.copy(), second_map.halves.copy()
        for unit in left_out:
            first[unit % 2], second[unit % 2] = first_map.jackknife_halves[unit], second_map.jackknife_halves[unit]
        value = (compare(first[0], second[1]) + compare(first[1], second[0])) / 2
        return np.arctanh(value) if fisher else value

    variance = 0.0
    for half in (0, 1):
        values = [without(unit) for unit in units if unit % 2 == half]
        variance += (len(values) - 1) * np.var(values)  # (m - 1) / m of a sum of m squares
    evens, odds = [unit for unit in units if unit % 2 == 0], [unit for unit in units if unit % 2]
    table = np.array([[without(even, odd) for odd in odds[:8]] for even in evens[:8]])
    rows, columns = table.shape
    # What is left of the table without its rows' and columns' means: the whole spread less that of both.
    left = (table.var() - table.mean(0).var() - table.mean(1).var()) * table.size / (rows - 1) / (columns - 1)
    both = left * (len(evens) - 1) ** 2 / len(evens) * (len(odds) - 1) ** 2 / len(odds)
    variance = max(variance - both, variance / 2)
    width = stats.t(len(units) - 2).ppf(0.975) * variance**0.5
    whole = without()
    if fisher:
        return np.tanh(whole - width), np.tanh(whole + width)
    return max(whole - width, measures[measure].least), min(whole + width, 1)


@pytest.mark.parametrize("measure", list(measures))
@pytest.mark.parametrize("units", [4, 9, 16, 21])
def test_the_interval_by_hand(measure, units):
    maps = simulated(1, units)
    pair = agreement(maps, measure).pairs[0]
    assert (pair.low, pair.high) == pytest.approx(interval_by_hand(maps, measure))
    assert pair.low < pair.agreement < pair.high
    assert f"{pair.agreement:z.2f} [{pair.low:z.2f}, {pair.high:z.2f}]" in str(agreement(maps, measure))


@pytest.mark.parametrize("measure", list(measures))
@pytest.mark.parametrize(("units", "level"), [(8, 2.0), (16, 6.0)])
def test_the_interval_covers_the_expected_agreement_and_is_not_too_wide(measure, units, level):
    runs = 150
    pairs = [agreement(simulated(seed, units, level=level), measure).pairs[0] for seed in range(runs)]
    expected = np.mean([pair.agreement for pair in pairs])
    covered = np.mean([pair.low <= expected <= pair.high for pair in pairs])
    # .93 to .97, with standard error sqrt(.95 * .05 / 150) = .018; three of them either side. iou moves in steps.
    assert 0.93 - 3 * 0.018 < covered < (0.97 + 3 * 0.018 if measure != "iou" else 1.01)
    # Mean half-width beside 1.96 times the spread of the agreement itself, of which 150 err by 1 / sqrt(300) = 6 %.
    # It is 1.03 to 1.12 here, and 1.3 to 1.6 for iou; the jackknife without the halves apart gave 1.3 and 1.9.
    wide = np.mean([pair.high - pair.low for pair in pairs]) / 2 / (1.96 * np.std([pair.agreement for pair in pairs]))
    assert 0.95 - 2 * 0.06 < wide < (1.3 if measure != "iou" else 1.75)


def test_more_masks_narrow_the_interval():
    wide, narrow = (agreement(simulated(0, level=level)).pairs[0] for level in (4, 1))
    assert narrow.high - narrow.low < (wide.high - wide.low) / 1.5


@pytest.mark.parametrize("measure", list(measures))
def test_without_noise_the_interval_is_a_point(measure):
    true = fields(1)[0]
    maps = {role: maps_from_units(np.zeros((8, SIDE, SIDE)), true) for role in ("one", "other")}
    pair = agreement(maps, measure).pairs[0]
    assert (pair.low, pair.agreement, pair.high) == pytest.approx((1, 1, 1))
    assert pair.low <= pair.agreement <= pair.high <= 1 + 1e-12


@pytest.mark.parametrize("change", ["none", "other units", "too few", "NaN"])
def test_maps_that_allow_no_interval(change):
    maps = simulated(0, 6)
    if change == "too few":
        for saliency_map in maps.values():
            saliency_map.jackknife_halves = saliency_map.jackknife_halves[:3]
    elif change == "none":
        maps["one"].jackknife_halves = None
    elif change == "other units":
        maps["one"].jackknife_halves = maps["one"].jackknife_halves[:4]
    elif change == "NaN":
        maps["one"].jackknife_halves[2, 0, 0] = np.nan
    report = agreement(maps)
    pair = report.pairs[0]
    assert np.isfinite(pair.agreement)
    assert np.isnan([pair.low, pair.high]).all()
    assert (report.to_json()["pairs"][0]["low"], report.to_json()["pairs"][0]["high"]) == (None, None)
    assert "[" not in str(report)


# predictions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fixed", "broke"), [(0, 0), (1, 0), (80, 48), (5, 5), (3, 17)])
def test_mcnemar_equals_the_binomial_by_hand(fixed, broke):
    first = np.array([False] * fixed + [True] * broke + [True] * 20 + [False] * 7)
    second = np.array([True] * fixed + [False] * broke + [True] * 20 + [False] * 7)
    n = fixed + broke
    chances = [comb(n, k) / 2**n for k in range(n + 1)]
    expected = sum(chance for chance in chances if chance <= chances[fixed] * (1 + 1e-9))
    result = mcnemar(first, second)
    assert (result.fixed, result.broke) == (fixed, broke)
    assert result.p_value == pytest.approx(min(expected, 1))


def ece_by_hand(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    total = 0.0
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    for number in range(bins):
        inside = (confidence > number / bins) & (confidence <= (number + 1) / bins)
        if inside.any():
            total += inside.sum() / len(labels) * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [5, 15])
def test_calibration_error_by_hand(bins):
    logits = 2 * torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 6, (500,), generator=torch.Generator().manual_seed(1))
    expected = ece_by_hand(logits.double().softmax(1).numpy(), labels.numpy(), bins)
    assert expected > 0.1
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(expected, abs=1e-5)


def test_calibration_error_of_sure_predictions():
    labels = torch.arange(10)
    right = 50.0 * torch.eye(10)
    assert expected_calibration_error(right, labels) == pytest.approx(0, abs=1e-6)
    assert expected_calibration_error(right, (labels + 1) % 10) == pytest.approx(1, abs=1e-6)


def test_classification_metrics_by_hand():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    metrics = classification_metrics(logits, labels)
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["loss"] == pytest.approx(np.mean([np.log1p(np.exp(-2)), np.log1p(np.exp(-1)), np.log1p(np.exp(3))]))
    assert metrics["f1"] == pytest.approx(np.mean([2 / 3, 2 / 3]))  # 1 hit, 1 false alarm; 1 hit, 1 miss
    assert metrics["auc"] == pytest.approx(np.mean([0.5, 0.5]))  # of the two pairs of classes, one is in order
    assert set(metrics) == {"accuracy", "loss", "ece", "f1", "auc"}


def test_inherited_errors_by_hand():
    labels = np.array([0, 0, 0, 0, 1])
    teacher = np.array([0, 1, 2, 3, 0])  # wrong in the last four
    student = np.array([5, 1, 0, 4, 0])  # repeats the 1 and the 0; right once, wrong in another way once
    assert inherited_errors(teacher, student, labels) == 0.5
    assert np.isnan(inherited_errors(labels, student, labels))
