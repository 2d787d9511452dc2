"""Models of scores under masks whose covariance with the masks is known exactly: control variates.

For any function h of the mask that does not depend on the sample,

    Cov(f, M) = Cov(h, M) + Cov(f - h, M),

where the first term is known and the second is estimated from the scores (Owen, 2013, section 8.9). A good h leaves
little to the sample. Two kinds of h are fitted by ridge regression in the masks' principal components Z, the penalty
by generalised cross-validation (Golub, Heath & Wahba, 1979): the linear a + b . Z, and sigmoid(a + b . Z).
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from kdviz.rise.components import Design, components, design_of, project_masks, variance_of
from kdviz.rise.groups import Groups, groups_of
from kdviz.rise.masks import RandomMasks

_EDGE = 1e-3  # probabilities are clamped to this distance from 0 and 1 in the fit of their log odds
_PENALTIES = torch.logspace(-6, 4, 41, dtype=torch.float64)
_MOST_FOLDS = 8
_SHIFTS_PER_SIDE = 16  # over which the covariance of a sigmoid is averaged
_ROWS_AT_ONCE = 256  # targets times shifts, whose sigmoids' covariances are computed together: 5 MB each step
_DECAYED = 8.0  # 1 / sinh(8 pi) is 2e-11
_REACH = 22.0  # sigmoid(-22) is 3e-10


class LinearModel:
    """h = a + b . Z, a linear function of the mask.

    Args:
        masks: The series of masks.
        scores: float64 (targets, n).
    """

    def __init__(self, masks: RandomMasks, scores: Tensor):
        self.masks, self.scores = masks, scores
        self.groups: Groups = groups_of(masks, scores.shape[1])

    @property
    def _design(self) -> Design:
        return design_of(self.masks, self.scores.shape[1])

    @property
    def all_groups(self) -> Tensor:
        """The choice of all groups, bool (1, groups)."""
        return torch.ones(1, self.groups.count, dtype=torch.bool)

    def fit(self, selected: Tensor) -> tuple[Tensor, Tensor]:
        """Fit h to some groups of masks.

        Args:
            selected: bool (k, groups), the groups of each fit.

        Returns:
            Cov(h, M), float64 (k, targets, H, W), and f - h under all masks, (k, targets, n).
        """
        slopes, intercepts = self._linear(selected.double(), *self._sums, self._penalty)
        return self._covariance(slopes), self.scores - self._predicted(slopes, intercepts)

    @cached_property
    def slope(self) -> Tensor:
        """b, fitted to all masks, (targets, components)."""
        return self._linear(self.all_groups.double(), *self._sums, self._penalty)[0][0]

    @cached_property
    def unseen(self) -> Tensor:
        """Residuals of cross-validated fits: scores less h, fitted without the fold of the mask, (targets, n).

        Residuals of masks that h was fitted to would be too small.
        """
        return _select_own_fold(self.fit(self._other_folds)[1], self._fold)

    @property
    def folds(self) -> int:
        return min(_MOST_FOLDS, int((self.groups.sizes > 0).sum()))

    @property
    def _fold(self) -> Tensor:
        return self.groups.numbers % self.folds

    @property
    def _other_folds(self) -> Tensor:
        fold = torch.arange(self.groups.count) % self.folds
        return fold != torch.arange(self.folds)[:, None]

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor]:
        return self._group_sums(self.scores)

    @cached_property
    def _penalty(self) -> Tensor:
        return self._best_penalty(self.scores, *self._sums)

    def _group_sums(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sum v Z, (groups, rows, components), and sum v, (groups, rows), of values (rows, n)."""
        cross = torch.zeros(self.groups.count, len(values), len(self._design.values), dtype=torch.float64)
        for part in project_masks(self.masks, values.shape[1]):
            cross.index_add_(0, part.groups, part.cross(part.of(values)))
        level = torch.zeros(self.groups.count, len(values), dtype=torch.float64)
        return cross, level.index_add_(0, self.groups.numbers, values.T.contiguous())

    def _best_penalty(self, values: Tensor, cross: Tensor, level: Tensor) -> Tensor:
        """(rows,): the penalty with the least generalised cross-validation error, of all masks.

        A linear model predicts opposite deviations for complements: only half the difference of their values is data; a
        pair is one observation. Counted as two, 256 masks would seem enough for 250 coefficients.
        """
        count = values.shape[1]
        mean = level.sum(0) / count
        centred = cross.sum(0) - mean[:, None] * self._design.total.sum(0)
        power, observations = (values - mean[:, None]).square().sum(1), float(count - 1)
        if self.masks.paired and count % 2 == 0:
            power, observations = (values[:, 0::2] - values[:, 1::2]).square().sum(1) / 2, count / 2
        eigen = self._design.values
        penalties = _PENALTIES * eigen.max()
        shrunken = eigen + penalties[:, None]  # (penalties, components)
        free = (1 - (eigen / shrunken).sum(1) / observations).clamp_min(1e-3)
        squared = (centred @ self._design.vectors).square()  # (rows, components)
        residual = power[:, None] - squared @ ((2 / shrunken - eigen / shrunken.square()).T)
        return penalties[(residual / free.square()).argmin(1)]

    def _linear(self, selections: Tensor, cross: Tensor, level: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes (k, rows, components) and intercepts (k, rows) of a ridge regression on the selected groups each."""
        slopes, intercepts = [], []
        for selection in selections:
            size, total = selection @ self.groups.sizes, selection @ self._design.total
            mean, gram = selection @ level / size, torch.tensordot(selection, self._design.gram, 1)
            slope = _ridge(gram, torch.tensordot(selection, cross, 1) - mean[:, None] * total, penalty)
            slopes.append(slope)
            intercepts.append(mean - slope @ (total / size))
        return torch.stack(slopes), torch.stack(intercepts)

    def _predicted(self, slopes: Tensor, intercepts: Tensor) -> Tensor:
        """The linear functions a + b . Z of every mask, (k, rows, n), from (k, rows, components) and (k, rows)."""
        result = torch.empty(intercepts.numel(), self.scores.shape[1], dtype=torch.float64)
        for part in project_masks(self.masks, self.scores.shape[1]):
            result[:, part.index] = part.predicted(slopes.flatten(0, 1)).transpose(0, 1).flatten(1)
        return result.view(*intercepts.shape, -1) + intercepts.unsqueeze(2)

    def _covariance(self, slopes: Tensor) -> Tensor:
        """Cov(b . Z, M), (..., H, W), from (..., components)."""
        basis = components(self.masks.size, self.masks.grid)
        coefficients = slopes.new_zeros(*slopes.shape[:-1], *basis.kept.shape)
        coefficients[..., basis.kept] = variance_of(self.masks) * slopes
        return basis.rows @ coefficients @ basis.columns.T


class LogisticModel(LinearModel):
    """h = sigmoid(a + b . Z) + c . Z, for scores that are probabilities.

    A probability under a mask is far from linear in the mask, but its log odds are nearly so. They are fitted first;
    the residuals are fitted by a linear model.
    """

    @cached_property
    def _log_odds(self) -> Tensor:
        """(targets, n), of scores clamped away from 0 and 1, where they differ by rounding alone."""
        return self.scores.clamp(_EDGE, 1 - _EDGE).logit()

    @cached_property
    def _odds_fit(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the fit of the log odds: their sums, and the penalty."""
        sums = self._group_sums(self._log_odds)
        return *sums, self._best_penalty(self._log_odds, *sums)

    @cached_property
    def _residual_fit(self) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs of the fit of the residuals, of the sigmoid that is fitted to all masks."""
        residuals = self._full_fit[2][0]
        sums = self._group_sums(residuals)
        return *sums, self._best_penalty(residuals, *sums)

    @cached_property
    def _full_fit(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._without_sigmoid(self.all_groups)

    def _without_sigmoid(self, selected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slopes, intercepts = self._linear(selected.double(), *self._odds_fit)
        return slopes, intercepts, self.scores - self._predicted(slopes, intercepts).sigmoid_()

    def fit(self, selected: Tensor) -> tuple[Tensor, Tensor]:
        """See :meth:`LinearModel.fit`."""
        if selected.all():
            slopes, intercepts, residuals = self._full_fit
            second, level = self._linear(selected.double(), *self._residual_fit)
        else:
            slopes, intercepts, residuals = self._without_sigmoid(selected)
            second, level = self._fit_residuals(selected, residuals)
        covariance = self._covariance(second) + covariance_of_sigmoid(self.masks, slopes, intercepts)
        return covariance, residuals - self._predicted(second, level)

    def _fit_residuals(self, selected: Tensor, residuals: Tensor) -> tuple[Tensor, Tensor]:
        cross, level = self._group_sums(residuals.flatten(0, 1))
        cross, level = (sums.unflatten(1, residuals.shape[:2]) for sums in (cross, level))
        fits = [
            self._linear(groups[None].double(), cross[:, row], level[:, row], self._residual_fit[2])
            for row, groups in enumerate(selected)
        ]
        slopes, intercepts = (torch.cat(terms) for terms in zip(*fits, strict=True))
        return slopes, intercepts

    @cached_property
    def unseen(self) -> Tensor:
        """See :attr:`LinearModel.unseen`."""
        selected = self._other_folds
        residuals = self._without_sigmoid(selected)[2]
        return _select_own_fold(
            residuals - self._predicted(*self._linear(selected.double(), *self._residual_fit)), self._fold
        )


def _select_own_fold(values: Tensor, fold: Tensor) -> Tensor:
    """Select for each mask the value of its own fold, (folds, targets, n) -> (targets, n)."""
    return values[fold, :, torch.arange(len(fold))].T.contiguous()


def _ridge(gram: Tensor, cross: Tensor, penalty: Tensor) -> Tensor:
    """Slopes (targets, components) of a ridge regression; targets with the same penalty share a factorisation."""
    slope = torch.empty_like(cross)
    for strength in penalty.unique():
        same = penalty == strength
        # Not torch.linalg.solve of a batch: MKL's batched LU can hang on some processors (torch 2.15).
        factor = torch.linalg.cholesky(gram + strength * torch.eye(len(gram), dtype=gram.dtype))
        slope[same] = torch.cholesky_solve(cross[same].T, factor).T
    return slope


# the sigmoid's covariance, exactly ------------------------------------------------------------------------------------


def covariance_of_sigmoid(masks: RandomMasks, slopes: Tensor, intercepts: Tensor) -> Tensor:
    """Cov(sigmoid(a + b . Z), M), (..., H, W), from b (..., components) and a (...).

    Given a shift, b . Z is a weighted sum of independent cells, for which :func:`covariance_with_cells` is exact, and
    E[M | shift] does not depend on the shift: the covariance is the mean of those given the shifts. Cells of more
    than 16 pixels per side use 16 shifts per side, which stand for their neighbours.
    """
    basis, intercept = components(masks.size, masks.grid), intercepts.flatten()
    coefficients = slopes.new_zeros(len(intercept), *basis.kept.shape)
    coefficients[:, basis.kept] = slopes.flatten(0, -2)
    rows, columns = (matrix.double() for matrix in masks.upsampling)
    down, right = (_spaced_shifts(cell) for cell in masks.cell)
    result = torch.zeros(len(intercept), *masks.size, dtype=torch.float64)
    at_once = max(1, _ROWS_AT_ONCE // len(intercept))
    for y in down:
        across = basis.down[y].T @ coefficients  # (targets, grid rows, components of columns)
        for first in range(0, len(right), at_once):
            some = right[first : first + at_once]
            cells = (across @ basis.right[some].unsqueeze(1)).flatten(0, 1).flatten(1)  # (shifts * targets, cells)
            covariance = covariance_with_cells(cells, intercept.repeat(len(some)), masks.probability)
            grids = covariance.view(len(some), len(intercept), *masks.grid)
            result += rows[y] @ torch.einsum("xnrc,xwc->nrw", grids, columns[some])
    return result.view(*intercepts.shape, *masks.size) / (len(down) * len(right))


def _spaced_shifts(cell: int) -> list[int]:
    """All shifts of a cell, or 16 of them, equally spaced and centred."""
    if cell <= _SHIFTS_PER_SIDE:
        return list(range(cell))
    return [int((step + 0.5) * cell / _SHIFTS_PER_SIDE - 0.5 + 0.5 * (step % 2)) for step in range(_SHIFTS_PER_SIDE)]


def covariance_with_cells(weights: Tensor, intercepts: Tensor, probability: float) -> Tensor:
    """Cov(sigmoid(a + sum_c w_c u_c), u_c) for independent centred bits u_c, (rows, cells).

    sigmoid(x) = 1/2 + integral over t > 0 of sin(x t) / sinh(pi t) (Gradshteyn & Ryzhik, 3.981.1), and the expected
    value of exp(i t sum w u) is the product of the cells' characteristic functions phi_c, so that

        Cov = Im of the integral of exp(i a t) E[u_c exp(i t w_c u_c)] prod over d != c of phi_d(t) / sinh(pi t).

    The trapezoidal rule of step s repeats the sigmoid with period 2 pi / s, chosen so wide that no value comes
    near its end, and is otherwise exact to rounding (Trefethen & Weideman, 2014).

    Args:
        weights: float64 (rows, cells).
        intercepts: float64 (rows,), a.
        probability: Probability of a bit.
    """
    p = probability
    reach = float((weights.abs().sum(1) * max(p, 1 - p) + intercepts.abs()).max()) + _REACH
    step = 2 * torch.pi / reach
    t = torch.arange(1, int(_DECAYED / step) + 2, dtype=torch.float64) * step
    decay = step / torch.sinh(torch.pi * t)
    angles = weights[:, None] * t[:, None]  # (rows, nodes, cells)
    limit = 0.5 * step * p * (1 - p) * weights / torch.pi  # the first node, t = 0, counts half
    if p == 0.5:  # real: phi = cos(w t / 2), and E[u exp(i t w u)] = i sin(w t / 2) / 2
        half = angles / 2
        product = half.cos().prod(2) * decay * (intercepts[:, None] * t).cos()
        return limit + (product.unsqueeze(1) @ half.tan())[:, 0] / 2
    up, down = (torch.polar(torch.ones_like(angles), share * angles) for share in (1 - p, -p))
    single = p * up + (1 - p) * down
    product = single.prod(2) * torch.polar(decay.expand(len(weights), -1).contiguous(), intercepts[:, None] * t)
    return limit + (product.unsqueeze(1) @ (p * (1 - p) * (up - down) / single))[:, 0].imag
