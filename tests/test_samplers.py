"""Samplers and the ridge estimator, against exact answers: with a grid of 3 x 3 cells every mask can be enumerated."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from kdviz.errors import SettingError, UnknownNameError
from kdviz.saliency import RISE, RandomMasks, estimate, samplers

SIZE, GRID = (14, 15), (3, 3)
PROBABILITIES = {"iid": 0.3, "hadamard": 0.5, "sobol": 0.3}
BALANCED = ["hadamard", "sobol"]
WEIGHTS = torch.linspace(-1, 1, 210).view(14, 15) * torch.linspace(1, 0, 15)


def curved(masks: torch.Tensor) -> torch.Tensor:
    """A score that is far from linear in the mask: (n, 1, H, W) -> (n,)."""
    pixels = masks[:, 0]
    return torch.sigmoid(20 * (pixels * WEIGHTS).mean((1, 2))) + pixels[:, 2, 3] * pixels[:, 10, 12]


def exact_map(probability: float) -> np.ndarray:
    """Cov(f, M) / p by going through all 512 grids and all shifts."""
    masks = RandomMasks(SIZE, GRID, probability)
    rows, columns = masks.upsampling
    patterns = torch.tensor(list(itertools.product((0.0, 1.0), repeat=9))).view(512, 3, 3)
    chance = (probability**patterns * (1 - probability) ** (1 - patterns)).prod(2).prod(1)
    everything, weights = [], []
    for row, column in itertools.product(rows, columns):
        everything.append(row @ patterns @ column.T)
        weights.append(chance / (len(rows) * len(columns)))
    m, w = torch.cat(everything).double(), torch.cat(weights).double()
    f = curved(m.float().unsqueeze(1)).double()
    covariance = (w[:, None, None] * (f - (w * f).sum())[:, None, None] * m).sum(0)
    return (covariance / probability).numpy()


def repeated(sampler: str, estimator: str, n_masks: int, seeds: int):
    """Maps and standard errors of many seeds, each (seeds, H, W)."""
    results = []
    for seed in range(seeds):
        masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], seed, sampler)
        results.append(estimate(masks, curved(masks.render(0, n_masks)).unsqueeze(0), estimator))
    return tuple(np.stack([getattr(one, name)[0].numpy() for one in results]) for name in ("map", "standard_error"))


@pytest.mark.parametrize("sampler", list(samplers))
def test_each_single_mask_is_a_rise_mask(sampler):
    p = PROBABILITIES[sampler]
    draws = [RandomMasks((8, 8), (3, 3), p, seed, sampler).draw(5, 6) for seed in range(3000)]
    bits = torch.cat([one for one, _ in draws]).flatten(1).numpy()
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
        shifts = [tuple(masks.draw(one * masks.block, one * masks.block + 1)[1][0].tolist()) for one in blocks]
        assert sorted(shifts) == sorted(itertools.product(range(rows), range(columns)))


@pytest.mark.parametrize("sampler", list(samplers))
def test_masks_do_not_depend_on_where_they_are_cut(sampler):
    masks = RandomMasks(SIZE, GRID, PROBABILITIES[sampler], 9, sampler)
    cuts = (0, 1, 63, 129, 130, 400)
    pieces = [masks.render(start, stop) for start, stop in itertools.pairwise(cuts)]
    assert torch.equal(torch.cat(pieces), masks.render(0, 400))


@pytest.mark.parametrize("estimator", ["centred", "ridge"])
@pytest.mark.parametrize("sampler", list(samplers))
def test_the_mean_over_seeds_is_the_exact_map(sampler, estimator):
    seeds = 150
    maps, _ = repeated(sampler, estimator, 512, seeds)
    error = maps.std(0, ddof=1) / seeds**0.5
    # Ridge fits its coefficients to the same masks, a bias of order 1 / n: half a standard error of one map.
    slack = 0.5 * maps.std(0, ddof=1) if estimator == "ridge" else 0
    assert (np.abs(maps.mean(0) - exact_map(PROBABILITIES[sampler])) < 5 * error + slack).all()


@pytest.mark.parametrize("estimator", ["centred", "ridge"])
@pytest.mark.parametrize("sampler", list(samplers))
def test_intervals_cover_the_exact_map(sampler, estimator):
    seeds = 120
    maps, errors = repeated(sampler, estimator, 1024, seeds)
    inside = np.abs(maps - exact_map(PROBABILITIES[sampler])) < 1.96 * errors
    # Pixels of a map are far from independent; taken as one, the standard error of a share of .95 is .02 in 120 maps.
    assert 0.95 - 3 * 0.02 < inside.mean() <= 1
    assert inside.mean() < 0.995  # and the intervals are not just wide


@pytest.mark.parametrize("sampler", BALANCED)
def test_until_a_block_is_full_errors_are_wide(sampler):
    maps, errors = repeated(sampler, "ridge", 60, 100)
    inside = np.abs(maps - exact_map(PROBABILITIES[sampler])) < 1.96 * errors
    assert inside.mean() > 0.9


def test_each_step_from_the_published_method_has_less_error():
    truth = exact_map(0.5)

    errors = []
    for sampler, estimator in (("iid", "rise"), ("iid", "centred"), ("iid", "ridge"), ("hadamard", "ridge")):
        maps = []
        for seed in range(60):
            masks = RandomMasks(SIZE, GRID, 0.5, seed, sampler)
            scores = curved(masks.render(0, 512)).unsqueeze(0)
            one = estimate(masks, scores, estimator).map[0].numpy()
            maps.append(one - one.mean() + truth.mean())  # the published map has another constant
        errors.append(float(np.square(np.stack(maps) - truth).mean()))
    published, centred, ridge, hadamard = errors
    assert hadamard < published / 5
    assert ridge < centred < published


def test_a_linear_model_is_explained_almost_exactly():
    masks = RandomMasks(SIZE, GRID, 0.5, 0, "hadamard")
    scores = (masks.render(0, 1024)[:, 0] * WEIGHTS).sum((1, 2)).unsqueeze(0)
    rows, columns = (torch.einsum("sik,sjk->ij", one, one) / len(one) for one in masks.upsampling)
    exact = 0.25 * rows @ WEIGHTS @ columns.T / 0.5
    ridge, centred = (estimate(masks, scores, name).map[0] for name in ("ridge", "centred"))
    assert (ridge - exact).abs().max() < 0.05 * (centred - exact).abs().max()


def test_targets_do_not_disturb_each_other():
    masks = RandomMasks(SIZE, GRID, 0.5, 0, "hadamard")
    first = curved(masks.render(0, 512))
    both = estimate(masks, torch.stack([first, 1000 * first.flip(0)]))
    alone = estimate(masks, first.unsqueeze(0))
    for name in ("map", "standard_error", "halves", "left_out", "halves_without"):
        torch.testing.assert_close(getattr(both, name)[..., :1, :, :], getattr(alone, name), rtol=1e-4, atol=1e-6)


def test_auto_takes_the_best_for_the_probability_and_the_number():
    assert RandomMasks(SIZE, GRID, 0.5, sampler="auto").kind == "hadamard"
    assert RandomMasks(SIZE, GRID, 0.3, sampler="auto").kind == "sobol"
    assert RandomMasks(SIZE, GRID, 0.5, sampler="auto").suited(255).kind == "iid"
    assert RandomMasks(SIZE, GRID, 0.5, sampler="auto").suited(256).kind == "hadamard"
    assert RandomMasks(SIZE, GRID, 0.5, sampler="hadamard").suited(10).kind == "hadamard"


def test_wrong_samplers_are_refused():
    with pytest.raises(SettingError, match=r"needs probability 0\.5, got 0\.3"):
        RandomMasks(SIZE, GRID, 0.3, sampler="hadamard")
    with pytest.raises(UnknownNameError, match="Did you mean 'hadamard'"):
        RISE(lambda x: x.flatten(1)).attribute(torch.rand(1, 1, 6, 5), target=0, sampler="hadamar", grid=2)
