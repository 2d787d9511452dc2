"""The colours of marks: hues on coloured pictures, which survive mirroring, and levels of grey on grey ones."""

from __future__ import annotations

import colorsys

import numpy as np


def tint(number: int, count: int, channels: int) -> np.ndarray:
    """One of ``count`` colours: uint8 (channels, 1, 1). The first grey level is white, the last is not black."""
    if channels == 3:
        rgb = colorsys.hsv_to_rgb(number / count, 1.0, 1.0)
        return np.round(255 * np.array(rgb)).astype(np.uint8)[:, None, None]
    return np.full((channels, 1, 1), round(255 * (count - number) / count), np.uint8)
