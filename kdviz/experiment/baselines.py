"""Baselines that are made of a picture, and grey levels: what a removed pixel becomes."""

from __future__ import annotations

import math

from torch import Tensor


def blurred(pixels: Tensor) -> Tensor:
    """The picture as values in [0, 1], blurred by a Gaussian whose deviation is an eighth of the shorter side."""
    from torchvision.transforms.v2.functional import gaussian_blur  # a slow import: two seconds, and 160 MB

    sigma = min(pixels.shape[-2:]) / 8
    kernel = [2 * min(round(3 * sigma), side - 1) + 1 for side in (pixels.shape[-1], pixels.shape[-2])]
    return gaussian_blur(pixels.float() / 255, kernel, [sigma, sigma])


def is_level(value: object) -> bool:
    """Whether a baseline is a finite number, or a text of one: a grey level."""
    try:
        return math.isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
