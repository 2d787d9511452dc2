"""Unstructured pruning: single weights become 0 and stay 0 while the network is trained further.

The shapes stay, so that neither file nor operations shrink by themselves: a zip file, or a runtime with kernels for
sparse weights, gains from it. ``2:4`` keeps two of every four weights in a row of inputs, which some GPUs compute
faster (Mishra et al., 2021, arXiv:2104.08378).
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import WhiteningConv

_GROUP, _STAY = 4, 2


def prune_weights(network: nn.Module, share: float) -> None:
    """Set the smallest weights of a network to 0, over all layers together, and keep them there while it is trained.

    Args:
        network: The network, which is changed in place until :func:`make_permanent`.
        share: Share of the weights, in (0, 1).

    Raises:
        SettingError: The share is not between 0 and 1.
        ModelError: The network has no convolution or linear layer.
    """
    if not 0 < share < 1:
        raise SettingError("The share of weights that are pruned must be between 0 and 1, got {share:g}.", share=share)
    weights = [(layer, "weight") for layer in _layers(network)]
    prune.global_unstructured(weights, pruning_method=prune.L1Unstructured, amount=share)


def prune_two_of_four(network: nn.Module) -> None:
    """Set the two smallest of every four weights of an output to 0, and keep them there while it is trained.

    Layers whose inputs are not a multiple of four stay as they are.

    Raises:
        ModelError: The network has no layer that this fits.
    """
    fitting = [layer for layer in _layers(network) if _weight(layer)[0].numel() % _GROUP == 0]
    if not fitting:
        raise ModelError("No layer of this network has a multiple of four weights for each output, as 2:4 needs.")
    for layer in fitting:
        prune.custom_from_mask(layer, "weight", two_of_four(_weight(layer)))


def two_of_four(weight: Tensor) -> Tensor:
    """A mask of the shape of ``weight``: 1 where one is among the two largest of its four, in the order of inputs."""
    groups = weight.detach().abs().flatten(1).unflatten(1, (-1, _GROUP))
    mask = torch.zeros_like(groups).scatter_(2, groups.topk(_STAY, dim=2).indices, 1.0)
    return mask.view_as(weight)


def make_permanent(network: nn.Module) -> None:
    """Make the zeros part of the weights, so that the network has its own weights again."""
    for layer in _layers(network):
        if prune.is_pruned(layer):
            prune.remove(layer, "weight")


def hold_zeros(network: nn.Module) -> None:
    """Keep those weights of a network at 0 that are 0 now, while it is trained further.

    Their gradients become 0, and so does what any optimiser adds to them, or takes from them as a decay.
    """
    for layer in _layers(network):
        weight = _weight(layer)
        if weight.requires_grad:
            weight.register_hook(partial(torch.mul, (weight.detach() != 0).to(weight.dtype)))


def zero_share(network: nn.Module) -> float:
    """The share of the weights of convolutions and linear layers that are 0; 0 without such layers."""
    weights = [_weight(module) for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    total = sum(weight.numel() for weight in weights)
    return sum(int((weight == 0).sum()) for weight in weights) / total if total else 0.0


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _layers(network: nn.Module) -> list[nn.Module]:
    layers: list[nn.Module] = [
        module
        for module in network.modules()
        if isinstance(module, (nn.Conv2d, nn.Linear)) and not isinstance(module, WhiteningConv)
    ]
    if not layers:
        raise ModelError("This network has no convolution or linear layer whose weights could be pruned.")
    return layers
