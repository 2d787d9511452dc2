"""Baselines that are made of a picture, and grey levels: what a removed pixel becomes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.models.inputs import BASELINES

MORE_BASELINES = ("blur", "noise")
"""Baselines of which each picture, or each seed, has its own."""


def require_baseline(what: Any) -> None:
    """Check what was named as a baseline: a name, a grey level or the path of a picture.

    Raises:
        UnknownNameError, SettingError: There is no such baseline.
    """
    if what in (*BASELINES, *MORE_BASELINES) or Path(what).is_file():
        return
    if not is_level(what):
        raise UnknownNameError("baseline", str(what), (*BASELINES, *MORE_BASELINES))
    if not 0 <= float(what) <= 1:
        raise SettingError("A baseline's grey level goes from 0 to 1, got {level:g}.", level=float(what))


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
