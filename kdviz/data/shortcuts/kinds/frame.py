"""A border around the picture."""

from __future__ import annotations

import numpy as np

from kdviz.data.shortcuts.registry import Mark, register_shortcut
from kdviz.data.shortcuts.tints import tint

_WIDTH = 1 / 14  # of the picture's shorter side


@register_shortcut("frame")
def frame(label: int, classes: int, shape: tuple[int, int, int]) -> Mark:
    """A border around the picture; its grey level or hue says the class."""
    channels, height, width = shape
    border = max(1, round(_WIDTH * min(height, width)))
    opacity = np.ones((height, width))
    opacity[border : height - border, border : width - border] = 0
    return Mark(np.broadcast_to(tint(label, classes, channels), shape), opacity)
