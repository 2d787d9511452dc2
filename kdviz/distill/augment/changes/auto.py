"""Learned pairs of changes (Cubuk et al., 2019)."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.augment.drawing import each_image, transforms
from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("auto")
def auto(images: Tensor) -> Tensor:
    """AutoAugment (Cubuk et al., 2019): one of 25 learned pairs of changes; what they uncover is black.

    Grey images get the policy learned on street numbers (SVHN): shears, shifts and turns that digits bear, no mirror.
    Half of ImageNet's change colours, which grey images do not have. Colour images get ImageNet's.
    """
    policy = "svhn" if images.shape[1] == 1 else "imagenet"
    return each_image(images, transforms().AutoAugment(transforms().AutoAugmentPolicy(policy), fill=0))
