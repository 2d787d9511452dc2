"""From scores of masked images to a saliency map, its standard error and its two halves.

Notation: M_i is mask i, f_i the score of the image under it, n the number of masks, p the expected mask
value at each pixel. Every estimator's map has the unit of the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from scipy import stats
from torch import Tensor

from kdviz.errors import SettingError
from kdviz.registry import Registry
from kdviz.saliency.masks import RandomMasks

MINIMUM_MASKS = 4
_ELEMENTS_AT_ONCE = 8_000_000  # masks x pixels made at a time: 32 MB
_MOST_UNITS = 16  # groups of masks for a standard error: more would cost time and add little
_KEPT_VARIANCE = 1 - 1e-4  # of the masks, by the components in which scores are fitted
_PENALTIES = torch.logspace(-6, 4, 41, dtype=torch.float64)


class Estimate(NamedTuple):
    """What n masks say.

    Attributes:
        map: float32 (targets, H, W).
        standard_error: float32 (targets, H, W), of the map.
        halves: float32 (2, targets, H, W), maps from two independent halves of the masks, for the noise ceiling.
    """

    map: Tensor
    standard_error: Tensor
    halves: Tensor


Estimator = Callable[[RandomMasks, Tensor], Estimate]

estimators: Registry[Estimator] = Registry("estimator")


def estimate(masks: RandomMasks, scores: Tensor, estimator: str = "ridge") -> Estimate:
    """Maps of several targets from their scores under masks 0 to n - 1.

    With independent masks the standard error comes from the spread of single masks. Masks of one block
    depend on each other, so it then comes from the spread of blocks, times the quantile of Student's t over
    that of the normal: map +- 1.96 standard errors is a 95 % interval also when the blocks are few. One block alone
    has one shift and cannot show how much shifts matter; until it is full, its masks are treated as if independent,
    which errs on the wide side.

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
    return chosen(masks, scores.double())


def _as_if_independent(masks: RandomMasks, count: int) -> bool:
    return masks.independent or count <= masks.block


@dataclass(frozen=True)
class _Units:
    """Groups of masks that are independent of each other, or nearly: the number of each mask's group, (n,)."""

    numbers: Tensor
    count: int

    @property
    def student(self) -> float:
        """How much wider an interval is with this few groups than with many."""
        return float(stats.t.ppf(0.975, self.count - 1) / stats.norm.ppf(0.975))


def _units(masks: RandomMasks, count: int, device: torch.device, most: int = _MOST_UNITS) -> _Units:
    index = torch.arange(count, device=device)
    if masks.independent:
        size = max(1, -(-count // most))
    elif count > masks.block:
        blocks = -(-count // masks.block)
        size = masks.block * -(-blocks // most)
    else:
        size = max(2, -(-count // 8) // 2 * 2)  # parts of the only block: pairs stay together
    numbers = index // size
    units = int(numbers[-1]) + 1
    if units > 2 and count - (units - 1) * size < size // 2:
        numbers = numbers.clamp_max(units - 2)  # a short last group joins its neighbour
        units -= 1
    return _Units(numbers, units)


def _in_second_half(masks: RandomMasks, count: int, device: torch.device) -> Tensor:
    """Which masks are in the second half, bool (n,): every second independent unit, so that no block is torn apart."""
    if masks.independent:
        return torch.arange(count, device=device) % 2 == 1
    return _units(masks, count, device, count).numbers % 2 == 1


# published and centred ------------------------------------------------------------------------------------------------


class _Form(NamedTuple):
    """An estimator as sum of weight(f)_i * (M_i - offset) / p over n - lost."""

    weights: Callable[[Tensor], Tensor]
    offset: Callable[[float], float]
    lost: int


# S = sum_i f_i M_i / (n p): Petsiuk et al. (2018), eq. 6. Unbiased for E[f M] / p. The common level of the
# scores multiplies the masks' own noise, which is why it needs about five times the masks.
_RISE = _Form(lambda scores: scores, lambda p: 0.0, 0)

# S = sum_i (f_i - mean f)(M_i - p) / ((n - 1) p): unbiased for Cov(f, M) / p, the published map's estimand
# less the constant E[f]. Zero means: keeping the pixel does not change the score on average.
_CENTRED = _Form(lambda scores: scores - scores.mean(1, keepdim=True), lambda p: p, 1)
# Complements add up to one at each pixel, so the mean costs no degree of freedom: n in place of n - 1.
_CENTRED_PAIRS = _CENTRED._replace(lost=0)


@estimators.register("rise")
def rise_estimate(masks: RandomMasks, scores: Tensor) -> Estimate:
    """The published formula: sum f M / (n p) (Petsiuk et al., 2018, eq. 6)."""
    return _weighted(masks, scores, _RISE)


@estimators.register("centred")
def centred_estimate(masks: RandomMasks, scores: Tensor) -> Estimate:
    """The sample covariance of score and mask over p: the published map less the mean score."""
    return _weighted(masks, scores, _CENTRED_PAIRS if masks.paired else _CENTRED)


def _weighted(masks: RandomMasks, scores: Tensor, form: _Form) -> Estimate:
    targets, count = scores.shape
    second = _in_second_half(masks, count, scores.device)
    parts = [torch.ones_like(second), ~second, second]
    weights = torch.cat([_weights(form, scores, part) for part in parts])  # (3 * targets, n)
    units = None if _as_if_independent(masks, count) else _units(masks, count, scores.device)
    if units is not None:  # a row more for each unit and target: the weights of its masks alone
        own = torch.arange(units.count, device=scores.device)[:, None] == units.numbers
        weights = torch.cat([weights, (own[:, None] * weights[:targets]).flatten(0, 1)])
    sums, squares = _sums(masks, weights, form.offset(masks.probability), targets)
    sizes = [int(part.sum()) - form.lost for part in parts]
    maps = [total / size for total, size in zip(sums[: 3 * targets].split(targets), sizes, strict=True)]
    if units is None:
        variance = (squares / count - (sums[:targets] / count).square()).clamp_min(0) / (count - 1)
        error = variance.sqrt()
    else:
        error = _unit_error(sums[3 * targets :].unflatten(0, (units.count, targets)), units, count)
    shape = (targets, *masks.size)
    return Estimate(
        map=maps[0].float().view(shape),
        standard_error=error.float().view(shape),
        halves=torch.stack(maps[1:]).float().view(2, *shape),
    )


def _weights(form: _Form, scores: Tensor, part: Tensor) -> Tensor:
    """Weights of some masks alone, (targets, n), zero for the others."""
    weights = torch.zeros_like(scores)
    weights[:, part] = form.weights(scores[:, part])
    return weights


def _sums(masks: RandomMasks, weights: Tensor, offset: float, targets: int) -> tuple[Tensor, Tensor]:
    """sum_i w_i (M_i - offset) / p for each row of weights; sum of squared terms for the first ``targets`` rows."""
    pixels = masks.size[0] * masks.size[1]
    sums = torch.zeros(len(weights), pixels, dtype=torch.float64, device=weights.device)
    squares = torch.zeros(targets, pixels, dtype=torch.float64, device=weights.device)
    for start, part in _rendered(masks, weights.shape[1], weights.device):
        terms = (part.flatten(1) - offset) / masks.probability  # (chunk, H * W)
        chunk = weights[:, start : start + len(part)].float()
        sums += chunk @ terms
        if _as_if_independent(masks, weights.shape[1]):
            squares += chunk[:targets].square() @ terms.square()
    return sums, squares


def _rendered(masks: RandomMasks, count: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    step = max(64, _ELEMENTS_AT_ONCE // (masks.size[0] * masks.size[1]))
    for start in range(0, count, step):
        yield start, masks.render(start, min(start + step, count), device)


def _unit_error(sums: Tensor, units: _Units, count: int) -> Tensor:
    """Standard error of a mean from the sums of independent units, (units, targets, pixels)."""
    sizes = torch.bincount(units.numbers, minlength=units.count).to(sums)[:, None, None]
    spread = sums - sums.sum(0) / count * sizes
    variance = spread.square().sum(0) * units.count / (units.count - 1) / count**2
    return variance.sqrt() * units.student


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
    """

    rows: Tensor
    columns: Tensor
    variance: Tensor
    kept: Tensor


@lru_cache(maxsize=8)
def _components(size: tuple[int, int], grid: tuple[int, int]) -> _Components:
    sides = []
    for matrices in RandomMasks(size, grid).upsampling:
        wide = matrices.double()  # (shifts, side, cells)
        values, vectors = torch.linalg.eigh((wide @ wide.mT).mean(0))
        order = values.argsort(descending=True)[: 4 * grid[0] * grid[1]]
        sides.append((values[order].clamp_min(0), vectors[:, order]))
    (rows, row_vectors), (columns, column_vectors) = sides
    variance = rows[:, None] * columns
    ranked = variance.flatten().sort(descending=True).values
    enough = int((ranked.cumsum(0) < _KEPT_VARIANCE * ranked.sum()).sum())
    kept = variance >= ranked[min(enough, len(ranked) - 1)]
    a, b = int(kept.any(1).sum()), int(kept.any(0).sum())
    return _Components(row_vectors[:, :a], column_vectors[:, :b], variance[:a, :b], kept[:a, :b])


@estimators.register("ridge")
def ridge_estimate(masks: RandomMasks, scores: Tensor) -> Estimate:
    """Ridge control variate: the same estimand as ``centred``, with less noise.

    A linear model f ~ b . (M - p) is fitted by ridge regression in the masks' principal components Z, its
    penalty by generalised cross-validation (Golub, Heath & Wahba, 1979). The covariance of the fitted part with the
    mask is known exactly, from the masks' covariance; that of the rest is taken from the sample:

        Cov(f, Z) = Var(Z) b + mean of (f - mean f - b . Z) Z

    which holds for any b that does not depend on the masks; a good b leaves little to the sample (control variates:
    Owen, 2013, section 8.9). The standard error is the jackknife's over units of masks, each fitted without one.
    """
    parts = _components(masks.size, masks.grid)
    device = scores.device
    z = _project(masks, scores.shape[1], parts, device)  # (n, components)
    variance = (masks.probability * (1 - masks.probability) * parts.variance[parts.kept]).to(device)
    second = _in_second_half(masks, scores.shape[1], device)
    fit = _Fit.make(z, scores, variance)
    halves = [_Fit.make(z[half], scores[:, half], variance).covariance() for half in (~second, second)]
    values = torch.stack([fit.covariance(), *halves])
    pixels = _to_pixels(values / masks.probability, parts, masks.size).float()  # (3, targets, H, W)
    if not masks.independent and scores.shape[1] <= masks.block:
        return Estimate(pixels[0], centred_estimate(masks, scores).standard_error, pixels[1:])
    units = _units(masks, scores.shape[1], device)
    left_out = _to_pixels(_jackknife(fit, units) / masks.probability, parts, masks.size)
    spread = (left_out - left_out.mean(0)).square().sum(0) * (units.count - 1) / units.count
    return Estimate(pixels[0], (spread.sqrt() * units.student).float(), pixels[1:])


def _project(masks: RandomMasks, count: int, parts: _Components, device: torch.device) -> Tensor:
    """Z: the masks less p in their principal components, float64 (n, components), straight from bits and shifts."""
    rows, columns = (
        vectors.T @ matrices.double()
        for vectors, matrices in zip((parts.rows, parts.columns), masks.upsampling, strict=True)
    )  # (shifts, a, grid rows), (shifts, b, grid columns)
    bits, shifts = masks.draw(0, count)
    products = rows[shifts[:, 0]] @ (bits.double() - masks.probability) @ columns[shifts[:, 1]].mT  # (n, a, b)
    return products[:, parts.kept].to(device)


def _to_pixels(values: Tensor, parts: _Components, size: tuple[int, int]) -> Tensor:
    """Components (..., components) -> pixels (..., H, W)."""
    full = values.new_zeros(*values.shape[:-1], *parts.kept.shape)
    full[..., parts.kept.to(values.device)] = values
    return parts.rows.to(values) @ full @ parts.columns.to(values).T


@dataclass(frozen=True)
class _Fit:
    """Sums over masks from which Cov(f, Z) is estimated; leaving masks out is a subtraction.

    Attributes:
        z: (n, components), centred to the known mean zero.
        scores: (targets, n).
        gram: Z^T Z. cross: scores Z, (targets, components). level: sum of scores. total: sum of Z. count: n.
        variance: (components,), exact.
        penalty: (targets,), of the ridge.
    """

    z: Tensor
    scores: Tensor
    gram: Tensor
    cross: Tensor
    level: Tensor
    total: Tensor
    count: float
    variance: Tensor
    penalty: Tensor

    @classmethod
    def make(cls, z: Tensor, scores: Tensor, variance: Tensor) -> _Fit:
        gram, cross = z.T @ z, scores @ z
        level, total = scores.sum(1), z.sum(0)
        fit = cls(z, scores, gram, cross, level, total, float(len(z)), variance, scores.new_zeros(len(scores)))
        return replace(fit, penalty=_best_penalty(fit))

    def without(self, unit: Tensor) -> _Fit:
        z, scores = self.z[unit], self.scores[:, unit]
        return replace(
            self,
            gram=self.gram - z.T @ z,
            cross=self.cross - scores @ z,
            level=self.level - scores.sum(1),
            total=self.total - z.sum(0),
            count=self.count - len(z),
        )

    def covariance(self) -> Tensor:
        """Cov(f, Z), (targets, components)."""
        mean = self.level / self.count
        cross = self.cross - mean[:, None] * self.total  # sum of (f - mean f) Z
        ridge = self.gram + torch.diag_embed(
            self.penalty[:, None].expand_as(cross)
        )  # (targets, components, components)
        slope = torch.linalg.solve(ridge, cross.unsqueeze(2)).squeeze(2)
        return self.variance * slope + (cross - slope @ self.gram) / self.count


def _best_penalty(fit: _Fit) -> Tensor:
    """For each target the penalty with the least generalised cross-validation error."""
    count = fit.count
    cross = fit.cross - (fit.level / count)[:, None] * fit.total
    power = fit.scores.square().sum(1) - fit.level.square() / count  # (targets,)
    values, vectors = torch.linalg.eigh(fit.gram)
    values = values.clamp_min(0)
    grid = _PENALTIES.to(values) * values.max()
    shrunk = values + grid[:, None]  # (penalties, components)
    degrees = (values / shrunk).sum(1)
    squared = (cross @ vectors).square()  # (targets, components)
    residual = power[:, None] - squared @ ((2 / shrunk - values / shrunk.square()).T)
    error = residual / (1 - (degrees + 1) / count).clamp_min(1e-3).square()
    return grid[error.argmin(1)]


def _jackknife(fit: _Fit, units: _Units) -> Tensor:
    """Cov(f, Z) without each unit in turn, (units, targets, components)."""
    return torch.stack([fit.without(units.numbers == number).covariance() for number in range(units.count)])
