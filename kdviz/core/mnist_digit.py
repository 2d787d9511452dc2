"""Conversion of a photograph of a handwritten digit to MNIST's layout."""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image
from scipy import ndimage

from kdviz.core.errors import ImageError

_DIGIT_BOX = 20  # MNIST digits fit a 20 x 20 box ...
_DIGIT_CANVAS = 28  # ... whose centre of mass is in the middle of 28 x 28 (LeCun et al., 1998),
_DIGIT_CENTRE = 14.5  # which is the centre of pixel 14, as measured on MNIST, not the corner between 13 and 14
_WORKING_SIDE = 512  # photos are shrunk to this before thresholding: enough for a digit, and fast


def mnist_digit(image: Image.Image) -> Image.Image:
    """Convert a photo, scan or drawing of one digit to MNIST's layout.

    That is white on black, in a 20 x 20 box, with the centre of mass in the middle of 28 x 28 (LeCun et al., 1998). The
    background may be darker or lighter than the digit and may change slowly over the picture. A 28 x 28 picture is
    assumed to have that layout already.

    Returns:
        A 28 x 28 picture in mode ``L``.

    Raises:
        ImageError: Nothing in the picture stands out from its background.
    """
    grey = image.convert("L")
    if grey.size == (_DIGIT_CANVAS, _DIGIT_CANVAS):
        return grey
    ink = _ink(_shrink(grey))
    rows, columns = np.flatnonzero(ink.max(1) > 0.25), np.flatnonzero(ink.max(0) > 0.25)
    if not len(rows) or not len(columns):
        raise ImageError("No digit stands out in this picture; please use one with a clear stroke.")
    digit = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return _centre(digit)


def _shrink(grey: Image.Image) -> np.ndarray:
    # The short side keeps a few pixels; otherwise a very long strip would vanish.
    scale = min(1.0, _WORKING_SIDE / max(grey.size))
    size = (max(8, round(grey.width * scale)), max(8, round(grey.height * scale)))
    return np.asarray(grey.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)) / 255.0


def _ink(grey: np.ndarray) -> np.ndarray:
    """Strength of the strokes in [0, 1], (H, W): the difference of each pixel from the background."""
    paper = _background(grey)
    difference = grey - paper
    # The digit is what differs most from the paper; the sign of its strongest part is its polarity.
    dark, light = -np.percentile(difference, 1), np.percentile(difference, 99)
    strokes = np.clip(difference if light > dark else -difference, 0, None)
    peak = np.percentile(strokes, 99.5)
    if peak < 0.06:
        return np.zeros_like(grey)
    threshold = _otsu(strokes)
    # A soft edge around the threshold keeps the anti-aliasing that MNIST's digits have.
    ink = np.clip((strokes - 0.5 * threshold) / max(peak - 0.5 * threshold, 1e-6), 0, 1)
    return _largest_parts(ink)


def _background(grey: np.ndarray) -> np.ndarray:
    """A plane fitted to the picture's border, which estimates the paper without the digit."""
    height, width = grey.shape
    margin = max(1, round(0.06 * min(height, width)))
    y, x = np.mgrid[0:height, 0:width]
    border = (y < margin) | (y >= height - margin) | (x < margin) | (x >= width - margin)
    design = np.stack([np.ones(border.sum()), y[border] / height, x[border] / width], 1)
    values = grey[border]
    keep = np.ones(len(values), bool)
    coefficients = np.array([np.median(values), 0.0, 0.0])
    for _ in range(3):  # a stroke that touches the border must not tilt the plane
        coefficients = np.linalg.lstsq(design[keep], values[keep], rcond=None)[0]
        residual = np.abs(values - design @ coefficients)
        keep = residual <= np.quantile(residual, 0.8) + 1e-9
    return coefficients[0] + coefficients[1] * y / height + coefficients[2] * x / width


def _otsu(values: np.ndarray) -> float:
    """The threshold that maximises the variance between two classes (Otsu, 1979)."""
    counts, edges = np.histogram(values, bins=128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(between[:-1]))])


def _largest_parts(ink: np.ndarray) -> np.ndarray:
    """Remove specks: connected components with less than a twelfth of the ink of the largest one."""
    result = ndimage.label(ink > 0.25, structure=np.ones((3, 3)))
    labels, count = cast("tuple[np.ndarray, int]", result)
    if count <= 1:
        return ink
    weights = np.bincount(labels.ravel(), weights=ink.ravel(), minlength=count + 1)
    weights[0] = 0
    speck = weights < weights.max() / 12
    speck[0] = False
    return np.where(speck[labels], 0, ink)


def _centre(digit: np.ndarray) -> Image.Image:
    height, width = digit.shape
    scale = _DIGIT_BOX / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = Image.fromarray((digit * 255).round().astype(np.uint8)).resize(size, Image.Resampling.LANCZOS)
    values = np.asarray(small, dtype=np.float64)
    values *= 255 / max(values.max(), 1)
    total = values.sum()
    top = _DIGIT_CENTRE - ((values.sum(1) / total) @ (np.arange(size[1]) + 0.5))
    left = _DIGIT_CENTRE - ((values.sum(0) / total) @ (np.arange(size[0]) + 0.5))
    top = int(np.clip(round(top), 0, _DIGIT_CANVAS - size[1]))
    left = int(np.clip(round(left), 0, _DIGIT_CANVAS - size[0]))
    canvas = np.zeros((_DIGIT_CANVAS, _DIGIT_CANVAS), np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = values.round().astype(np.uint8)
    return Image.fromarray(canvas)
