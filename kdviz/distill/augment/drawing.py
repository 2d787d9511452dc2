"""What augmentations share: draws from a seed, changes image by image, shares of a mix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Draw from ``seed`` in torch's generator on the CPU, and put it back. A GPU's is not touched: it makes dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def each_image(images: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Image by image: on a batch, torchvision's transforms draw once and do the same to all.

    Args:
        images: (n, C, H, W).
        change: (C, H, W) -> the changed image, of one shape for all.
    """
    return torch.stack([change(image) for image in images])


def transforms() -> Any:
    """The transforms of torchvision, version 2."""
    from torchvision.transforms import v2  # a second to import, which only training needs

    return v2


def shares(count: int, concentration: float) -> Tensor:
    """Each sample's share in its own mix, from Beta(concentration, concentration): float32 (count,) in [0, 1]."""
    return torch.distributions.Beta(concentration, concentration).sample((count,))
