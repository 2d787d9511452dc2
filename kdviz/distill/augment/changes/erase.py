"""Erased rectangles (Zhong et al., 2020)."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.augment.drawing import each_image, transforms
from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("erase")
def erase(images: Tensor) -> Tensor:
    """A black rectangle over 2 to 33 % of every second image on average (Zhong et al., 2020)."""
    return each_image(images, transforms().RandomErasing(p=0.5, value=0))
