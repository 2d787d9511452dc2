"""What shifts share: shifting many pictures, float and uint8, the colour of the border, lengths in pixels."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.data.shifts.registry import SEVERITIES, shifts

_DRAW = 16  # of the random numbers, which nothing else has


def shifted(images: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Pictures with a shift. What is drawn at random depends on the seed, the shift and the picture's pixels alone.

    So every model sees the same pictures, in whatever order and however many there are, and a picture's draws are
    those of every severity.

    Args:
        images: uint8 (N, C, H, W) on the CPU; they stay as they are.
        name: Name of the shift.
        severity: From 1 to 5.
        seed: Seed of what is random.

    Raises:
        UnknownNameError: There is no such shift.
        SettingError: There is no such severity.
    """
    require_severities([severity])
    change, key = shifts[name].change, zlib.crc32(name.encode())
    if not len(images):
        return images.clone()
    return torch.stack([change(image, severity, _source(image, key, seed)) for image in images])


def require_severities(severities: Any) -> None:
    """Refuse a severity that is none of 1 to 5.

    Raises:
        SettingError: It is not.
    """
    for severity in severities:
        if severity not in SEVERITIES:
            raise SettingError(
                "A shift's severity is a whole number from 1 to {most}, got {severity}.",
                most=SEVERITIES[-1],
                severity=severity,
            )


def _source(image: Tensor, key: int, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, _DRAW, key, zlib.crc32(image.contiguous().numpy().data)])


def functional() -> Any:
    """The functions of torchvision's transforms, version 2."""
    from torchvision.transforms.v2 import functional as transforms  # two seconds to import

    return transforms


def as_shares(image: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]."""
    return image.float() / 255


def as_levels(shares: Tensor) -> Tensor:
    """Values in [0, 1], which are clipped to that, -> uint8."""
    return (255 * shares).round().clamp(0, 255).to(torch.uint8)


def border_colour(image: Tensor) -> list[float]:
    """The mean of the outermost pixels, a value from 0 to 255 a channel: what lies beyond a picture, most likely."""
    sides = [image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]]
    return torch.cat(sides, 1).float().mean(1).round().tolist()


def moved(image: Tensor, *, angle: float = 0.0, offset: tuple[float, float] = (0.0, 0.0), scale: float = 1.0) -> Tensor:
    """A picture that is turned, moved and scaled around its middle, with the border's colour where it ends.

    It is padded first: torchvision's ``fill`` alone leaves a dark line along the picture's edge.

    Args:
        image: uint8 (C, H, W).
        angle: Degrees, clockwise.
        offset: Columns and rows, to the right and down.
        scale: Factor of lengths, 0.5 or more.
    """
    transforms, fill = functional(), border_colour(image)
    margin = max(image.shape[-2:]) // 2 + 2
    changed = transforms.affine(
        transforms.pad(image, [margin], fill=fill),
        angle=angle,
        translate=list(offset),
        scale=scale,
        shear=[0.0],
        interpolation=transforms.InterpolationMode.BILINEAR,
        fill=fill,
    )
    return transforms.center_crop(changed, list(image.shape[-2:]))


def shorter_side(image: Tensor) -> int:
    """In pixels."""
    return min(image.shape[-2:])


def ramp(image: Tensor, angle: float) -> Tensor:
    """Positions along a direction, float32 (H, W): 0 at the picture's middle, -1 and 1 at its furthest corners."""
    height, width = image.shape[-2:]
    rows = torch.arange(height)[:, None] - (height - 1) / 2
    columns = torch.arange(width) - (width - 1) / 2
    positions = rows * float(np.sin(angle)) + columns * float(np.cos(angle))
    return positions / positions.abs().max().clamp(min=1e-6)
