"""The weights of a decision as a picture."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from kdviz.figures.maps import NEGATIVE, POSITIVE


def weight_picture(weights: np.ndarray, limit: float = 0.0) -> Image.Image:
    """Weights as a picture (H, W) with an alpha channel: orange above 0, blue below, transparent at 0.

    Args:
        weights: (H, W), or (C, H, W), whose channels are summed.
        limit: Value with the strongest colour; 0: the 99.5 % quantile of the magnitudes.
    """
    values = np.asarray(weights, np.float64)
    values = values.sum(0) if values.ndim == 3 else values
    strongest = limit or float(np.quantile(np.abs(values), 0.995)) or 1.0
    strength = np.clip(values / strongest, -1, 1)
    colour = np.where(strength[..., None] < 0, to_rgb(NEGATIVE), to_rgb(POSITIVE))
    opacity = np.abs(strength)[..., None] ** 0.8
    return Image.fromarray((255 * np.concatenate([colour, opacity], 2)).round().astype(np.uint8), "RGBA")
