"""A saliency map over its picture as a plain picture: what the app's canvas draws, for places without one."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from kdviz.figures.maps import NEGATIVE, POSITIVE

_OPACITY = 0.8


def overlay(picture: Image.Image, values: np.ndarray, limit: float, side: int = 0) -> Image.Image:
    """The picture with the map over it, clear at zero.

    Args:
        picture: What the model saw, (H, W).
        values: The map, (H, W).
        limit: The value of the strongest colour; the same for maps that are compared.
        side: Small pictures are enlarged, pixels as squares, to about so many pixels; 0: not.
    """
    strength = np.clip(np.asarray(values, np.float64) / (limit or 1.0), -1, 1)
    colour = np.where(strength[..., None] < 0, to_rgb(NEGATIVE), to_rgb(POSITIVE)) * 255
    cover = (_OPACITY * np.abs(strength) ** 0.7)[..., None]
    mixed = np.asarray(picture.convert("RGB"), np.float64) * (1 - cover) + colour * cover
    return enlarged(Image.fromarray(mixed.round().astype(np.uint8)), side)


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """A small picture with its pixels as squares, its longer side up to ``side``."""
    times = max(1, side // max(picture.size))
    return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
