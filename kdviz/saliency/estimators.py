"""From scores of masked images to a saliency map, its standard error and its two halves.

Notation: M_i is mask i, f_i the score of the image under it, n the number of masks, p the expected mask
value at each pixel. Every estimator's map has the unit of the score. No estimator ever makes masks x pixels: what is
summed over the masks is summed over their bits first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from kdviz.errors import SettingError
from kdviz.registry import Registry
from kdviz.saliency.masks import RandomMasks

MINIMUM_MASKS = 4
_ELEMENTS_AT_ONCE = 2_000_000  # of masks, where single masks are needed: 8 MB
_MOST_UNITS = 16  # groups of masks for a standard error: more would cost time and add little
_KEPT_VARIANCE = 1 - 1e-4  # of the masks, by the components in which scores are fitted
_EDGE = 1e-3  # probabilities nearer to 0 or 1 count as this near, in the fit of their log odds
_BLOCKS_AT_ONCE = 16  # that are worked on together
_FRESH_MASKS = 4096  # on which a fitted model is evaluated
_FRESH_SEED = 2**62 + 7  # nobody's
_PENALTIES = torch.logspace(-6, 4, 41, dtype=torch.float64)


class Estimate(ABC):
    """Maps of several targets from their scores under the same masks. Each part is computed when it is asked for.

    Attributes:
        masks: The series of masks.
        scores: float64 (targets, n), under masks 0 to n - 1.
    """

    def __init__(self, masks: RandomMasks, scores: Tensor):
        self.masks = masks
        self.scores = scores
        self.units = _units(masks, scores.shape[1])

    @cached_property
    def map(self) -> Tensor:
        """float32 (targets, H, W)."""
        return self._maps(torch.ones(1, self.units.count, dtype=torch.bool))[0]

    @cached_property
    def halves(self) -> Tensor:
        """float32 (2, targets, H, W), maps from two independent halves of the masks, for the noise ceiling."""
        return self._maps(torch.stack([~self.units.odd, self.units.odd]))

    @cached_property
    def left_out(self) -> Tensor:
        """float32 (units, targets, H, W): the map without each unit of masks in turn, for the jackknife.

        Two models that saw the same masks have the same units: the spread of the differences of their maps is
        that of the difference map.
        """
        return self._maps(~torch.eye(self.units.count, dtype=torch.bool))

    @cached_property
    def halves_without(self) -> Tensor:
        """float32 (units, targets, H, W): without each unit in turn, the map of the half that it belongs to."""
        same = self.units.odd[:, None] == self.units.odd
        return self._maps(same & ~torch.eye(self.units.count, dtype=torch.bool))

    @cached_property
    def standard_error(self) -> Tensor:
        """float32 (targets, H, W), of :attr:`map`."""
        return jackknife_error(self.left_out)

    @property
    def reliability(self) -> Tensor:
        """(targets,): predicted correlation of each map with that of infinitely many masks; :func:`reliability`."""
        return reliability(self.halves)

    @abstractmethod
    def _maps(self, chosen: Tensor) -> Tensor:
        """Maps from some units of masks, (k, targets, H, W); ``chosen``, bool (k, units), says which for each."""


estimators: Registry[type[Estimate]] = Registry("estimator")


def estimate(masks: RandomMasks, scores: Tensor, estimator: str = "logistic") -> Estimate:
    """Maps of several targets from their scores under masks 0 to n - 1.

    The standard error comes from the jackknife over units of masks that are independent of each other (Efron & Stein,
    1981), times the quantile of Student's t over that of the normal: map +- 1.96 standard errors is a 95 % interval
    also when the units are few. With independent masks and a linear estimator it comes from single masks. One block
    alone has one shift and cannot show how much shifts matter; until it is full, its masks are treated as if
    independent, which errs on the wide side.

    Args:
        masks: The series of masks.
        scores: (targets, n).
        estimator: A name in ``estimators``.

    Raises:
        SettingError: Fewer than four masks (two for each half).
        UnknownNameError: No such estimator.
    """
    chosen = estimators[estimator]
    if scores.shape[1] < MINIMUM_MASKS:
        raise SettingError(f"A map with its halves needs at least {MINIMUM_MASKS} masks, got {scores.shape[1]}.")
    return chosen(masks, scores.detach().to("cpu", torch.float64))


def reliability(halves: Tensor) -> Tensor:
    """Predicted correlation with the map of infinitely many masks: sqrt(2 h / (1 + h)), h between the two halves.

    The halves' correlation is stepped up to the full length (Spearman, 1910; Brown, 1910), and its root is that with
    the true map. 0 where the halves do not agree or a map is constant.

    Args:
        halves: (2, ..., H, W).

    Returns:
        float64 (...).
    """
    centred = halves.double().flatten(-2)
    centred = centred - centred.mean(-1, keepdim=True)
    product = centred.square().sum(-1).prod(0).sqrt()
    half = (centred.prod(0).sum(-1) / product.clamp_min(1e-300)).clamp(0, 1)
    return (2 * half / (1 + half)).sqrt()


def jackknife_error(left_out: Tensor) -> Tensor:
    """Standard error from the maps without each unit in turn, (units, ...), widened for few units by Student's t."""
    units = len(left_out)
    spread = (left_out - left_out.mean(0)).square().sum(0) * ((units - 1) / units)
    return spread.sqrt() * float(stats.t.ppf(0.975, units - 1) / stats.norm.ppf(0.975))


# units ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Units:
    """Groups of masks that are independent of each other, or nearly. Every second unit is in the second half.

    Attributes:
        numbers: The number of each mask's unit, (n,).
        count: Units.
        sizes: Masks in each, float64 (units,).
    """

    numbers: Tensor
    count: int
    sizes: Tensor

    @property
    def odd(self) -> Tensor:
        return torch.arange(self.count) % 2 == 1


@lru_cache(maxsize=64)
def _units(masks: RandomMasks, count: int) -> _Units:
    index = torch.arange(count)
    if masks.independent:
        numbers = index % min(_MOST_UNITS, count // 2 * 2)
    elif count > masks.block:
        numbers = _whole_blocks(index // masks.block, count % masks.block, masks.block)
    else:  # parts of the only block: pairs of complements stay together
        numbers = index // 2 % min(8, max(2, count // 4 * 2))
    sizes = torch.bincount(numbers).double()
    return _Units(numbers, len(sizes), sizes)


def _whole_blocks(block: Tensor, rest: int, length: int) -> Tensor:
    blocks = int(block[-1]) + 1
    if blocks > 2 and 0 < rest < length // 2:
        block = block.clamp_max(blocks - 2)  # a short last block joins the one before it
        blocks -= 1
    return block % -(-blocks // -(-blocks // _MOST_UNITS))  # units of equal numbers of blocks


# sums of masks: published, coverage-normalised, centred ---------------------------------------------------------------


class _FromSums(Estimate):
    """Estimators that need, for each unit, only sum f M, sum M, sum f and the number of masks."""

    @cached_property
    def _sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """Sum f M and sum M, float64 (units, targets or 1, H, W), and sum f, (units, targets)."""
        values = torch.cat([self.scores, torch.ones(1, self.scores.shape[1], dtype=torch.float64)])
        spread = _sums_of_masks(self.masks, values, self.units)
        level = torch.zeros(self.units.count, len(self.scores), dtype=torch.float64)
        level.index_add_(0, self.units.numbers, self.scores.T.contiguous())
        return spread[:, :-1], spread[:, -1:], level

    def _maps(self, chosen: Tensor) -> Tensor:
        pick = chosen.double()
        weighted, cover, level = (torch.tensordot(pick, part, 1) for part in self._sums)
        count = (pick @ self.units.sizes)[:, None, None, None]
        return self._combine(weighted, cover, level[:, :, None, None], count).float()

    @abstractmethod
    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        """The map from sum f M, sum M, sum f and n, all (k, targets or 1, H or 1, W or 1)."""

    @cached_property
    def standard_error(self) -> Tensor:
        """float32 (targets, H, W), of :attr:`map`."""
        count = self.scores.shape[1]
        if not self.masks.independent and count > self.masks.block:
            return jackknife_error(self.left_out)
        total, squares = self._single_terms()
        variance = (squares / count - (total / count).square()).clamp_min(0) / (count - 1)
        return variance.sqrt().view(self.map.shape).float()

    def _single_terms(self) -> tuple[Tensor, Tensor]:
        """Sum over the masks of each one's term (w M - v) / p and of its square, float64 (targets, H * W)."""
        weights, offset = self._weights()
        total = torch.zeros(len(self.scores), self.masks.size[0] * self.masks.size[1], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for start, part in _rendered(self.masks, self.scores.shape[1]):
            terms = (part.flatten(1).double() - offset) / self.masks.probability  # (chunk, H * W)
            chunk = weights[:, start : start + len(part)]
            total += chunk @ terms
            squares += chunk.square() @ terms.square()
        return total, squares

    def _weights(self) -> tuple[Tensor, float]:
        """Weights w, (targets, n), and offset o of a form sum w (M - o) / p that has the map's error."""
        return self.scores - self.scores.mean(1, keepdim=True), self.masks.probability


class RISEEstimate(_FromSums):
    """As published: sum f M / (n p) (Petsiuk et al., 2018, eq. 6). Unbiased for E[f M] / p.

    The common level of the scores multiplies the masks' own noise, which is why it needs about five times the masks.
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        return weighted / (count * self.masks.probability)

    def _weights(self) -> tuple[Tensor, float]:
        return self.scores, 0.0


class NormalisedEstimate(_FromSums):
    """Coverage-normalised: sum f M / sum M at each pixel, the mean score under masks that keep it.

    As in many implementations of RISE (Xplique, DIANNA). The same expectation as the published form, to order 1 / n:
    a ratio estimator, whose error is that of (f - map) M / p (Cochran, 1977, section 2.11).
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        # A pixel that no mask of a small sample kept has no coverage: its map is the mean score.
        return torch.where(cover > 1e-9, weighted / cover.clamp_min(1e-9), level / count)

    def _single_terms(self) -> tuple[Tensor, Tensor]:
        p = self.masks.probability
        level = self.map.double().flatten(1)  # (targets, H * W)
        total, squares = torch.zeros_like(level), torch.zeros_like(level)
        for start, part in _rendered(self.masks, self.scores.shape[1]):
            kept = part.flatten(1).double() / p
            chunk = self.scores[:, start : start + len(part)]
            total += chunk @ kept - level * kept.sum(0)
            power = kept.square()
            squares += chunk.square() @ power - 2 * level * (chunk @ power) + level.square() * power.sum(0)
        return total, squares


class CentredEstimate(_FromSums):
    """Sample covariance of score and mask over p: sum (f - mean f)(M - p) / ((n - 1) p).

    Unbiased for Cov(f, M) / p, the published map's estimand less the constant E[f]. Zero means: keeping the
    pixel does not change the score on average.
    """

    def _combine(self, weighted: Tensor, cover: Tensor, level: Tensor, count: Tensor) -> Tensor:
        # Complements add up to one at each pixel, so the mean costs no degree of freedom: n in place of n - 1.
        degrees = count - (0 if self.masks.paired else 1)
        return (weighted - level / count * cover) / (degrees.clamp_min(1) * self.masks.probability)


def _rendered(masks: RandomMasks, count: int) -> Iterator[tuple[int, Tensor]]:
    step = max(16, _ELEMENTS_AT_ONCE // (masks.size[0] * masks.size[1]))
    for start in range(0, count, step):
        yield start, masks.render(start, min(start + step, count))


def _sums_of_masks(masks: RandomMasks, weights: Tensor, units: _Units) -> Tensor:
    """sum_i w_i M_i over each unit, float64 (units, rows of weights, H, W): over bits first, then enlarged."""
    rows, columns = (matrix.double() for matrix in masks.upsampling)
    result = weights.new_zeros(units.count, len(weights), *masks.size)
    for number, index, bits, shift in _parts(masks, weights.shape[1], units):
        if shift is not None:
            grids = (weights[:, index] @ bits).view(-1, *masks.grid)
            result[number] += rows[shift[0]] @ grids @ columns[shift[1]].T
            continue
        _, shifts = masks.draw(0, weights.shape[1])
        result[number] += _enlarged_by_shift(weights[:, index], bits, shifts[index], rows, columns, masks.grid)
    return result


def _enlarged_by_shift(
    weights: Tensor, bits: Tensor, shifts: Tensor, rows: Tensor, columns: Tensor, grid: tuple[int, int]
) -> Tensor:
    """The same for masks with a shift each, (rows of weights, H, W): one sum of grids for each shift."""
    down, right = len(rows), len(columns)
    total = torch.zeros(down * right, len(weights), bits.shape[1], dtype=torch.float64)
    terms = weights.T[:, :, None] * bits[:, None]  # (n, rows of weights, cells)
    total.index_add_(0, shifts[:, 0] * right + shifts[:, 1], terms)
    grids = total.view(down, right, len(weights), *grid)
    across = torch.einsum("srtij,rxj->stix", grids, columns)
    return torch.einsum("stix,syi->tyx", across, rows)


def _parts(
    masks: RandomMasks, count: int, units: _Units
) -> Iterator[tuple[int, slice | Tensor, Tensor, tuple[int, int] | None]]:
    """Masks 0 to count - 1 in parts of one unit: its number, which masks, their bits float64, their shift if common."""
    if masks.one_shift and count > masks.block:
        for start in range(0, count, masks.block):
            stop = min(start + masks.block, count)
            bits, shift = next(masks.by_shift(start, stop))
            yield int(units.numbers[start]), slice(start, stop), bits.double(), shift
        return
    bits, shifts = masks.draw(0, count)
    shift = (int(shifts[0, 0]), int(shifts[0, 1])) if masks.one_shift else None
    for number in range(units.count):
        index = (units.numbers == number).nonzero()[:, 0]
        yield number, index, bits[index].flatten(1).double(), shift


# ridge control variate ------------------------------------------------------------------------------------------------


class _Components(NamedTuple):
    """Principal components of the masks, from their exact covariance.

    For a given shift the cells are independent, and the two shifts are, so Cov(M(y, x), M(y', x')) is
    p (1 - p) C_y(y, y') C_x(x, x') with C = mean over shifts of W W^T: a Kronecker product. Its
    eigenvectors are products of those of C_y and C_x.

    Attributes:
        rows, columns: (H, a) and (W, b), eigenvectors of C_y and C_x.
        variance: (a, b), of each product, for p (1 - p) = 1.
        kept: bool (a, b), the components that are used.
        down, right: (shifts, a, grid rows) and (shifts, b, grid columns): a grid's bits in the eigenvectors.
    """

    rows: Tensor
    columns: Tensor
    variance: Tensor
    kept: Tensor
    down: Tensor
    right: Tensor

    def of_cells(self, shift: tuple[int, int]) -> Tensor:
        """(components, cells): what each cell adds to each component, for one shift."""
        return torch.kron(self.down[shift[0]], self.right[shift[1]])[self.kept.flatten()]


@lru_cache(maxsize=8)
def _components(size: tuple[int, int], grid: tuple[int, int]) -> _Components:
    sides, upsampling = [], [matrix.double() for matrix in RandomMasks(size, grid).upsampling]
    for wide in upsampling:  # (shifts, side, cells)
        values, vectors = torch.linalg.eigh((wide @ wide.mT).mean(0))
        order = values.argsort(descending=True)[: 4 * grid[0] * grid[1]]
        sides.append((values[order].clamp_min(0), vectors[:, order]))
    (rows, row_vectors), (columns, column_vectors) = sides
    variance = rows[:, None] * columns
    ranked = variance.flatten().sort(descending=True).values
    enough = int((ranked.cumsum(0) < _KEPT_VARIANCE * ranked.sum()).sum())
    kept = variance >= ranked[min(enough, len(ranked) - 1)]
    a, b = int(kept.any(1).sum()), int(kept.any(0).sum())
    vectors = row_vectors[:, :a].contiguous(), column_vectors[:, :b].contiguous()
    grids = [one.T @ wide for one, wide in zip(vectors, upsampling, strict=True)]
    return _Components(*vectors, variance[:a, :b], kept[:a, :b], *grids)


@dataclass(frozen=True)
class _Part:
    """Some masks, centred and in their principal components, Z: so many groups of as many masks.

    Where the masks of a group have one shift, Z is the product of bits and a small matrix and is never made.

    Attributes:
        units: The number of each group's unit, (groups,).
        index: Which masks, group by group.
        left: Z itself, (groups, masks, components), or with ``cells`` the centred bits, (groups, masks, cells).
        cells: What each cell adds to each component, (groups, components, cells).
    """

    units: Tensor
    index: slice | Tensor
    left: Tensor
    cells: Tensor | None

    def of(self, values: Tensor) -> Tensor:
        """Values (rows, n) of these masks, (groups, rows, masks)."""
        groups, length = self.left.shape[:2]
        return values[:, self.index].view(len(values), groups, length).transpose(0, 1)

    def predicted(self, slopes: Tensor) -> Tensor:
        """The product of slopes and Z, (groups, rows, masks), from (rows, components)."""
        return (slopes if self.cells is None else slopes @ self.cells) @ self.left.mT

    def cross(self, values: Tensor) -> Tensor:
        """Sum of values Z over each group, (groups, rows, components), from (groups, rows, masks)."""
        product = values @ self.left
        return product if self.cells is None else product @ self.cells.mT

    def grams(self) -> Iterator[tuple[int, Tensor]]:
        """Of each group its unit and Z^T Z, (components, components)."""
        for group, unit in enumerate(self.units.tolist()):
            square = self.left[group].T @ self.left[group]
            yield unit, square if self.cells is None else self.cells[group] @ square @ self.cells[group].T

    def total(self) -> Tensor:
        """Sum of Z over each group, (groups, components)."""
        return self.cross(torch.ones(len(self.left), 1, self.left.shape[1], dtype=torch.float64))[:, 0]


class _Design(NamedTuple):
    """What the masks alone say: the same for every image, model and target.

    Attributes:
        gram: sum Z Z^T over each unit, float64 (units, components, components); Z is centred to its known mean zero.
        total: sum Z over each unit, (units, components).
        values, vectors: Eigenvalues and -vectors of the whole gram.
    """

    gram: Tensor
    total: Tensor
    values: Tensor
    vectors: Tensor


@lru_cache(maxsize=3)
def _design(masks: RandomMasks, count: int) -> _Design:
    units, k = _units(masks, count), int(_components(masks.size, masks.grid).kept.sum())
    gram = torch.zeros(units.count, k, k, dtype=torch.float64)
    total = torch.zeros(units.count, k, dtype=torch.float64)
    for part in _projected(masks, count):
        for unit, one in part.grams():
            gram[unit] += one
        total.index_add_(0, part.units, part.total())
    values, vectors = torch.linalg.eigh(gram.sum(0))
    return _Design(gram, total, values.clamp_min(0), vectors)


def _projected(masks: RandomMasks, count: int) -> Iterator[_Part]:
    """Masks 0 to count - 1 in their principal components, straight from bits and shifts."""
    if masks.one_shift and count > masks.block:
        whole = count // masks.block
        for first in range(0, whole, _BLOCKS_AT_ONCE):
            yield _stacked(masks, count, first, min(first + _BLOCKS_AT_ONCE, whole))
        if count % masks.block:
            yield _stacked(masks, count, whole, whole + 1)
        return
    parts = _components(masks.size, masks.grid)
    for number, index, bits, shift in _parts(masks, count, _units(masks, count)):
        centred, unit = bits - masks.probability, torch.tensor([number])
        if shift is not None:
            cells = _of_cells(masks.size, masks.grid, shift).unsqueeze(0)
            yield _Part(unit, index, centred.unsqueeze(0), cells)
            continue
        _, shifts = masks.draw(0, count)
        down, right = parts.down[shifts[index, 0]], parts.right[shifts[index, 1]]
        z = (down @ centred.view(-1, *masks.grid) @ right.mT)[:, parts.kept]
        yield _Part(unit, index, z.unsqueeze(0), None)


@lru_cache(maxsize=32)
def _stacked(masks: RandomMasks, count: int, first: int, last: int) -> _Part:
    """Blocks first to last - 1 together; only the very last block of the masks may be a shorter one, alone."""
    start, stop = first * masks.block, min(last * masks.block, count)
    blocks = list(masks.by_shift(start, stop))
    return _Part(
        units=_units(masks, count).numbers[start : stop : masks.block],
        index=slice(start, stop),
        left=torch.stack([bits for bits, _ in blocks]).double() - masks.probability,
        cells=torch.stack([_of_cells(masks.size, masks.grid, shift) for _, shift in blocks]),
    )


@lru_cache(maxsize=128)
def _of_cells(size: tuple[int, int], grid: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    return _components(size, grid).of_cells(shift)


class _Sums(NamedTuple):
    """What a regression on Z needs of some values v, one row a target (and a choice of units).

    Attributes:
        cross: sum v Z, (rows, components).
        level: sum v, (rows,).
        power: sum v^2, (rows,).
    """

    cross: Tensor
    level: Tensor
    power: Tensor


class RidgeEstimate(Estimate):
    """Ridge control variate: the same estimand as ``centred``, with less noise.

    A linear model f ~ b . (M - p) is fitted by ridge regression in the masks' principal components Z, its
    penalty by generalised cross-validation (Golub, Heath & Wahba, 1979). The covariance of the fitted part with the
    mask is known exactly, from the masks' covariance; that of the rest is taken from the sample:

        Cov(f, Z) = Var(Z) b + mean of (f - mean f - b . Z) Z

    which holds for any b that does not depend on the masks; a good b leaves little to the sample (control variates:
    Owen, 2013, section 8.9). The standard error is the jackknife's over units of masks, each fitted without one.
    """

    @cached_property
    def _design(self) -> _Design:
        return _design(self.masks, self.scores.shape[1])

    def _unit_sums(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Sum v Z, (units, targets, components), and sum v, (units, targets), of values (targets, n)."""
        cross = torch.zeros(self.units.count, len(values), len(self._design.values), dtype=torch.float64)
        for part in _projected(self.masks, values.shape[1]):
            cross.index_add_(0, part.units, part.cross(part.of(values)))
        level = torch.zeros(self.units.count, len(values), dtype=torch.float64)
        return cross, level.index_add_(0, self.units.numbers, values.T.contiguous())

    @cached_property
    def _of_scores(self) -> tuple[Tensor, Tensor]:
        return self._unit_sums(self.scores)

    @cached_property
    def _penalty(self) -> Tensor:
        cross, level = (part.sum(0) for part in self._of_scores)
        return self._best_penalty(_Sums(cross, level, self.scores.square().sum(1)))

    def _best_penalty(self, sums: _Sums) -> Tensor:
        """(targets,): for each the penalty with the least generalised cross-validation error, of all masks."""
        count = self.scores.shape[1]
        cross = sums.cross - (sums.level / count)[:, None] * self._design.total.sum(0)
        power = sums.power - sums.level.square() / count  # (targets,)
        values = self._design.values
        grid = _PENALTIES * values.max()
        shrunk = values + grid[:, None]  # (penalties, components)
        degrees = (values / shrunk).sum(1)
        squared = (cross @ self._design.vectors).square()  # (targets, components)
        residual = power[:, None] - squared @ ((2 / shrunk - values / shrunk.square()).T)
        error = residual / (1 - (degrees + 1) / count).clamp_min(1e-3).square()
        return grid[error.argmin(1)]

    def _maps(self, chosen: Tensor) -> Tensor:
        parts = _components(self.masks.size, self.masks.grid)
        values = self._covariances(chosen) / self.masks.probability
        full = values.new_zeros(*values.shape[:-1], *parts.kept.shape)
        full[..., parts.kept] = values
        return (parts.rows @ full @ parts.columns.T).float()

    def _covariances(self, chosen: Tensor) -> Tensor:
        """Cov(f, Z) from some units each, (k, targets, components)."""
        cross, level = self._of_scores
        return torch.stack(
            [
                self._covariance(pick, torch.tensordot(pick, cross, 1), pick @ level, self._penalty)
                for pick in chosen.double()
            ]
        )

    def _covariance(self, pick: Tensor, cross: Tensor, level: Tensor, penalty: Tensor) -> Tensor:
        """Cov(v, Z), (targets, components), of values with these sums over the units whose ``pick``, (units,), is 1."""
        gram, count = torch.tensordot(pick, self._design.gram, 1), pick @ self.units.sizes
        cross = cross - (level / count)[:, None] * (pick @ self._design.total)
        slope = _ridge(gram, cross, penalty)
        return _variance(self.masks) * slope + (cross - slope @ gram) / count

    @cached_property
    def standard_error(self) -> Tensor:
        """float32 (targets, H, W), of :attr:`map`."""
        if self.masks.independent or self.scores.shape[1] > self.masks.block:
            return jackknife_error(self.left_out)
        return CentredEstimate(self.masks, self.scores).standard_error


def _variance(masks: RandomMasks) -> Tensor:
    """Exact variance of each component of the masks, (components,)."""
    parts = _components(masks.size, masks.grid)
    return masks.probability * (1 - masks.probability) * parts.variance[parts.kept]


def _ridge(gram: Tensor, cross: Tensor, penalty: Tensor) -> Tensor:
    """Slopes (targets, components) of a ridge regression; targets with the same penalty share a factorisation."""
    slope = torch.empty_like(cross)
    for one in penalty.unique():
        same = penalty == one
        # Not torch.linalg.solve of a batch: MKL's batched LU can hang on some processors (torch 2.15).
        factor = torch.linalg.cholesky(gram + one * torch.eye(len(gram), dtype=gram.dtype))
        slope[same] = torch.cholesky_solve(cross[same].T, factor).T
    return slope


# logistic control variate ---------------------------------------------------------------------------------------------


class LogisticEstimate(RidgeEstimate):
    """Logistic control variate: the same estimand again, for probabilities, with less noise still.

    A probability under a mask is far from linear in the mask, but its log odds are nearly so. They are fitted as
    in ``ridge``, which gives a model h = sigmoid(a + b . Z) that costs next to nothing to evaluate. Then

        Cov(f, Z) = Cov(h, Z) + Cov(f - h, Z)

    the first from thousands of further masks, which the explained model never sees, and the second from the scores,
    both with the ridge control variate. Like that it holds for any h that does not depend on the masks. Scores
    outside 0 to 1 are no probabilities: for these targets it is ``ridge``.
    """

    @cached_property
    def _is_probability(self) -> Tensor:
        """(targets,)."""
        return (self.scores.amin(1) >= -1e-6) & (self.scores.amax(1) <= 1 + 1e-6)

    @cached_property
    def _log_odds(self) -> Tensor:
        """(targets, n), of scores that are moved away from 0 and 1, where rounding is all that differs."""
        return self.scores.clamp(_EDGE, 1 - _EDGE).logit()

    @cached_property
    def _of_log_odds(self) -> tuple[Tensor, Tensor]:
        return self._unit_sums(self._log_odds)

    @cached_property
    def _penalties(self) -> tuple[Tensor, Tensor]:
        """(targets,) of the fit of the log odds and of that of the rest, both chosen on all masks."""
        cross, level = (part.sum(0) for part in self._of_log_odds)
        first = self._best_penalty(_Sums(cross, level, self._log_odds.square().sum(1)))
        everything = torch.ones(1, self.units.count, dtype=torch.float64)
        slope, start = self._fits(everything, first)
        rest = self._rest(everything, slope, start)
        return first, self._best_penalty(_Sums(*(part[0] for part in rest)))

    def _fits(self, picks: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
        """Slopes (k, targets, components) and intercepts (k, targets) of the log odds, from some units each."""
        cross, level = self._of_log_odds
        slopes, starts = [], []
        for pick in picks:
            mean, total = pick @ level / (pick @ self.units.sizes), pick @ self._design.total
            gram = torch.tensordot(pick, self._design.gram, 1)
            slope = _ridge(gram, torch.tensordot(pick, cross, 1) - mean[:, None] * total, penalty)
            slopes.append(slope)
            starts.append(mean - slope @ (total / (pick @ self.units.sizes)))
        return torch.stack(slopes), torch.stack(starts)

    def _rest(self, picks: Tensor, slopes: Tensor, starts: Tensor) -> _Sums:
        """Sums of f - h over some units each: (k, targets, ...)."""
        cross = torch.zeros_like(slopes)
        level, power = torch.zeros_like(starts), torch.zeros_like(starts)
        for part in _projected(self.masks, self.scores.shape[1]):
            used = picks[:, part.units].T[:, :, None, None]  # (groups, k, 1, 1)
            model = _modelled(part, slopes, starts)  # (groups, k, targets, masks)
            rest = (part.of(self.scores).unsqueeze(1) - model) * used
            cross += part.cross(rest.flatten(1, 2)).sum(0).view(cross.shape)
            level += rest.sum((0, 3))
            power += rest.square().sum((0, 3))
        return _Sums(cross, level, power)

    def _covariances(self, chosen: Tensor) -> Tensor:
        if not self._is_probability.any():
            return super()._covariances(chosen)
        picks, (first, second) = chosen.double(), self._penalties
        slopes, starts = self._fits(picks, first)
        rest = self._rest(picks, slopes, starts)
        sampled = [self._covariance(pick, rest.cross[row], rest.level[row], second) for row, pick in enumerate(picks)]
        result = torch.stack(sampled) + _covariance_of_model(self.masks, slopes, starts)
        if not self._is_probability.all():
            others = ~self._is_probability
            result[:, others] = super()._covariances(chosen)[:, others]
        return result


def _modelled(part: _Part, slopes: Tensor, starts: Tensor) -> Tensor:
    """The model h = sigmoid(a + b . Z), (groups, k, targets, masks)."""
    odds = part.predicted(slopes.flatten(0, 1)).unflatten(1, starts.shape)
    return odds.add_(starts.unsqueeze(2)).sigmoid_()


def _covariance_of_model(masks: RandomMasks, slopes: Tensor, starts: Tensor) -> Tensor:
    """Cov(h, Z), (k, targets, components), from masks of its own, with their exact regression as control variate."""
    fresh = RandomMasks(masks.size, masks.grid, masks.probability, _FRESH_SEED, "auto")
    count = -(-_FRESH_MASKS // fresh.block) * fresh.block
    gram, total, factor = _fresh_design(fresh, count)
    cross, level = torch.zeros_like(slopes), torch.zeros_like(starts)
    for part in _projected(fresh, count):
        model = _modelled(part, slopes, starts)
        cross += part.cross(model.flatten(1, 2)).sum(0).view(cross.shape)
        level += model.sum((0, 3))
    cross = (cross - (level / count).unsqueeze(2) * total).flatten(0, 1)
    slope = torch.cholesky_solve(cross.T, factor).T
    return (_variance(masks) * slope + (cross - slope @ gram) / count).view(slopes.shape)


@lru_cache(maxsize=3)
def _fresh_design(fresh: RandomMasks, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Z^T Z, sum Z, and a factor of the first with a small penalty."""
    gram = sum(one for part in _projected(fresh, count) for _, one in part.grams())
    total = sum(part.total().sum(0) for part in _projected(fresh, count))
    assert isinstance(gram, Tensor)
    assert isinstance(total, Tensor)
    small = 1e-6 * gram.diagonal().max() * torch.eye(len(gram), dtype=torch.float64)
    return gram, total, torch.linalg.cholesky(gram + small)


estimators.add("logistic", LogisticEstimate)
estimators.add("ridge", RidgeEstimate)
estimators.add("centred", CentredEstimate)
estimators.add("normalised", NormalisedEstimate)
estimators.add("rise", RISEEstimate)
