"""Fixed views of the training images: the same changed copies in every training, so that a teacher answers them once.

A teacher that is shown every fresh copy costs a forward pass a step, far more than a small student's own step. With a
few fixed views of each image its logits are computed once and serve all students of a study; the students still see
augmented images that their teacher has seen (Beyer et al., 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.distill.augment.augment import Augment

_CHUNK = 4_096  # images changed at a time; part of what a view is


def view_of(images: Tensor, augment: Augment, view: int) -> Tensor:
    """One fixed view of all images: uint8 (N, C, H, W) -> the same, changed.

    Args:
        images: All training images, in their order.
        augment: How they are changed; it must not mix them.
        view: Number of the view, from 0; the changes depend on it alone.
    """
    chunks = images.split(_CHUNK)
    return torch.cat([augment.images(chunk, view * 1_000_003 + number) for number, chunk in enumerate(chunks)])
