"""Samplers and the ridge estimator, against exact answers: with a grid of 3 x 3 cells every mask can be enumerated."""

from __future__ import annotations

import itertools
import sys
from functools import cache

import numpy as np
import pytest
import torch

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.rise.estimators import jackknife_error, reliability
from kdviz.saliency import RISE, RandomMasks, estimate, estimators, samplers

SIZE, GRID = (14, 15), (3, 3)
PROBABILITIES = {"iid": 0.3, "hadamard": 0.5, "sobol": 0.3}
BALANCED = ["hadamard", "sobol"]
WEIGHTS = torch.linspace(-1, 1, 210).view(14, 15) * torch.linspace(1, 0, 15)


def curved(masks: torch.Tensor) -> torch.Tensor:
    """A score that is far from linear in the mask: (n, 1, H, W) -> (n,)."""
    pixels = masks[:, 0]
    return torch.sigmoid(20 * (pixels * WEIGHTS).mean((1, 2))) + pixels[:, 2, 3] * pixels[:, 10, 12]


def probability_of(masks: torch.Tensor) -> torch.Tensor:
    """The same as a probability, between .05 and .95."""
    return torch.sigmoid(4 * curved(masks) - 4)


@cache
def exact_map(probability: float, score=curved, centred: bool = True) -> np.ndarray:
    """Cov(f, M) / p, or E[f M] / p, by going through all 512 grids and all shifts."""
    masks = RandomMasks(SIZE, GRID, probability)
    rows, columns = masks.upsampling
    patterns = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).view(512, 3, 3)
    chance = (probability**patterns * (1 - probability) ** (1 - patterns)).prod(2).prod(1)
    everything, weights = [], []
    for row, column in itertools.product(rows, columns):
        everything.append(row @ patterns @ column.T)
        weights.append(chance / (len(rows) * len(columns)))
    m, w = torch.cat(everything).double(), torch.cat(weights).double()
    f = score(m.float().unsqueeze(1)).double()
    level = (w * f).sum() if centred else 0
    covariance = (w[:, None, None] * (f - level)[:, None, None] * m).sum(0)
    return (covariance / probability).numpy()


@cache
def draw(sampler: str, n_masks: int, seed: int, score) -> tuple[RandomMasks, torch.Tensor]:
    """The masks of a seed and their scores, (1, n_masks); all estimators see the same."""
    masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], seed, sampler)
    return masks, score(masks.render(0, n_masks)).unsqueeze(0)


@cache
def estimated(sampler: str, estimator: str, n_masks: int, seed: int, score):
    return estimate(*draw(sampler, n_masks, seed, score), estimator)


def estimates(sampler: str, estimator: str, n_masks: int, seeds: int, score=curved) -> list:
    """Those of the first seeds; a test of more of them takes over what one of fewer has computed."""
    return [estimated(sampler, estimator, n_masks, seed, score) for seed in range(seeds)]


def repeated(sampler: str, estimator: str, n_masks: int, seeds: int, score=curved):
    """Maps and standard errors of many seeds, each (seeds, H, W)."""
    results = estimates(sampler, estimator, n_masks, seeds, score)
    return tuple(
        np.stack([getattr(result, name)[0].numpy() for result in results]) for name in ("map", "standard_error")
    )


@pytest.mark.slow
@pytest.mark.parametrize("sampler", list(samplers))
def test_each_single_mask_is_a_rise_mask(sampler):
    p = PROBABILITIES[sampler]
    draws = [RandomMasks((8, 8), (3, 3), p, seed, sampler).draw(5, 6) for seed in range(3000)]
    bits = torch.cat([mask for mask, _ in draws]).flatten(1).numpy()
    # The mean of 3,000 coins has standard error sqrt(p (1 - p) / 3000); a product of two has at most .5 / sqrt(3000).
    np.testing.assert_allclose(bits.mean(0), p, atol=5 * (p * (1 - p) / 3000) ** 0.5)
    pairs = bits.T @ bits / 3000
    np.testing.assert_allclose(pairs[~np.eye(9, dtype=bool)], p * p, atol=5 * 0.5 / 3000**0.5)
    # All nine alike, which needs every order of dependence: a count near p^9 + (1 - p)^9, with the root as error.
    alike = 3000 * (p**9 + (1 - p) ** 9)
    assert abs(int((bits == bits[:, :1]).all(1).sum()) - alike) < 5 * alike**0.5
    shifts = torch.cat([shift for _, shift in draws])
    counts = torch.bincount(shifts[:, 0] * 3 + shifts[:, 1], minlength=9).numpy()
    expected = 3000 / 9  # each of 3 x 3 shifts; the standard error of a count is below its root
    np.testing.assert_allclose(counts, expected, atol=5 * expected**0.5)


@pytest.mark.parametrize("grid", [(7, 7), (8, 8), (3, 5), (10, 12)])
def test_a_hadamard_block_is_balanced_in_cells_and_pairs_of_cells(grid):
    masks = RandomMasks((28, 28), grid, seed=3, sampler="hadamard")
    cells = grid[0] * grid[1]
    bits, shifts = masks.draw(masks.block, 2 * masks.block)
    signs = 2 * bits.flatten(1) - 1  # (block, cells)
    assert torch.equal(signs[0::2], -signs[1::2])
    assert torch.equal(signs.T @ signs, masks.block * torch.eye(cells))
    assert len(shifts.unique(dim=0)) == 1


def test_more_cells_than_the_largest_block_still_have_fair_coins():
    masks = RandomMasks((28, 28), (20, 20), seed=3, sampler="hadamard")
    assert masks.block == 512
    bits, _ = masks.draw(0, masks.block)
    assert torch.equal(bits.mean(0), torch.full((20, 20), 0.5))


@pytest.mark.parametrize("sampler", BALANCED)
def test_every_shift_comes_once_before_any_comes_again(sampler):
    masks = RandomMasks((12, 12), (4, 3), PROBABILITIES[sampler], 1, sampler)
    rows, columns = masks.cell
    for turn in range(2):
        blocks = range(turn * rows * columns, (turn + 1) * rows * columns)
        shifts = [tuple(masks.draw(block * masks.block, block * masks.block + 1)[1][0].tolist()) for block in blocks]
        assert sorted(shifts) == sorted(itertools.product(range(rows), range(columns)))


@pytest.mark.parametrize("sampler", list(samplers))
def test_masks_do_not_depend_on_where_they_are_cut(sampler):
    masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], 9, sampler)
    cuts = (0, 1, 63, 129, 130, 400)
    pieces = [masks.render(start, stop) for start, stop in itertools.pairwise(cuts)]
    torch.testing.assert_close(torch.cat(pieces), masks.render(0, 400), rtol=0, atol=1e-6)


# Each estimator, with scores that it is made for: the logistic one is ridge where scores are no probabilities.
SCORES = {"centred": curved, "ridge": curved, "logistic": probability_of, "normalised": curved}


def truth_of(sampler: str, estimator: str) -> np.ndarray:
    return exact_map(PROBABILITIES[sampler], SCORES[estimator], estimator != "normalised")


@pytest.mark.slow
@pytest.mark.parametrize("estimator", SCORES)
@pytest.mark.parametrize("sampler", list(samplers))
def test_the_mean_over_seeds_is_the_exact_map(sampler, estimator):
    seeds = 60 if estimator == "logistic" else 120
    maps, _ = repeated(sampler, estimator, 1024, seeds, SCORES[estimator])  # those of the next test, too
    error = maps.std(0, ddof=1) / seeds**0.5
    # These fit coefficients, or divide by a sum, of the same masks: a bias of order 1 / n, half a map's standard error.
    slack = 0 if estimator == "centred" else 0.5 * maps.std(0, ddof=1)
    truth = truth_of(sampler, estimator)
    assert (np.abs(maps.mean(0) - truth) < 5 * error + slack).all()
    assert np.ptp(truth) > 5 * (5 * error + slack).mean()  # a map of another scale would be far outside


@pytest.mark.slow
@pytest.mark.parametrize("estimator", SCORES)
@pytest.mark.parametrize("sampler", list(samplers))
def test_intervals_cover_the_exact_map(sampler, estimator):
    seeds = 60 if estimator == "logistic" else 120
    maps, errors = repeated(sampler, estimator, 1024, seeds, SCORES[estimator])
    inside = np.abs(maps - truth_of(sampler, estimator)) < 1.96 * errors
    # Pixels of a map are far from independent; taken as one, the standard error of a share of .95 is .02 in 120 maps.
    assert 0.95 - 3 * (0.95 * 0.05 / seeds) ** 0.5 < inside.mean() <= 1
    assert inside.mean() < 0.995  # and the intervals are not just wide


@pytest.mark.parametrize("estimator", ["logistic", "normalised"])
@pytest.mark.parametrize("sampler", list(samplers))
@pytest.mark.slow
def test_halves_come_from_other_masks_and_agree(sampler, estimator):
    results = estimates(sampler, estimator, 1024, 40, SCORES[estimator])
    halves = np.stack([result.halves[:, 0].numpy() for result in results]) - truth_of(sampler, estimator)
    # Errors of independent halves: a correlation of 40 pairs has standard deviation .16; the mean over pixels, less.
    together = [np.corrcoef(halves[:, :, y, x].T)[0, 1] for y in range(0, 14, 3) for x in range(0, 15, 3)]
    assert abs(np.mean(together)) < 0.4
    # From half of the masks each: their mean is nearly the map.
    for result in results[:5]:
        assert (result.halves.mean(0) - result.map).abs().max() < 2 * result.standard_error.max()


@pytest.mark.parametrize("sampler", BALANCED)
@pytest.mark.slow
def test_until_a_block_is_full_errors_are_wide(sampler):
    maps, errors = repeated(sampler, "ridge", 60, 100)
    inside = np.abs(maps - exact_map(PROBABILITIES[sampler])) < 1.96 * errors
    assert inside.mean() > 0.9


@pytest.mark.slow
def test_each_step_from_the_published_method_has_less_error():
    truth = exact_map(0.5)

    errors = []
    for sampler, estimator in (("iid", "rise"), ("iid", "centred"), ("iid", "ridge"), ("hadamard", "ridge")):
        maps = []
        for seed in range(60):
            masks = RandomMasks(SIZE, GRID, 0.5, seed, sampler)
            scores = curved(masks.render(0, 512)).unsqueeze(0)
            saliency_map = estimate(masks, scores, estimator).map[0].numpy()
            maps.append(saliency_map - saliency_map.mean() + truth.mean())  # the published map has another constant
        errors.append(float(np.square(np.stack(maps) - truth).mean()))
    published, centred, ridge, hadamard = errors
    assert hadamard < published / 5
    assert ridge < centred < published


def test_a_linear_model_is_explained_almost_exactly():
    masks = RandomMasks(SIZE, GRID, 0.5, 0, "hadamard")
    scores = (masks.render(0, 1024)[:, 0] * WEIGHTS).sum((1, 2)).unsqueeze(0)
    rows, columns = (
        torch.einsum("sik,sjk->ij", upsampling, upsampling) / len(upsampling) for upsampling in masks.upsampling
    )
    exact = 0.25 * rows @ WEIGHTS @ columns.T / 0.5
    ridge, centred = (estimate(masks, scores, name).map[0] for name in ("ridge", "centred"))
    assert (ridge - exact).abs().max() < 0.05 * (centred - exact).abs().max()


def test_targets_do_not_disturb_each_other():
    masks = RandomMasks(SIZE, GRID, 0.5, 0, "hadamard")
    first = curved(masks.render(0, 512))
    both = estimate(masks, torch.stack([first, 1000 * first.flip(0)]))
    alone = estimate(masks, first.unsqueeze(0))
    for name in ("map", "standard_error", "halves", "jackknife_maps", "jackknife_halves"):
        torch.testing.assert_close(getattr(both, name)[..., :1, :, :], getattr(alone, name), rtol=1e-4, atol=1e-6)


def test_auto_takes_the_best_for_the_probability_and_the_number():
    assert RandomMasks(SIZE, GRID, 0.5, sampler="auto").kind == "hadamard"
    assert RandomMasks(SIZE, GRID, 0.3, sampler="auto").kind == "sobol"
    assert RandomMasks(SIZE, GRID, 0.5, sampler="auto").resolve_sampler(255).kind == "iid"
    assert RandomMasks(SIZE, GRID, 0.5, sampler="auto").resolve_sampler(256).kind == "hadamard"
    assert RandomMasks(SIZE, GRID, 0.5, sampler="hadamard").resolve_sampler(10).kind == "hadamard"


def test_wrong_samplers_are_refused():
    with pytest.raises(SettingError, match=r"needs probability 0\.5, got 0\.3"):
        RandomMasks(SIZE, GRID, 0.3, sampler="hadamard")
    with pytest.raises(UnknownNameError, match="Did you mean 'hadamard'"):
        RISE(lambda x: x.flatten(1)).attribute(torch.rand(1, 1, 6, 5), target=0, sampler="hadamar", grid=2)


# the logistic control variate -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("sampler", list(samplers))
def test_logistic_has_less_error_than_ridge_for_probabilities(sampler):
    truth = exact_map(PROBABILITIES[sampler], steep)
    logistic, ridge = (
        [np.square(result.map[0].numpy() - truth).mean() for result in estimates(sampler, name, 512, 60, steep)]
        for name in ("logistic", "ridge")
    )
    # Were they alike, each would win 30 of 60 seeds, with standard deviation (60 / 4) ** .5: five of them.
    assert np.less(logistic, ridge).sum() > 30 + 5 * 15**0.5
    assert np.mean(logistic) < 0.8 * np.mean(ridge)


def steep(masks: torch.Tensor) -> torch.Tensor:
    """A confident classifier's probability: log odds near linear, mostly near 0 or 1."""
    return torch.sigmoid(30 * (masks[:, 0] * WEIGHTS).mean((1, 2)) + 4 * masks[:, 0, 7, 7] - 2)


PARTS = ("map", "standard_error", "halves", "jackknife_maps", "jackknife_halves")


@pytest.mark.parametrize(
    "change", [lambda f: 2 * f, lambda f: f - 0.5, lambda f: -f], ids=["above", "below", "negative"]
)
@pytest.mark.parametrize("sampler", list(samplers))
def test_logistic_is_ridge_for_what_is_no_probability(sampler, change):
    masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], 3, sampler)
    scores = change(probability_of(masks.render(0, 700))).unsqueeze(0)
    logistic, ridge = (estimate(masks, scores, name) for name in ("logistic", "ridge"))
    for part in PARTS:
        assert torch.equal(getattr(logistic, part), getattr(ridge, part))
    inside = estimate(masks, probability_of(masks.render(0, 700)).unsqueeze(0), "logistic")
    assert not torch.allclose(inside.map, estimate(masks, inside.scores, "ridge").map, atol=1e-5)


@pytest.mark.parametrize("sampler", list(samplers))
def test_a_probability_beside_another_score_is_as_alone(sampler):
    masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], 3, sampler)
    rendered = masks.render(0, 700)
    rows = [3 * curved(rendered), probability_of(rendered), 1 - probability_of(rendered).square(), -curved(rendered)]
    together = estimate(masks, torch.stack(rows), "logistic")
    for number, row in enumerate(rows):
        alone = estimate(masks, row.unsqueeze(0), "logistic")
        for part in PARTS:
            got = getattr(together, part)[..., number : number + 1, :, :]
            torch.testing.assert_close(got, getattr(alone, part), rtol=1e-4, atol=1e-6)


def test_probabilities_of_exactly_zero_and_one_are_fine():
    masks = RandomMasks(SIZE, GRID, 0.5, 0, "hadamard")
    scores = (curved(masks.render(0, 1024)) > 1).double()
    result = estimate(masks, torch.stack([scores, torch.zeros(1024), torch.ones(1024)]), "logistic")
    truth = exact_map(0.5, lambda images: (curved(images) > 1).double())
    assert (np.abs(result.map[0].numpy() - truth) < 5 * result.standard_error[0].numpy()).all()
    assert result.map[1:].abs().max() < 1e-4  # nothing changes
    for part in PARTS:
        assert torch.isfinite(getattr(result, part)).all()


# second computations --------------------------------------------------------------------------------------------------


def by_hand(masks: RandomMasks, scores: np.ndarray, chosen: np.ndarray, estimator: str) -> np.ndarray:
    """A map from the masks with ``chosen`` indices, pixel by pixel over rendered masks."""
    rendered = masks.render(0, len(scores))[:, 0].double().numpy()[chosen]
    f = scores[chosen][:, None, None]
    if estimator == "rise":
        return (f * rendered).mean(0) / masks.probability
    if estimator == "normalised":
        return (f * rendered).sum(0) / rendered.sum(0)
    degrees = len(chosen) - (0 if masks.paired else 1)
    return ((f - f.mean()) * rendered).sum(0) / degrees / masks.probability


@pytest.mark.parametrize("estimator", ["rise", "normalised", "centred"])
@pytest.mark.parametrize("count", [40, 200, 500, 1024])
@pytest.mark.parametrize("sampler", list(samplers))
def test_sums_over_bits_are_sums_over_rendered_masks(sampler, count, estimator):
    masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], 3, sampler)
    scores = np.random.default_rng(0).normal(2, 1, count)
    result = estimate(masks, torch.from_numpy(scores).unsqueeze(0), estimator)
    units = result.units.numbers.numpy()
    everything = np.arange(count)
    expected = {
        "map": [by_hand(masks, scores, everything, estimator)],
        "halves": [by_hand(masks, scores, everything[units % 2 == odd], estimator) for odd in (0, 1)],
    }
    if sampler == "iid":  # parts of a balanced block are not independent: there it is no plain leaving out
        expected["jackknife_maps"] = [
            by_hand(masks, scores, everything[units != unit], estimator) for unit in range(units.max() + 1)
        ]
    for part, maps in expected.items():
        got = getattr(result, part).view(len(maps), *SIZE)
        np.testing.assert_allclose(got, np.stack(maps), rtol=1e-4, atol=1e-5)


def test_normalised_equals_the_loop():
    masks = RandomMasks((4, 5), (2, 3), 0.3, 1)
    bits, count = masks.render(0, 30)[:, 0].tolist(), 30
    scores = np.random.default_rng(1).normal(5, 1, count)
    result = estimate(masks, torch.from_numpy(scores).unsqueeze(0), "normalised")
    for y, x in itertools.product(range(4), range(5)):
        kept = [mask[y][x] for mask in bits]
        value = sum(f * m for f, m in zip(scores, kept, strict=True)) / sum(kept)
        terms = [(f - value) * m / 0.3 for f, m in zip(scores, kept, strict=True)]
        error = (sum((term - sum(terms) / count) ** 2 for term in terms) / count / (count - 1)) ** 0.5
        assert float(result.map[0, y, x]) == pytest.approx(value, rel=1e-4)
        assert float(result.standard_error[0, y, x]) == pytest.approx(error, rel=1e-3)


def test_a_pixel_that_no_mask_keeps_has_the_mean_score():
    masks = RandomMasks((6, 6), (6, 6), 0.02, 1)
    scores = torch.arange(8.0).unsqueeze(0)
    never = masks.render(0, 8).sum((0, 1)) == 0
    assert never.any()
    assert torch.equal(estimate(masks, scores, "normalised").map[0][never], torch.full((int(never.sum()),), 3.5))


@pytest.mark.parametrize("estimator", ["normalised", "logistic"])
@pytest.mark.parametrize("sampler", list(samplers))
@pytest.mark.slow
def test_the_standard_error_is_the_spread_over_seeds(sampler, estimator):
    maps, errors = repeated(sampler, estimator, 1024, 40, SCORES[estimator])
    ratio = maps.std(0, ddof=1).mean() / errors.mean()
    # The standard deviation of 40 values has a relative standard error of 1 / sqrt(2 * 39) = 11 % at a pixel, and less
    # in the mean of many: 2.5 of them. The error of logistic has Student's factor, 1.09 for 16 units, 1.2 for 8.
    # Balanced shifts make maps of whole blocks more alike than the jackknife, which takes blocks as independent, can
    # know: it errs on the wide side.
    assert ratio < 1.27
    assert ratio > (0.73 if sampler == "iid" else 0.35)


# reliability and the jackknife ----------------------------------------------------------------------------------------


def test_reliability_is_its_formula():
    generator = np.random.default_rng(0)
    signal = generator.normal(size=(3, 5, 6))
    halves = signal + generator.normal(size=(2, 3, 5, 6)) * np.array([0.1, 1, 4])[:, None, None]
    expected = []
    for first, second in zip(*halves, strict=True):
        h = max(np.corrcoef(first.ravel(), second.ravel())[0, 1], 0)
        expected.append((2 * h / (1 + h)) ** 0.5)
    np.testing.assert_allclose(reliability(torch.from_numpy(halves)), expected, rtol=1e-9)
    assert float(reliability(torch.from_numpy(np.stack([signal[0], -signal[0]])))) == 0
    assert float(reliability(torch.ones(2, 4, 4))) == 0  # constant
    assert float(reliability(torch.from_numpy(np.stack([signal[0], 3 * signal[0] + 1])))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("sampler", "estimator", "n_masks"),
    [("iid", "centred", 64), ("iid", "centred", 512), ("hadamard", "ridge", 512), ("hadamard", "logistic", 1024)],
)
def test_the_predicted_reliability_is_the_true_correlation(sampler, estimator, n_masks):
    seeds, score = 60, SCORES[estimator]
    truth = exact_map(PROBABILITIES[sampler], score).ravel()
    results = estimates(sampler, estimator, n_masks, seeds, score)
    true = np.array([np.corrcoef(result.map[0].numpy().ravel(), truth)[0, 1] for result in results])
    predicted = np.array([float(result.reliability[0]) for result in results])
    missing = 1 - true.mean()
    # Five standard errors of the mean, and a tenth of what is missing to 1 for the formula's curvature.
    slack = 5 * (predicted - true).std(ddof=1) / seeds**0.5 + 0.1 * missing
    if sampler == "iid":
        assert abs(predicted.mean() - true.mean()) < slack
        assert np.abs(predicted - true).mean() < missing  # each alone is as near as the noise is large
    else:  # balanced shifts serve the whole better than its halves: what is predicted is rather too low
        assert predicted.mean() < true.mean() + slack
        assert 1 - predicted.mean() < 3 * missing
    assert true.mean() < 0.9999  # there is noise


def test_jackknife_error_equals_the_loop():
    jackknife_maps = np.random.default_rng(0).normal(size=(6, 3, 4))
    student = 2.5705818366147395 / 1.959963984540054  # t of 5 degrees and normal, at .975
    for y, x in itertools.product(range(3), range(4)):
        values = [float(saliency_map[y, x]) for saliency_map in jackknife_maps]
        mean = sum(values) / 6
        expected = (5 / 6 * sum((value - mean) ** 2 for value in values)) ** 0.5 * student
        assert float(jackknife_error(torch.from_numpy(jackknife_maps))[y, x]) == pytest.approx(expected)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = torch.randn(200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    jackknife_maps = (values.sum(0) - values) / 199
    student = 1.971956544249395 / 1.959963984540054  # 199 degrees
    assert float(jackknife_error(jackknife_maps)) == pytest.approx(float(values.std() / 200**0.5) * student)


# what is kept between estimates ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", list(estimators))
@pytest.mark.parametrize("sampler", list(samplers))
def test_what_is_kept_between_estimates_changes_nothing(sampler, estimator):
    modules = [sys.modules[f"kdviz.rise.{name}"] for name in ("groups", "components", "spread")]
    caches = [member for module in modules for member in vars(module).values() if hasattr(member, "cache_clear")]
    assert caches

    def parts(seed: int) -> list[torch.Tensor]:
        masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], seed, sampler)
        result = estimate(masks, probability_of(masks.render(0, 600)).unsqueeze(0), estimator)
        return [getattr(result, part) for part in PARTS]

    for each in caches:
        each.cache_clear()
    fresh = parts(1)
    again = parts(1)
    parts(2)  # another series of the same kind
    later = parts(1)
    for from_fresh, from_again, from_later in zip(fresh, again, later, strict=True):
        assert torch.equal(from_fresh, from_again)
        assert torch.equal(from_fresh, from_later)
