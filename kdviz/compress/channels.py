"""Structured pruning: whole channels of convolutions and units of linear layers are left out.

What is left is the same network in narrower layers, which is built by its name and its setting ``widths``: its file and
its operations shrink, and any runtime gains from it. A registered network whose builder takes ``widths`` can be pruned
if its layers follow each other in a chain, as those of kdviz do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.compress.dependent_channels import pruning_problem
from kdviz.compress.transformer_units import has_attention
from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks import WhiteningConv
from kdviz.models.networks.library import has_widths

_BATCH = 250
_OF_A_CHANNEL = ("weight", "bias", "running_mean", "running_var")  # tensors with one value a channel, or one row


@dataclass(frozen=True)
class PrunedNetwork:
    """A network without its least important channels.

    Attributes:
        widths: Outputs of its layers but the last, in order: its setting ``widths``.
        state: Its weights, by name.
    """

    widths: list[int]
    state: dict[str, Tensor]


def require_prunable(name: str, network: nn.Module) -> None:
    """Check that a network can be pruned here: as a chain of layers, as a transformer, or by torch-pruning.

    Raises:
        SettingError: It is neither of the first two, and torch-pruning is not installed.
    """
    if not has_widths(name) and not has_attention(network) and pruning_problem():
        raise SettingError(pruning_problem())


def prune_channels(network: nn.Module, share: float, inputs: Tensor, targets: Tensor) -> PrunedNetwork:
    """Leave the least important channels of every layer out, the same share of each.

    Args:
        network: A network for which :func:`require_prunable` is fine, in evaluation mode; it is not changed.
        share: Share of the channels of each layer that go, in (0, 1); one always stays.
        inputs: Inputs of the network, (N, C, H, W), that the importance is measured on.
        targets: Their labels, int64 (N,), or a teacher's probabilities of the classes, float (N, classes).

    Raises:
        SettingError: The share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise SettingError("The share of channels that are pruned must be between 0 and 1, got {share:g}.", share=share)
    kept = [_most_important(scores, share) for scores in channel_importance(network, inputs, targets)]
    return PrunedNetwork([len(indices) for indices in kept], _narrowed(network, kept))


def channel_importance(network: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The importance of every channel of each layer but the last: a list of (channels,), >= 0.

    The mean over samples of (sum over places of activation x its gradient)^2, the activation being what the next layer
    gets: the square of the change of the loss, to first order, if the channel were 0 (Molchanov et al., 2019,
    arXiv:1906.10771, eq. 8). Weights alone do not tell: a batch norm after them undoes their scale.

    Args:
        network, inputs, targets: As in :func:`prune_channels`.
    """
    layers = _layers(network)
    sums = [torch.zeros(_outputs(layer)) for layer in layers[:-1]]
    gradients_before = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    seen: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(partial(_keep_input, seen)) for layer in layers[1:]]
    try:
        for batch, wanted in zip(inputs.split(_BATCH), targets.split(_BATCH), strict=True):
            seen.clear()
            loss = F.cross_entropy(network(batch.requires_grad_()), wanted, reduction="sum")
            for total, activation, gradient in zip(sums, seen, torch.autograd.grad(loss, seen), strict=True):
                effect = (activation.detach() * gradient).flatten(1)
                total += effect.view(len(batch), len(total), -1).sum(2).square().sum(0)
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, needed in zip(network.parameters(), gradients_before, strict=True):
            parameter.requires_grad_(needed)
    return [total / len(inputs) for total in sums]


def _keep_input(seen: list[Tensor], layer: nn.Module, arguments: tuple[Any, ...]) -> None:
    seen.append(arguments[0])


def _most_important(scores: Tensor, share: float) -> Tensor:
    """The indices that stay, in their order."""
    count = max(1, round((1 - share) * len(scores)))
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _layers(network: nn.Module) -> list[nn.Module]:
    """Layers with weights that are trained, in the order in which they run; the last one gives the logits."""
    return [module for module in network.modules() if _is_layer(module)]


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv2d, nn.Linear)) and not isinstance(module, WhiteningConv)


def _outputs(layer: nn.Module) -> int:
    return int(layer.weight.shape[0])  # type: ignore[union-attr, operator]


# the narrower network -------------------------------------------------------------------------------------------------


def _narrowed(network: nn.Module, kept: Sequence[Tensor]) -> dict[str, Tensor]:
    """The weights without the channels that go: of the layer, of the norm after it, and of what the next layer takes.

    Args:
        network: Network.
        kept: Indices of the channels of each layer but the last that stay.
    """
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    following: Iterator[Tensor | None] = iter([*kept, None])
    channels, total = None, 0
    for name, module in network.named_modules():
        if _is_layer(module):
            weight = state[f"{name}.weight"]
            if channels is not None:
                state[f"{name}.weight"] = weight[:, _inputs_of(channels, total, weight.shape[1])]
            channels, total = next(following), len(weight)
            _select(state, name, channels)
        elif isinstance(module, nn.BatchNorm2d):
            _select(state, name, channels)
    return state


def _inputs_of(channels: Tensor, total: int, inputs: int) -> Tensor:
    """Indices of a layer's inputs from those channels; a flattened map has several of each."""
    places = inputs // total
    if places * total != inputs:
        raise ModelError("The network cannot be pruned: its layers do not follow each other in a chain.")
    return (channels[:, None] * places + torch.arange(places)).flatten()


def _select(state: dict[str, Tensor], name: str, channels: Tensor | None) -> None:
    """Keep these channels of a module's tensors; None: all."""
    if channels is None:
        return
    for kind in _OF_A_CHANNEL:
        if f"{name}.{kind}" in state:
            state[f"{name}.{kind}"] = state[f"{name}.{kind}"][channels]
