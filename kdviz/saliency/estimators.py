"""From scores of masked images to a saliency map, its standard error and its two halves.

Notation: M_i is mask i, f_i the score of the image under it, n the number of masks, p the expected mask
value at each pixel. Every estimator's map has the unit of the score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from kdviz.errors import SettingError
from kdviz.registry import Registry
from kdviz.saliency.masks import RandomMasks

MINIMUM_MASKS = 4
_ELEMENTS_AT_ONCE = 8_000_000  # masks x pixels made at a time: 32 MB


class Estimate(NamedTuple):
    """What n masks say.

    Attributes:
        map: float32 (targets, H, W).
        standard_error: float32 (targets, H, W), of the map.
        halves: float32 (2, targets, H, W), maps from the even and from the odd masks alone: independent
            estimates of the same thing, for the noise ceiling.
    """

    map: Tensor
    standard_error: Tensor
    halves: Tensor


class _Form(NamedTuple):
    """An estimator as sum of weight(f)_i * (M_i - offset) / p over n - lost."""

    weights: Callable[[Tensor], Tensor]
    offset: Callable[[float], float]
    lost: int


estimators: Registry[_Form] = Registry("estimator")

# S = sum_i f_i M_i / (n p): Petsiuk et al. (2018), eq. 6. Unbiased for E[f M] / p. The common level of the
# scores multiplies the masks' own noise, which is why it needs about five times the masks.
estimators.add("rise", _Form(lambda scores: scores, lambda p: 0.0, 0))

# S = sum_i (f_i - mean f)(M_i - p) / ((n - 1) p): unbiased for Cov(f, M) / p, the published map's estimand
# less the constant E[f]. Zero means: keeping the pixel does not change the score on average.
estimators.add("centred", _Form(lambda scores: scores - scores.mean(1, keepdim=True), lambda p: p, 1))


def estimate(masks: RandomMasks, scores: Tensor, estimator: str = "centred") -> Estimate:
    """Maps of several targets from their scores under masks 0 to n - 1.

    The standard error is that of a mean of n independent terms u_i: sqrt(var(u) / (n - 1)).

    Args:
        masks: The series of masks.
        scores: (targets, n).
        estimator: A name in ``estimators``.

    Raises:
        SettingError: Fewer than four masks (two for each half).
        UnknownNameError: No such estimator.
    """
    form = estimators[estimator]
    targets, count = scores.shape
    if count < MINIMUM_MASKS:
        raise SettingError(f"A map with its halves needs at least {MINIMUM_MASKS} masks, got {count}.")
    scores = scores.double()
    weights = form.weights(scores)
    stacked = torch.cat([weights, _half(form, scores, 0), _half(form, scores, 1)])  # (3 * targets, n)
    pixels = masks.size[0] * masks.size[1]
    sums = torch.zeros(len(stacked), pixels, dtype=torch.float64, device=scores.device)
    squares = torch.zeros(targets, pixels, dtype=torch.float64, device=scores.device)
    for start, part in _rendered(masks, count, scores.device):
        terms = (part.flatten(1) - form.offset(masks.probability)) / masks.probability  # (chunk, H * W)
        chunk = stacked[:, start : start + len(part)].float()
        sums += chunk @ terms
        squares += chunk[:targets].square() @ terms.square()
    full, even, odd = sums.split(targets)
    variance = (squares / count - (full / count).square()).clamp_min(0) / (count - 1)
    both = torch.stack([even / ((count + 1) // 2 - form.lost), odd / (count // 2 - form.lost)])
    shape = (targets, *masks.size)
    return Estimate(
        map=(full / (count - form.lost)).float().view(shape),
        standard_error=variance.sqrt().float().view(shape),
        halves=both.float().view(2, *shape),
    )


def _half(form: _Form, scores: Tensor, first: int) -> Tensor:
    """Weights of every second mask alone, (targets, n), zero for the others."""
    weights = torch.zeros_like(scores)
    weights[:, first::2] = form.weights(scores[:, first::2])
    return weights


def _rendered(masks: RandomMasks, count: int, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    step = max(64, _ELEMENTS_AT_ONCE // (masks.size[0] * masks.size[1]))
    for start in range(0, count, step):
        yield start, masks.render(start, min(start + step, count), device)
