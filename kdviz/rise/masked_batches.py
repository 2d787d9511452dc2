"""Masked copies of images: the baseline where a mask removes a pixel, the image where it keeps it."""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.rise.engine import Prepared
from kdviz.rise.masks import RandomMasks


class MaskedBatches:
    """Images and baseline, prepared for mixing by masks: baseline + mask * (image - baseline).

    Args:
        inputs: (N, C, H, W).
        base: The baseline of each image, of the same shape.
        masks: The series of masks.
    """

    def __init__(self, inputs: Tensor, base: Tensor, masks: RandomMasks):
        self.inputs, self.base, self.masks = inputs, base, masks
        self._layouts: dict[tuple[torch.dtype, bool], tuple[Tensor, Tensor]] = {}
        self._rendered: dict[tuple[torch.dtype, bool], tuple[tuple[int, int], Tensor]] = {}

    def masked(self, form: Prepared, images: slice, start: int, stop: int) -> Tensor:
        """Some images under masks start to stop - 1, image by image, (images * masks, C, H, W)."""
        key = (form.dtype, form.channels_last)
        base, change = self._layout(key)
        masks = self._masks(key, start, stop).unsqueeze(0)  # (1, masks, H, W * C) or (1, masks, 1, H, W)
        mixed = torch.addcmul(base[images].unsqueeze(1), masks, change[images].unsqueeze(1)).flatten(0, 1)
        if not form.channels_last:
            return mixed
        channels, height, width = self.inputs.shape[1:]
        return mixed.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _layout(self, key: tuple[torch.dtype, bool]) -> tuple[Tensor, Tensor]:
        if key not in self._layouts:
            base, change = self.base, self.inputs - self.base
            if key[1]:
                base, change = (images.permute(0, 2, 3, 1).flatten(2).contiguous() for images in (base, change))
            self._layouts[key] = base.to(key[0]), change.to(key[0])
        return self._layouts[key]

    def _masks(self, key: tuple[torch.dtype, bool], start: int, stop: int) -> Tensor:
        """Masks start to stop - 1, rendered once for all models with the same type and layout."""
        cached = self._rendered.get(key)
        if cached is None or cached[0] != (start, stop):
            device = self.inputs.device
            if key[1]:
                masks = self.masks.rows_of_pixels(start, stop, self.inputs.shape[1], device, key[0])
            else:
                masks = self.masks.render(start, stop, device, key[0])
            cached = self._rendered[key] = ((start, stop), masks)
        return cached[1]
