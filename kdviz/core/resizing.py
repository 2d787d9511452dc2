"""Geometry of resizing and cropping pictures for models, and the same for regions of pictures.

A region's value in a pixel of a model's input is the share of the pixel's area that lies inside, computed exactly; a
picture's filter, such as bicubic, would give values around the region's border that are no shares.
"""

from __future__ import annotations

import numpy as np

Size = tuple[int, int]
"""Height and width."""


def resized_size(size: Size, resize: int | Size) -> Size:
    """Height and width after resizing; the long side is rounded down, as in torchvision.

    Args:
        size: Height and width before.
        resize: The short side, or height and width.
    """
    if isinstance(resize, tuple):
        return resize
    height, width = size
    if width <= height:
        return int(resize * height / width), resize
    return resize, int(resize * width / height)


def crop_offset(side: int, target: int) -> int:
    """Offset of the centre crop; negative if the picture has to be padded, where torchvision rounds differently."""
    return round((side - target) / 2) if side >= target else -((target - side) // 2)


def covering_box(size: Size, target: Size) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest part around the centre that has the target's proportions."""
    scale = max(target[0] / size[0], target[1] / size[1])
    height, width = min(target[0] / scale, size[0]), min(target[1] / scale, size[1])
    left, top = (size[1] - width) / 2, (size[0] - height) / 2
    return left, top, left + width, top + height


def fitted_region(mask: np.ndarray, target: Size) -> np.ndarray:
    """A region as :func:`kdviz.core.images.fit_to` fits its picture, float32 (h, w), in [0, 1].

    Args:
        mask: bool (H, W), in the picture's own size.
        target: Height and width of the input.
    """
    left, top, right, bottom = covering_box(_size(mask), target)
    return area_shares(mask, np.linspace(top, bottom, target[0] + 1), np.linspace(left, right, target[1] + 1))


def cropped_region(mask: np.ndarray, resize: int | Size, target: Size) -> np.ndarray:
    """A region as :func:`kdviz.core.images.resize_and_crop` treats its picture, float32 (h, w), in [0, 1].

    Args:
        mask: bool (H, W), in the picture's own size.
        resize: The short side in pixels, or height and width.
        target: Height and width of the crop; nothing beyond the picture is inside.
    """
    size = _size(mask)
    edges = [
        (crop_offset(resized, side) + np.arange(side + 1)) * (own / resized)
        for own, resized, side in zip(size, resized_size(size, resize), target, strict=True)
    ]
    return area_shares(mask, *edges)


def area_shares(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The share of each cell of a grid that lies inside a region, float32 (h, w), in [0, 1].

    Args:
        mask: bool (H, W).
        rows, columns: Edges of the cells in the mask's pixels, (h + 1,) and (w + 1,), ascending.
    """
    inside = _between(_between(mask.astype(np.float64), rows).T, columns).T
    cells = np.diff(rows)[:, None] * np.diff(columns)
    return np.clip(inside / cells, 0.0, 1.0).astype(np.float32)


def _between(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Integrals along the first axis from each edge to the next, (len(edges) - 1, ...)."""
    integral = np.concatenate([np.zeros_like(values[:1]), values.cumsum(0)])
    places = np.clip(edges, 0, len(values))
    below = np.minimum(places.astype(np.int64), len(values) - 1)
    at_edges = integral[below] + (places - below)[:, None] * values[below]
    return np.diff(at_edges, axis=0)


def _size(mask: np.ndarray) -> Size:
    return mask.shape[0], mask.shape[1]
