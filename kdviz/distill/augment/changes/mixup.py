"""Weighted means of two samples (Zhang et al., 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from kdviz.distill.augment.drawing import shares
from kdviz.distill.augment.registry import register_augmentation


@register_augmentation("mixup", mixes=True)
def mixup(inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A weighted mean with the partner (Zhang et al., 2018), the sample's share from Beta(0.2, 0.2) for each sample."""
    share, partner = shares(len(inputs), 0.2), torch.randperm(len(inputs))
    weight = share.to(inputs)[:, None, None, None]
    return weight * inputs + (1 - weight) * inputs[partner.to(inputs.device)], share, partner
