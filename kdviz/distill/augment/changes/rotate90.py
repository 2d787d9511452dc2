"""Quarter turns and mirror images."""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("rotate90")
def rotate90(images: Tensor) -> Tensor:
    """One of the eight quarter turns and mirror images, for tissue, which has no up. Not for digits or letters.

    Images that are not square keep their shape: they are turned by 0 or 180 degrees, and mirrored.
    """
    quarters = 1 if images.shape[2] == images.shape[3] else 2
    turns = quarters * torch.randint(4 // quarters, (len(images),))
    mirrored = torch.rand(len(images)) < 0.5
    result = torch.empty_like(images)
    for turn in range(0, 4, quarters):
        for mirror in (False, True):
            selected = ((turns == turn) & (mirrored == mirror)).to(images.device)
            turned = images[selected].rot90(turn, (2, 3))
            result[selected] = turned.flip(3) if mirror else turned
    return result
