"""A saliency map over its picture as a plain image, as the app's canvas draws it, for pages without a canvas."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from kdviz.figures.maps import NEGATIVE, POSITIVE

_OPACITY = 0.8


def overlay(picture: Image.Image, values: np.ndarray, limit: float, side: int = 0) -> Image.Image:
    """The picture with the map over it, which is transparent at zero.

    Args:
        picture: The picture as the model saw it, (H, W).
        values: The map, (H, W).
        limit: Value with the strongest colour; the same for maps that are compared.
        side: Side in pixels up to which small pictures are enlarged, their pixels as squares; 0: not at all.
    """
    strength = np.clip(np.asarray(values, np.float64) / (limit or 1.0), -1, 1)
    colour = np.where(strength[..., None] < 0, to_rgb(NEGATIVE), to_rgb(POSITIVE)) * 255
    opacity = (_OPACITY * np.abs(strength) ** 0.7)[..., None]
    blended = np.asarray(picture.convert("RGB"), np.float64) * (1 - opacity) + colour * opacity
    return enlarged(Image.fromarray(blended.round().astype(np.uint8)), side)


def enlarged(picture: Image.Image, side: int) -> Image.Image:
    """A small picture enlarged by a whole factor, its pixels as squares, its longer side at most ``side`` pixels."""
    factor = max(1, side // max(picture.size))
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
