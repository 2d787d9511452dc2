"""Moved images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("shift")
def shift(images: Tensor) -> Tensor:
    """Moved by up to a sixteenth of the height and width (2 of 32 pixels), the border mirrored."""
    height, width = images.shape[2:]
    down, right = -(-height // 16), -(-width // 16)
    padded = F.pad(images.float(), (right, right, down, down), "reflect").to(images.dtype)
    rows = torch.randint(2 * down + 1, (len(images), 1)) + torch.arange(height)
    columns = torch.randint(2 * right + 1, (len(images), 1)) + torch.arange(width)
    device = images.device
    sample = torch.arange(len(images), device=device)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[sample, rows.to(device)[:, :, None], columns.to(device)[:, None, :]]
    return moved.permute(0, 3, 1, 2)
