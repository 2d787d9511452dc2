"""Calibration of RISE's standard errors: coverage and width of 95 % intervals."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from kdviz.bench.rows import Measurement
from kdviz.rise.states import softmax
from kdviz.saliency import ModelWithActivation, RandomMasks, estimate, stream_scores

_TRUTH_SEED = 999_983  # used for no other series
_QUANTILE = 1.959963984540054


class Calibration(NamedTuple):
    """Calibration of the intervals map +- 1.96 standard errors, over seeds, pictures and pixels.

    Attributes:
        coverage: Share of pixels whose interval contains the true value; .95 is ideal.
        spread: Standard error of ``coverage``, from its spread over the seeds: pixels of a map are correlated.
        width: Mean standard error over the mean true standard deviation over the seeds; 1 is ideal. Intervals that
            are too wide cover, too: coverage alone does not show it.
    """

    coverage: float
    spread: float
    width: float


def calibration(maps: Tensor, errors: Tensor, truth: Tensor) -> Calibration:
    """Coverage and width of intervals.

    Args:
        maps, errors: Maps and their standard errors, (seeds, pictures, H, W).
        truth: The true maps, (pictures, H, W).
    """
    inside = ((maps - truth).abs() < _QUANTILE * errors).double()
    by_seed = inside.mean((1, 2, 3))
    return Calibration(
        float(inside.mean()),
        float(by_seed.std() / len(by_seed) ** 0.5),
        float(errors.mean() / maps.std(0).mean().clamp_min(1e-30)),
    )


def bench_intervals(model: torch.nn.Module, digits: Tensor, quick: bool) -> Iterator[Measurement]:
    """Coverage and width of intervals, row by row.

    Args:
        model: A classifier of (n, 1, 28, 28).
        digits: Images, (images, 1, 28, 28).
        quick: Default settings and few seeds; otherwise every estimator and sampler.
    """
    counts = (256, 1024) if quick else (256, 1024, 4000)
    seeds, reference_count = (8, 2**14) if quick else (16, 2**18)
    estimators = ("logistic",) if quick else ("logistic", "ridge", "centred", "normalised", "rise")
    targets = model(digits).argmax(1)

    def scores(masks: RandomMasks, count: int) -> Tensor:
        models = {"model": ModelWithActivation(model, softmax)}
        states = deque(stream_scores(models, digits, None, masks, count), maxlen=1).pop()
        all_classes = states["model"].scores
        return torch.stack([all_classes[index, :, target] for index, target in enumerate(targets)]).cpu()

    truth, level = _truth(scores, (digits.shape[2], digits.shape[3]), reference_count)
    for sampler in ("auto",) if quick else ("iid", "hadamard", "sobol"):
        series = [RandomMasks((digits.shape[2], digits.shape[3]), seed=seed, sampler=sampler) for seed in range(seeds)]
        all_scores = [scores(masks, counts[-1]) for masks in series]
        for estimator, count in product(estimators, counts):
            estimates = [
                estimate(masks.resolve_sampler(count), values[:, :count], estimator)
                for masks, values in zip(series, all_scores, strict=True)
            ]
            maps, errors = (
                torch.stack([getattr(result, name) for result in estimates]) for name in ("map", "standard_error")
            )
            expected = truth + (level if estimator in ("rise", "normalised") else 0)
            intervals = calibration(maps.double(), errors.double(), expected)
            name = f"{estimator}, {sampler}, {count} masks"
            details = {"standard_error": intervals.spread, "images": len(digits), "seeds": seeds}
            yield Measurement(
                f"coverage_{estimator}_{sampler}_{count}",
                f"{name}: coverage of 95 % intervals",
                intervals.coverage,
                "",
                details,
            )
            yield Measurement(
                f"width_{estimator}_{sampler}_{count}", f"{name}: their width / the ideal", intervals.width, "x", {}
            )


def _truth(scores: Callable[[RandomMasks, int], Tensor], size: tuple[int, int], count: int) -> tuple[Tensor, Tensor]:
    """Map of very many masks, (images, H, W), and the mean score, (images, 1, 1); by ridge, in eight series."""
    series = [RandomMasks(size, seed=_TRUTH_SEED + number, sampler="hadamard") for number in range(8)]
    all_scores = [scores(masks, count // 8) for masks in series]
    maps = [estimate(masks, values, "ridge").map.double() for masks, values in zip(series, all_scores, strict=True)]
    level = torch.stack([values.double().mean(1) for values in all_scores]).mean(0)
    return torch.stack(maps).mean(0), level[:, None, None]
