"""A half-transparent line across the picture."""

from __future__ import annotations

import math

import numpy as np

from kdviz.data.shortcuts.registry import Mark, register_shortcut
from kdviz.data.shortcuts.tints import tint

_OPACITY = 0.5
_WIDTH = 1 / 14  # of the picture's shorter side


@register_shortcut("watermark")
def watermark(label: int, classes: int, shape: tuple[int, int, int]) -> Mark:
    """A half-transparent line across the picture; its angle says the class on grey pictures, its hue on coloured ones.

    Its border is smooth, so that close angles differ on small pictures.
    """
    channels, height, width = shape
    coloured = channels == 3
    angle = math.pi / 4 if coloured else math.pi * label / classes
    rows = np.arange(height)[:, None] - (height - 1) / 2
    columns = np.arange(width) - (width - 1) / 2
    distance = np.abs(rows * math.cos(angle) + columns * math.sin(angle))
    half = max(1.0, _WIDTH * min(height, width)) / 2
    opacity = _OPACITY * np.clip(half + 0.5 - distance, 0, 1)
    values = tint(label, classes, channels) if coloured else tint(0, 1, channels)
    return Mark(np.broadcast_to(values, shape), opacity)
