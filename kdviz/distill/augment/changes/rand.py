"""Random changes of one magnitude (Cubuk et al., 2020)."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.augment.drawing import each_image, transforms
from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("rand")
def rand(images: Tensor) -> Tensor:
    """RandAugment (Cubuk et al., 2020): two random changes of magnitude 9 of 30; what they uncover is black."""
    return each_image(images, transforms().RandAugment(num_ops=2, magnitude=9, fill=0))
