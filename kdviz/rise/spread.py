"""How far a map would move with other masks: deviations, from which standard errors and intervals are made.

A map's error is the sum over masks of r_i (M_i - p) / (n p), r_i = f_i - h_i being what a model h of the scores does
not explain, plus, for estimators without a control variate, the error that the design of the masks makes in h
itself. Both are given as deviations d_u: maps with sum d_u^2 = the map's variance, in the jackknife's scale. The
difference of two models' deviations under the same masks belongs to the difference of their maps.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from kdviz.rise.components import cells_of, projected
from kdviz.rise.control_variates import LinearModel
from kdviz.rise.groups import Groups, sums_of_masks, units_of
from kdviz.rise.masks import RandomMasks

_MOST_SHIFTS = 16  # on which the error of the design is computed
_LEVEL_RATIO = {True: 0.5, False: 1.0}  # of balanced to independent variance: pairs; single masks less what is linear
_LEVEL_WEIGHT = 8.0  # blocks that the ratio counts for
_FEWEST_REPEATS = 4
_OTHER_SEED = 2**62 + 11  # of blocks that no one explains with


def of_rest(model: LinearModel, controlled: bool = True, level: bool = False) -> Tensor:
    """Deviations of sum r (M - p) / (n p), float64 (units, targets, H, W), from what the model leaves of unseen masks.

    Their shape over the pixels comes from about 32 units. Those are parts of blocks where blocks are few, and parts of
    a balanced block are not independent of each other. So their size is brought to that of the variance between
    blocks, pooled over the map: a design effect (Kish, 1965). A map of 7 x 7 cells has some 50 degrees of freedom, so
    that two blocks are enough for it.

    Args:
        model: Fitted to the scores.
        controlled: Whether the estimator takes h out, also of masks that are not balanced.
        level: Whether the mean of r counts as well: r M in place of r (M - p).
    """
    masks, rest = model.masks, model.unseen - model.unseen.mean(1, keepdim=True)
    count = rest.shape[1]
    if not controlled:  # h is balanced over whole blocks only
        whole = count // masks.block * masks.block
        rest[:, whole:] = model.scores[:, whole:] - model.scores.mean(1, keepdim=True)
    units = units_of(masks, count)
    total = _summed(rest, units)
    maps = sums_of_masks(masks, rest, units)  # large, so that it is changed in place
    maps -= masks.probability * total[:, :, None, None]
    maps *= _effect(model, rest, units).sqrt()[:, None, None]
    if level:
        # What is linear cancels in the mean of a balanced block: it is taken out as far as it can be fitted.
        rest = model.fit(model.everything)[1][0]
        moved = _summed(rest, units) * _effect_of_level(masks, rest, units).sqrt()
        maps += masks.probability * moved[:, :, None, None]
    return maps.div_(count * masks.probability)


def _summed(values: Tensor, units: Groups) -> Tensor:
    """Sum over each unit, (units, targets), of values (targets, n)."""
    sums = torch.zeros(units.count, len(values), dtype=torch.float64)
    return sums.index_add_(0, units.numbers, values.T.contiguous())


def of_design(model: LinearModel, level: bool) -> Tensor:
    """Deviations of the error that balanced blocks make in a linear model, float64 (rows, targets, H, W).

    Given a shift s, the mean of b . Z (M - p) over a block is W(s) G W(s)^T b, W(s) being the enlargement and G the
    covariance of the block's bits. Its variance has two parts. Shifts: whole turns of all S shifts add nothing, the m
    blocks of an unfinished turn are drawn without replacement. Bits: G is p (1 - p) I in a Hadamard block; for other
    samplers its spread is taken from other blocks.
    """
    masks, count = model.masks, model.scores.shape[1]
    p, blocks = masks.probability, count // masks.block
    shifts = _some_shifts(masks)
    weights = [model.slope @ cells_of(masks.size, masks.grid, shift) for shift in shifts]
    means = torch.stack(
        [_enlarged(masks, weight * (1 - p), shift) for weight, shift in zip(weights, shifts, strict=True)]
    )
    total = masks.cell[0] * masks.cell[1]
    drawn = blocks % total
    share = drawn * (total - drawn) / max(total - 1, 1) * (masks.block / count) ** 2
    rows = [(means - means.mean(0)) * (share / len(shifts)) ** 0.5]
    if masks.kind != "hadamard":
        excess = torch.stack(
            [
                _enlarged(masks, _of_bits(masks, one, number, model.scores.mean(1) if level else None) / p, shift)
                for number, (one, shift) in enumerate(zip(weights, shifts, strict=True))
            ]
        )
        rows.append(excess * (blocks / len(shifts)) ** 0.5 * masks.block / count)
    return torch.cat(rows)


def _of_bits(masks: RandomMasks, weights: Tensor, number: int, level: Tensor | None) -> Tensor:
    mean, excess = _other_block(masks.size, masks.grid, masks.probability, masks.kind, number)
    return weights @ excess if level is None else weights @ excess + level[:, None] * mean


def _enlarged(masks: RandomMasks, cells: Tensor, shift: tuple[int, int]) -> Tensor:
    rows, columns = (matrix.double() for matrix in masks.upsampling)
    return rows[shift[0]] @ cells.view(-1, *masks.grid) @ columns[shift[1]].T


def _some_shifts(masks: RandomMasks) -> list[tuple[int, int]]:
    rows, columns = masks.cell
    positions = torch.linspace(0, rows * columns - 1, min(_MOST_SHIFTS, rows * columns)).long().tolist()
    return [divmod(position, columns) for position in positions]


@lru_cache(maxsize=64)
def _other_block(
    size: tuple[int, int], grid: tuple[int, int], probability: float, kind: str, number: int
) -> tuple[Tensor, Tensor]:
    """Mean of the centred bits of a block, (cells,), and their covariance less its expectation, (cells, cells)."""
    other = RandomMasks(size, grid, probability, _OTHER_SEED + number, kind)
    bits = next(other.by_shift(0, other.block))[0].double() - probability
    expected = probability * (1 - probability) * torch.eye(bits.shape[1], dtype=torch.float64)
    return bits.mean(0), bits.T @ bits / len(bits) - expected


# the design effect ----------------------------------------------------------------------------------------------------


def _effect(model: LinearModel, rest: Tensor, units: Groups) -> Tensor:
    """Variance of sum r Z by blocks over that by units, pooled over the components Z, (targets,)."""
    masks, count = model.masks, rest.shape[1]
    folds = model.folds
    if masks.independent or count < 2 * masks.block:
        return torch.full((len(rest),), _unshared(folds, min(units.count, count)), dtype=torch.float64)
    blocks = torch.cat([part.cross(part.of(rest)) for part in projected(masks, count)])[
        : count // masks.block
    ]  # (blocks, targets, components)
    single = _unit_power(masks, rest, units, count // masks.block * masks.block)
    between = _variance_of_sum(blocks, masks).sum(-1)
    return between * _unshared(folds, len(blocks)) / single.clamp_min(1e-300)


def _unshared(folds: int, sums: int) -> float:
    """A model fitted to the other folds has noise of its own, which adds to each sum: v + v F / (k (F - 1)) for v."""
    return 1 / (1 + folds / (sums * (folds - 1)))


def _unit_power(masks: RandomMasks, rest: Tensor, units: Groups, count: int) -> Tensor:
    """Sum over the units of |sum r Z|^2, (targets,), of whole blocks."""
    result = torch.zeros(len(rest), dtype=torch.float64)
    for start in range(0, count, masks.block):
        bits, shift = next(masks.by_shift(start, start + masks.block))
        local = units.numbers[start : start + masks.block]
        names, row = local.unique(return_inverse=True)
        sums = torch.zeros(len(names), len(rest), bits.shape[1], dtype=torch.float64)
        sums.index_add_(
            0, row, rest[:, start : start + masks.block].T[:, :, None] * (bits.double() - masks.probability)[:, None]
        )
        result += (sums @ cells_of(masks.size, masks.grid, shift).T).square().sum((0, 2))
    return result


def _variance_of_sum(blocks: Tensor, masks: RandomMasks) -> Tensor:
    """Variance of the sum of blocks, (targets, ...), from each one's, (k, targets, ...).

    Shifts are balanced: what differs from shift to shift cancels over a whole turn of all S shifts. Once shifts have
    come again, blocks of the same shift tell the variance for a given shift, w, from that between shifts, b:
    k w + m (S - m) / (S - 1) b, with m blocks in the unfinished turn.
    """
    count, total = len(blocks), masks.cell[0] * masks.cell[1]
    between = (blocks - blocks.mean(0)).square().sum(0) / (count - 1)
    if count < total + _FEWEST_REPEATS:
        return count * between
    shifts = torch.tensor([y * masks.cell[1] + x for _, (y, x) in masks.by_shift(0, count * masks.block)])
    means = torch.zeros(total, *blocks.shape[1:], dtype=torch.float64).index_add_(0, shifts, blocks)
    means = means / torch.bincount(shifts, minlength=total).clamp_min(1).view(-1, *[1] * (blocks.ndim - 1))
    within = (blocks - means[shifts]).square().sum(0) / (count - total)
    drawn = count % total
    return count * within + drawn * (total - drawn) / (total - 1) * (between - within).clamp_min(0)


def _effect_of_level(masks: RandomMasks, rest: Tensor, units: Groups) -> Tensor:
    """The same for sum r, (targets,): one number a block, so that few blocks say little and a prior holds.

    Over balanced blocks the mean of r varies less than over as many independent pairs, since effects of pairs of cells
    cancel: on digits by a factor of .3 to .6 in variance. The prior is an empirical one.
    """
    count = rest.shape[1]
    power = _summed(rest, units).square().sum(0).clamp_min(1e-300)
    blocks = count // masks.block
    if masks.independent or blocks < 2:
        return torch.ones(len(rest), dtype=torch.float64)
    whole = rest[:, : blocks * masks.block].view(len(rest), blocks, -1).sum(2).T
    effect = _variance_of_sum(whole, masks) / power
    return ((blocks - 1) * effect + _LEVEL_WEIGHT * _LEVEL_RATIO[masks.paired]) / (blocks - 1 + _LEVEL_WEIGHT)
