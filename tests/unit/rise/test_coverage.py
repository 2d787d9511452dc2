"""Error bars of maps hold what they say: coverage of intervals, and their width, where the true map is known."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from kdviz.bench.intervals import calibration
from kdviz.rise import control_variates
from kdviz.rise.components import cells_of, components
from kdviz.rise.control_variates import covariance_with_cells
from kdviz.rise.estimators import jackknife_error
from kdviz.saliency import RandomMasks, estimate, estimators

SIZE, GRID = (28, 28), (7, 7)
ESTIMATORS = list(estimators)


def score_of(masks: torch.Tensor) -> torch.Tensor:
    """Sigmoid of a smooth linear function: (n, 1, 28, 28) -> (n,)."""
    grid = torch.randn(1, 1, 7, 7, generator=torch.Generator().manual_seed(11))
    weights = F.interpolate(grid, size=SIZE, mode="bicubic", align_corners=False)
    return torch.sigmoid(((masks - 0.5) * (0.7 * weights / weights.norm())).sum((1, 2, 3)))


def curved(masks: torch.Tensor) -> torch.Tensor:
    """The same, steep, and with a product of pixels: neither linear nor a sigmoid of what is linear."""
    return (torch.sigmoid(8 * (score_of(masks).logit() + masks[:, 0, 9, 9] * masks[:, 0, 18, 20] - 0.25))).float()


@cache
def truth() -> tuple[torch.Tensor, torch.Tensor]:
    """Map and mean score of 2^17 masks of other seeds, by plain sums: error 1 / 5 to 1 / 11 of those tested."""
    maps, levels = [], []
    for seed in range(32):
        masks = RandomMasks(SIZE, GRID, seed=10_000 + seed, sampler="hadamard")
        scores = curved(masks.render(0, 4096)).double()
        maps.append(estimate(masks, scores.unsqueeze(0), "centred").map.double())
        levels.append(scores.mean())
    return torch.stack(maps).mean(0), torch.stack(levels).mean()


@cache
def draws(sampler: str, count: int) -> list[tuple[RandomMasks, torch.Tensor]]:
    """24 seeds' masks and the scores of each, (1, count); all estimators see the same."""
    masks = [RandomMasks(SIZE, GRID, seed=seed, sampler=sampler) for seed in range(24)]
    return [(seed_masks, curved(seed_masks.render(0, count)).unsqueeze(0)) for seed_masks in masks]


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "count"), [("hadamard", 256), ("hadamard", 1024), ("sobol", 256), ("iid", 256)])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_intervals_cover_the_truth_and_are_not_wide(estimator, sampler, count, request):
    if sampler == "sobol" and estimator in ("normalised", "rise"):
        # The level's error from two blocks rests on a prior that is measured on digits; here intervals are 1.6 x wide.
        request.applymarker(pytest.mark.xfail(reason="coverage .99, width 1.6", strict=True))
    estimates = [estimate(masks, scores, estimator) for masks, scores in draws(sampler, count)]
    maps, errors = (
        torch.stack([getattr(result, part) for result in estimates]).double() for part in ("map", "standard_error")
    )
    expected, level = truth()
    covered = calibration(maps, errors, expected + (level if estimator in ("rise", "normalised") else 0))
    # .95, give or take three standard errors over the seeds, and .02 for the bias of what is fitted to few masks.
    assert 0.93 - 3 * covered.spread < covered.coverage < 0.98 + 3 * covered.spread
    assert covered.spread < 0.04
    assert 0.75 < covered.width < 2  # a standard deviation of 24 has a standard error of 15 %


@pytest.mark.slow
def test_the_error_bar_sees_all_of_the_error_where_the_model_is_exact():
    # Scores that the logistic model fits exactly: what was left was an error of 4e-4 that no error bar saw.
    expected = exact_map()
    for seed in range(3):
        masks = RandomMasks(SIZE, GRID, seed=seed, sampler="hadamard")
        result = estimate(masks, score_of(masks.render(0, 2048)).unsqueeze(0), "logistic")
        error = (result.map[0].double() - expected).abs()
        assert error.max() < 1e-5
        assert (error < 1.96 * result.standard_error[0]).double().mean() > 0.8


def exact_map() -> torch.Tensor:
    """Cov(sigmoid(w . M - w . .5), M) / p by drawing each cell both ways in very many masks of all shifts."""
    grid = torch.randn(1, 1, 7, 7, generator=torch.Generator().manual_seed(11))
    weights = F.interpolate(grid, size=SIZE, mode="bicubic", align_corners=False)[0, 0]
    weights = (0.7 * weights / weights.norm()).double()
    rows, columns = (upsampling.double() for upsampling in RandomMasks(SIZE, GRID).upsampling)
    total = torch.zeros(SIZE, dtype=torch.float64)
    for down, right in itertools.product(rows, columns):
        # The log odds are a sum of 49 independent +-w_c / 2: their distribution on a fine lattice, cell by cell.
        cells = (down.T @ weights @ right).flatten()
        total += down @ torch.tensor([_change(cells, cell) for cell in range(49)]).double().view(7, 7) @ right.T
    return total / (len(rows) * len(columns)) / 0.5


def _change(cells: torch.Tensor, cell: int) -> float:
    """Cov(sigmoid(sum w_c u_c), u_place) by Gauss-Hermite: many small terms are nearly normal."""
    others = torch.cat([cells[:cell], cells[cell + 1 :]]).numpy()
    nodes, chances = np.polynomial.hermite_e.hermegauss(64)
    chances = chances / chances.sum()
    spread = np.sqrt(np.square(others).sum() / 4)
    fourth = -2 * ((others / 2) ** 4).sum() / spread**4  # of a fair +-1: -2
    sixth = 16 * ((others / 2) ** 6).sum() / spread**6
    he4 = nodes**4 - 6 * nodes**2 + 3
    he6 = nodes**6 - 15 * nodes**4 + 45 * nodes**2 - 15
    he8 = nodes**8 - 28 * nodes**6 + 210 * nodes**4 - 420 * nodes**2 + 105
    chances = chances * (1 + fourth / 24 * he4 + sixth / 720 * he6 + fourth**2 / 1152 * he8)  # Edgeworth
    high, low = (1 / (1 + np.exp(-(spread * nodes + sign * float(cells[cell]) / 2))) for sign in (1, -1))
    return float(((high - low) * chances).sum() / 4)


@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_the_covariance_of_a_sigmoid_equals_the_sum_over_all_patterns(probability):
    generator = torch.Generator().manual_seed(0)
    weights = 3 * torch.randn(4, 8, generator=generator, dtype=torch.float64)
    weights[3] = 0
    starts = torch.tensor([0.0, 2.0, -5.0, 0.3], dtype=torch.float64)
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=8)), dtype=torch.float64)
    chance = (probability**bits * (1 - probability) ** (1 - bits)).prod(1)
    centred = bits - probability
    expected = (torch.sigmoid(starts[:, None] + weights @ centred.T) * chance) @ centred
    torch.testing.assert_close(covariance_with_cells(weights, starts, probability), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "grid", "probability"), [((28, 28), (7, 7), 0.5), ((30, 41), (5, 8), 0.3), ((40, 36), (2, 2), 0.5)]
)
@pytest.mark.parametrize("at_once", [1, 7, 256])
def test_the_covariance_of_a_sigmoid_with_the_masks_is_the_mean_over_shifts(
    size, grid, probability, at_once, monkeypatch
):
    monkeypatch.setattr(control_variates, "_ROWS_AT_ONCE", at_once)
    masks = RandomMasks(size, grid, probability)
    count = int(components(size, grid).kept.sum())
    draw = torch.Generator().manual_seed(3)
    slopes = torch.randn(2, 3, count, generator=draw, dtype=torch.float64) / 5
    intercepts = torch.randn(2, 3, generator=draw, dtype=torch.float64)
    expected = torch.zeros(2, 3, *size, dtype=torch.float64)
    down, right = (control_variates._spaced_shifts(cell) for cell in masks.cell)
    for row, column in itertools.product(down, right):
        upsampled = torch.kron(masks.upsampling[0][row], masks.upsampling[1][column]).double()  # (pixels, cells)
        weights = (slopes @ cells_of(size, grid, (row, column))).flatten(0, 1)
        one = covariance_with_cells(weights, intercepts.flatten(), probability) @ upsampled.T
        expected += one.view(expected.shape) / (len(down) * len(right))
    found = control_variates.covariance_of_sigmoid(masks, slopes, intercepts)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(("sampler", "count"), [("hadamard", 256), ("sobol", 300), ("iid", 256)])
def test_the_difference_of_two_models_has_the_noise_of_its_own_scores(estimator, sampler, count):
    # Deviations of the same masks: those of f and of f + g differ by nearly those of g.
    masks = RandomMasks(SIZE, GRID, seed=1, sampler=sampler)
    rendered = masks.render(0, count)
    first = curved(rendered)
    result = estimate(masks, torch.stack([first, first]), estimator)
    same = jackknife_error(result.jackknife_maps[:, 0] - result.jackknife_maps[:, 1])
    assert same.abs().max() < 1e-9
    assert len(result.jackknife_maps) >= 16
    assert result.jackknife_maps.shape == result.jackknife_halves.shape
    spread = result.jackknife_halves - result.halves[torch.arange(len(result.jackknife_maps)) % 2]
    torch.testing.assert_close(spread, 2 * (result.jackknife_maps - result.map), rtol=1e-3, atol=1e-5)
