"""Many small pictures from one large one: crops of all sizes, turned, sheared, mirrored, with other contrasts.

Asano and Saeed (2023), "The augmented image prior: distilling 1000 classes by extrapolating from a single image",
section 3.1: their patches are cropped, rotated, sheared and jittered in colour, too.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from kdviz.core.decoding.guarded import open_image_guarded
from kdviz.core.errors import SettingError
from kdviz.core.images import to_grey_or_rgb
from kdviz.experiment import InputSpec
from kdviz.models.inputs import as_tensor

TURN = 35.0
"""Degrees by which a crop is turned at most, and sheared at half that."""

_AT_ONCE = 1_024  # pictures
_SMALLEST, _LARGEST = 0.4, 1.4  # side of a crop, in sides of the small picture


def crops_of_file(path: Path, spec: InputSpec, count: int, seed: int) -> Tensor:
    """Pictures from a file: see :func:`crops_of`.

    Raises:
        ImageError: The file is no picture.
        SettingError: It is smaller than the pictures that are to be made.
    """
    return crops_of(open_image_guarded(path), spec, count, seed)


def crops_of(picture: Image.Image, spec: InputSpec, count: int, seed: int) -> Tensor:
    """Small pictures from a large one, uint8 (count, C, H, W).

    Each is cut from one of several scales of the picture, so that none is shrunk or enlarged much.

    Args:
        picture: Grey or colour, of any size from that of the small pictures on.
        spec: Size and channels of the small pictures.
        count: Number of them.
        seed: Seed of all chance.

    Raises:
        SettingError: The picture is too small.
    """
    if min(picture.size) < max(spec.size):
        raise SettingError(
            "The picture has {width} x {height} pixels; to be cut into pictures of {size}, it must be as large.",
            width=picture.width,
            height=picture.height,
            size=" x ".join(map(str, spec.size)),
        )
    grey_or_rgb = to_grey_or_rgb(picture).convert("L" if spec.channels == 1 else "RGB")
    scales = _scales(as_tensor(grey_or_rgb).float() / 255, max(spec.size))
    random = torch.Generator().manual_seed(seed)
    parts = []
    for start in range(0, count, _AT_ONCE):
        number = min(_AT_ONCE, count - start)
        level = int(torch.randint(len(scales), (), generator=random))
        parts.append(_jittered(_crops(scales[level], spec, number, random), random))
    return (torch.cat(parts)[torch.randperm(count, generator=random)] * 255).round().to(torch.uint8)


def _scales(picture: Tensor, side: int) -> list[Tensor]:
    """The picture (1, C, H, W), and halves of it down to the size of the small pictures."""
    scales = [picture]
    while min(scales[-1].shape[2:]) >= 2 * side:
        scales.append(F.avg_pool2d(scales[-1], 2))
    return scales


def _crops(picture: Tensor, spec: InputSpec, count: int, random: torch.Generator) -> Tensor:
    """Turned, sheared and mirrored crops, (count, C, h, w)."""
    height, width = picture.shape[2:]
    angle, shear = (_between(-TURN, TURN, count, random).deg2rad(), _between(-TURN / 2, TURN / 2, count, random))
    shear = shear.deg2rad().tan()
    mirror = torch.randint(0, 2, (count,), generator=random) * 2.0 - 1
    largest = min(_LARGEST, min(height, width) / max(spec.size))
    share = _between(math.log(_SMALLEST), math.log(largest), count, random).exp()
    across, down = (share * side / whole for side, whole in zip(spec.size[::-1], (width, height), strict=True))
    x, y = (_between(-1, 1, count, random) * (1 - extent).clamp_min(0) for extent in (across, down))
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([across * mirror * cos, across * (shear * cos - sin), x], 1)
    second = torch.stack([down * mirror * sin, down * (shear * sin + cos), y], 1)
    transform = torch.stack([first, second], 1)  # (count, 2, 3)
    grid = F.affine_grid(transform, [count, picture.shape[1], *spec.size], align_corners=False)
    sampled = F.grid_sample(
        picture.expand(count, -1, -1, -1), grid, "bilinear", padding_mode="reflection", align_corners=False
    )
    return sampled.clamp(0, 1)


def _jittered(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Other contrasts and brightnesses, and half of them as negatives; values in [0, 1]."""
    count = len(pictures)
    shape = (count, 1, 1, 1)
    contrast = _between(math.log(0.5), math.log(6), count, random).exp().view(shape)
    level = _between(0, 1, count, random).view(shape)
    middle = pictures.flatten(1).mean(1).view(shape)
    negative = torch.randint(0, 2, shape, generator=random) * 2.0 - 1
    return ((pictures - middle) * contrast * negative + level).clamp(0, 1)


def _between(low: float, high: float, count: int, random: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=random)
