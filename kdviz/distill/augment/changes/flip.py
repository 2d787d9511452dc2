"""Mirror images."""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("flip")
def flip(images: Tensor) -> Tensor:
    """Left to right, every second image on average. Not for digits or letters."""
    flipped = torch.rand(len(images)) < 0.5
    return torch.where(flipped.to(images.device)[:, None, None, None], images.flip(3), images)
