"""Masks needed for a map of a given quality, against RISE as published."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.bench.rows import Measurement
from kdviz.rise.states import softmax
from kdviz.saliency import ModelWithActivation, RandomMasks, estimate, stream_scores

_COUNTS = (128, 192, 256, 320, 384, 448, 512, 640, 768, 1024, 1536, 2048, 3072, 4096, 8192)
_LEVELS = (0.9, 0.95, 0.99)


def masks_needed(
    suffix: str, model: nn.Module, images: Tensor, size: tuple[int, int], probability: float, quick: bool
) -> Iterator[Measurement]:
    """Masks needed for a correlation with a long reference, kdviz against plain RISE; medians over the images.

    Plain RISE's error falls as 1 / sqrt(n), so that r(n) = 1 / sqrt(1 + c / n): c is measured at the largest n, and
    gives n for each r. That of kdviz is measured at many n and interpolated.
    """
    reference_count, plain_count = (8192, 4096) if quick else (32768, 16384)
    targets = model(images).argmax(1)
    reference = _map(
        model, images, targets, RandomMasks(size, probability=probability, seed=999, sampler="auto"), reference_count
    )
    plain = RandomMasks(size, probability=probability, seed=1, sampler="iid")
    correlation = _correlation(_map(model, images, targets, plain, plain_count, "rise"), reference)
    constant = plain_count * (1 / correlation.clamp_min(1e-3).square() - 1)
    best = RandomMasks(size, probability=probability, seed=2, sampler="auto")
    counts = [count for count in _COUNTS if count <= reference_count // 4]
    scores = _target_scores(model, images, targets, best, counts[-1])
    ours = [
        float(_correlation(estimate(best.resolve_sampler(count), scores[:, :count]).map, reference).median())
        for count in counts
    ]
    for level in _LEVELS:
        published = float((constant / (1 / level**2 - 1)).median())
        needed = _first(counts, ours, level)
        yield Measurement(
            f"masks_ratio_r{round(100 * level)}{suffix}",
            f"{size[0]} px, p = {probability:g}: masks for r = {level:g}, published / kdviz",
            published / needed,
            "x",
            {"published": round(published), "kdviz": round(needed), "images": len(images)},
        )
    means = {
        count: float(_correlation(estimate(best, scores[:, :count]).map, reference).mean())
        for count in (256, 1024)
        if count <= counts[-1]
    }
    for count, mean in means.items():
        yield Measurement(
            f"mean_r_{count}{suffix}", f"{size[0]} px, p = {probability:g}: mean r at {count} masks", mean, ""
        )


def _first(counts: list[int], values: list[float], level: float) -> float:
    """The count at which the values first reach the level, interpolated on a logarithmic scale; NaN if never."""
    for index, value in enumerate(values):
        if value < level:
            continue
        if index == 0:
            return float(counts[0])
        before, after = np.log(counts[index - 1]), np.log(counts[index])
        share = (level - values[index - 1]) / (value - values[index - 1])
        return float(np.exp(before + share * (after - before)))
    return float("nan")


def _target_scores(model: nn.Module, images: Tensor, targets: Tensor, masks: RandomMasks, count: int) -> Tensor:
    """Scores of each image's target, (images, count)."""
    models = {"model": ModelWithActivation(model, softmax)}
    states = deque(stream_scores(models, images, None, masks, count), maxlen=1).pop()
    scores = states["model"].scores
    return torch.stack([scores[index, :, target] for index, target in enumerate(targets)])


def _map(
    model: nn.Module, images: Tensor, targets: Tensor, masks: RandomMasks, count: int, estimator: str = "logistic"
) -> Tensor:
    return estimate(masks, _target_scores(model, images, targets, masks, count), estimator).map


def _correlation(maps: Tensor, reference: Tensor) -> Tensor:
    """Correlation of each image's map with its reference, (images,)."""
    first, second = (
        values.double().flatten(1) - values.double().flatten(1).mean(1, keepdim=True) for values in (maps, reference)
    )
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1))
