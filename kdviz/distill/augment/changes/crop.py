"""Parts of images."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.augment.drawing import each_image, transforms
from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("crop")
def crop(images: Tensor) -> Tensor:
    """A random part of 70 to 100 % of the area, sides 3:4 to 4:3, enlarged to the full size."""
    size = [images.shape[2], images.shape[3]]
    return each_image(images, transforms().RandomResizedCrop(size, scale=(0.7, 1.0)))
