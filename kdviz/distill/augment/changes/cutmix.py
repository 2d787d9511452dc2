"""A part of one sample in another (Yun et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.distill.augment.drawing import shares
from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("cutmix", mixes=True)
def cutmix(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A rectangle of the partner pasted into the sample (Yun et al., 2019), its area from a uniform distribution.

    The rectangle is cut off at the edges; the sample's share is the part that really remains of it.
    """
    height, width = inputs.shape[2:]
    side, partner = (1 - shares(len(inputs), 1.0)).sqrt(), torch.randperm(len(inputs))
    inside = _interval(side, height)[:, :, None] & _interval(side, width)[:, None, :]  # (n, H, W)
    pasted = torch.where(inside.to(inputs.device)[:, None], inputs[partner.to(inputs.device)], inputs)
    return pasted, 1 - inside.float().mean((1, 2)), partner


def _interval(fraction: Tensor, length: int) -> Tensor:
    """Positions within a random interval of about ``fraction * length`` pixels: (n,) -> bool (n, length)."""
    half = (fraction * length).floor() / 2
    centre = torch.randint(length, fraction.shape)
    positions = torch.arange(length)
    return (positions >= (centre - half)[:, None]) & (positions < (centre + half)[:, None])
