"""Deviations of a map under other masks, from which standard errors and intervals are computed.

A map's error is the sum over masks of r_i (M_i - p) / (n p), with the residuals r_i = f_i - h_i of a model h of the
scores, plus, for estimators without a control variate, the error that the design of the masks makes in h itself. Both
are given as deviations d_u: maps with sum d_u^2 = the map's variance, in the jackknife's scale. The difference of two
models' deviations under the same masks belongs to the difference of their maps.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from kdviz.rise.components import cells_of, project_masks
from kdviz.rise.control_variates import LinearModel
from kdviz.rise.groups import Groups, sums_of_masks, units_of
from kdviz.rise.masks import RandomMasks

_MOST_SHIFTS = 16  # on which the error of the design is computed
_LEVEL_RATIO = {True: 0.5, False: 1.0}  # of balanced to independent variance: pairs; single masks without linear part
_LEVEL_WEIGHT = 8.0  # weight of that ratio, in blocks
_FEWEST_REPEATS = 4
_OTHER_SEED = 2**62 + 11  # of blocks that no map is made with


def residual_deviations(model: LinearModel, controlled: bool = True, level: bool = False) -> Tensor:
    """Deviations of sum r (M - p) / (n p), float64 (units, targets, H, W), from residuals of cross-validated fits.

    Their shape over the pixels comes from about 32 units. Those are parts of blocks where blocks are few, and parts of
    a balanced block are not independent of each other. So they are scaled to the variance between
    blocks, pooled over the map: a design effect (Kish, 1965). A map of 7 x 7 cells has some 50 degrees of freedom, so
    that two blocks are enough for it.

    Args:
        model: A model fitted to the scores.
        controlled: Whether the estimator subtracts h, also under masks that are not balanced.
        level: Whether the mean of r counts too: r M in place of r (M - p).
    """
    masks, residuals = model.masks, model.unseen - model.unseen.mean(1, keepdim=True)
    count = residuals.shape[1]
    if not controlled:  # h is balanced over whole blocks only
        balanced = count // masks.block * masks.block
        residuals[:, balanced:] = model.scores[:, balanced:] - model.scores.mean(1, keepdim=True)
    units = units_of(masks, count)
    unit_totals = _unit_sums(residuals, units)
    maps = sums_of_masks(masks, residuals, units)  # large, so that it is changed in place
    maps -= masks.probability * unit_totals[:, :, None, None]
    maps *= _design_effect(model, residuals, units).sqrt()[:, None, None]
    if level:
        # The linear part cancels in the mean of a balanced block: it is subtracted as far as it can be fitted.
        residuals = model.fit(model.all_groups)[1][0]
        level_error = _unit_sums(residuals, units) * _level_effect(masks, residuals, units).sqrt()
        maps += masks.probability * level_error[:, :, None, None]
    return maps.div_(count * masks.probability)


def _unit_sums(values: Tensor, units: Groups) -> Tensor:
    """Sum over each unit, (units, targets), of values (targets, n)."""
    sums = torch.zeros(units.count, len(values), dtype=torch.float64)
    return sums.index_add_(0, units.numbers, values.T.contiguous())


def design_deviations(model: LinearModel, level: bool) -> Tensor:
    """Deviations of the error that balanced blocks make in a linear model, float64 (rows, targets, H, W).

    Given a shift s, the mean of b . Z (M - p) over a block is W(s) G W(s)^T b, with the upsampling W(s) and the
    covariance of the block's bits. Its variance has two parts. Shifts: full cycles of all S shifts add nothing, the m
    blocks of an incomplete cycle are drawn without replacement. Bits: G is p (1 - p) I in a Hadamard block; for other
    samplers its deviation from this is taken from other blocks.
    """
    masks, count = model.masks, model.scores.shape[1]
    p, blocks = masks.probability, count // masks.block
    shifts = _sample_shifts(masks)
    weights = [model.slope @ cells_of(masks.size, masks.grid, shift) for shift in shifts]
    means = torch.stack(
        [_upsampled(masks, weight * (1 - p), shift) for weight, shift in zip(weights, shifts, strict=True)]
    )
    total = masks.cell[0] * masks.cell[1]
    remaining = blocks % total
    share = remaining * (total - remaining) / max(total - 1, 1) * (masks.block / count) ** 2
    rows = [(means - means.mean(0)) * (share / len(shifts)) ** 0.5]
    if masks.kind != "hadamard":
        excess = torch.stack(
            [
                _upsampled(
                    masks, _bit_deviations(masks, weight, number, model.scores.mean(1) if level else None) / p, shift
                )
                for number, (weight, shift) in enumerate(zip(weights, shifts, strict=True))
            ]
        )
        rows.append(excess * (blocks / len(shifts)) ** 0.5 * masks.block / count)
    return torch.cat(rows)


def _bit_deviations(masks: RandomMasks, weights: Tensor, number: int, level: Tensor | None) -> Tensor:
    mean, excess = _other_block(masks.size, masks.grid, masks.probability, masks.kind, number)
    return weights @ excess if level is None else weights @ excess + level[:, None] * mean


def _upsampled(masks: RandomMasks, cells: Tensor, shift: tuple[int, int]) -> Tensor:
    rows, columns = (matrix.double() for matrix in masks.upsampling)
    return rows[shift[0]] @ cells.view(-1, *masks.grid) @ columns[shift[1]].T


def _sample_shifts(masks: RandomMasks) -> list[tuple[int, int]]:
    rows, columns = masks.cell
    positions = torch.linspace(0, rows * columns - 1, min(_MOST_SHIFTS, rows * columns)).long().tolist()
    return [divmod(position, columns) for position in positions]


@lru_cache(maxsize=64)
def _other_block(
    size: tuple[int, int], grid: tuple[int, int], probability: float, kind: str, number: int
) -> tuple[Tensor, Tensor]:
    """Mean of the centred bits of a block, (cells,), and their covariance minus its expectation, (cells, cells)."""
    masks = RandomMasks(size, grid, probability, _OTHER_SEED + number, kind)
    bits = next(masks.by_shift(0, masks.block))[0].double() - probability
    expected = probability * (1 - probability) * torch.eye(bits.shape[1], dtype=torch.float64)
    return bits.mean(0), bits.T @ bits / len(bits) - expected


# the design effect ----------------------------------------------------------------------------------------------------


def _design_effect(model: LinearModel, residuals: Tensor, units: Groups) -> Tensor:
    """Variance of sum r Z by blocks over that by units, pooled over the components Z, (targets,)."""
    masks, count = model.masks, residuals.shape[1]
    folds = model.folds
    if masks.independent or count < 2 * masks.block:
        return torch.full((len(residuals),), _fit_correction(folds, min(units.count, count)), dtype=torch.float64)
    blocks = torch.cat([part.cross(part.of(residuals)) for part in project_masks(masks, count)])[
        : count // masks.block
    ]  # (blocks, targets, components)
    single = _unit_power(masks, residuals, units, count // masks.block * masks.block)
    between = _variance_of_sum(blocks, masks).sum(-1)
    return between * _fit_correction(folds, len(blocks)) / single.clamp_min(1e-300)


def _fit_correction(folds: int, sums: int) -> float:
    """Correction for the noise of models fitted to the other folds, which adds to each sum: v + v F / (k (F - 1))."""
    return 1 / (1 + folds / (sums * (folds - 1)))


def _unit_power(masks: RandomMasks, residuals: Tensor, units: Groups, count: int) -> Tensor:
    """Sum over the units of |sum r Z|^2, (targets,), for whole blocks."""
    result = torch.zeros(len(residuals), dtype=torch.float64)
    for start in range(0, count, masks.block):
        bits, shift = next(masks.by_shift(start, start + masks.block))
        numbers = units.numbers[start : start + masks.block]
        units_here, positions = numbers.unique(return_inverse=True)
        sums = torch.zeros(len(units_here), len(residuals), bits.shape[1], dtype=torch.float64)
        sums.index_add_(
            0,
            positions,
            residuals[:, start : start + masks.block].T[:, :, None] * (bits.double() - masks.probability)[:, None],
        )
        result += (sums @ cells_of(masks.size, masks.grid, shift).T).square().sum((0, 2))
    return result


def _variance_of_sum(blocks: Tensor, masks: RandomMasks) -> Tensor:
    """Variance of the sum of blocks, (targets, ...), from the sums of each, (k, targets, ...).

    Shifts are balanced: differences between shifts cancel over a full cycle of all S shifts. Once shifts
    repeat, blocks of the same shift separate the variance for a given shift, w, from that between shifts, b:
    k w + m (S - m) / (S - 1) b, with m blocks in the incomplete cycle.
    """
    count, total = len(blocks), masks.cell[0] * masks.cell[1]
    between = (blocks - blocks.mean(0)).square().sum(0) / (count - 1)
    if count < total + _FEWEST_REPEATS:
        return count * between
    shifts = torch.tensor([y * masks.cell[1] + x for _, (y, x) in masks.by_shift(0, count * masks.block)])
    means = torch.zeros(total, *blocks.shape[1:], dtype=torch.float64).index_add_(0, shifts, blocks)
    means = means / torch.bincount(shifts, minlength=total).clamp_min(1).view(-1, *[1] * (blocks.ndim - 1))
    within = (blocks - means[shifts]).square().sum(0) / (count - total)
    remaining = count % total
    return count * within + remaining * (total - remaining) / (total - 1) * (between - within).clamp_min(0)


def _level_effect(masks: RandomMasks, residuals: Tensor, units: Groups) -> Tensor:
    """The design effect of sum r, (targets,): with one number per block, few blocks are shrunk towards a prior.

    Over balanced blocks the mean of r varies less than over as many independent pairs, since effects of pairs of cells
    cancel: on digits by a factor of .3 to .6 in variance. The prior is empirical.
    """
    count = residuals.shape[1]
    power = _unit_sums(residuals, units).square().sum(0).clamp_min(1e-300)
    blocks = count // masks.block
    if masks.independent or blocks < 2:
        return torch.ones(len(residuals), dtype=torch.float64)
    block_sums = residuals[:, : blocks * masks.block].view(len(residuals), blocks, -1).sum(2).T
    effect = _variance_of_sum(block_sums, masks) / power
    return ((blocks - 1) * effect + _LEVEL_WEIGHT * _LEVEL_RATIO[masks.paired]) / (blocks - 1 + _LEVEL_WEIGHT)
