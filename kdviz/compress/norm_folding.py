"""Batch norms as part of the convolutions before them, as runtimes have them."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_TOLERANCE = 1e-3  # of the logits' largest


def with_folded_norms(network: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy of a network in which each batch norm that takes what a convolution gives is part of that convolution.

    Which module follows which is seen in a forward pass, so that the names that a library gives them do not matter. A
    max pool may be between the two where the norm keeps the order of values: its scale is above 0. Where the network
    would answer otherwise, as where what a convolution gives is also used elsewhere, all norms stay.

    Args:
        network: A network in evaluation mode.
        inputs: Inputs of the network, (N, C, H, W).
    """
    folded = copy.deepcopy(network)
    with torch.no_grad():
        expected = network(inputs)
        for convolution, name, norm in list(_pairs(folded, inputs)):
            _fold(convolution, norm)
            owner, _, child = name.rpartition(".")
            setattr(folded.get_submodule(owner), child, _without_norm(norm))
        answers = folded(inputs)
    is_same = bool((answers - expected).abs().max() <= _TOLERANCE * expected.abs().max())
    return folded if is_same else copy.deepcopy(network)


@dataclass
class _ForwardPass:
    """What was seen in a forward pass.

    Attributes:
        outputs: A tensor's identity -> the tensor, its version, the convolution that it is from, and whether a max pool
            came after it. The tensors are kept, so that no other one gets the identity.
        pairs: Convolutions, the norms that took what they gave, and whether a max pool was between them.
        calls: How often each module was called.
    """

    outputs: dict[int, tuple[Tensor, int, nn.Conv2d, bool]] = field(default_factory=dict)
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d, bool]] = field(default_factory=list)
    calls: Counter[nn.Module] = field(default_factory=Counter)

    def see(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        """A module's forward hook."""
        self.calls[module] += 1
        if isinstance(module, nn.Conv2d):
            self.outputs[id(output)] = (output, output._version, module, False)
        elif isinstance(module, nn.MaxPool2d) and (convolution := self._origin(arguments[0])):
            self.outputs[id(output)] = (output, output._version, convolution[0], True)

    def see_norm(self, norm: nn.Module, arguments: tuple[Any, ...]) -> None:
        """A batch norm's forward hook, before it is called."""
        assert isinstance(norm, nn.BatchNorm2d)
        if origin := self._origin(arguments[0]):
            self.pairs.append((origin[0], norm, origin[1]))

    def _origin(self, tensor: Tensor) -> tuple[nn.Conv2d, bool] | None:
        """The convolution that a tensor is from, unless it was changed in place since."""
        _, version, convolution, is_pooled = self.outputs.get(id(tensor), (None, -1, None, False))
        return (convolution, is_pooled) if convolution is not None and version == tensor._version else None


def _pairs(network: nn.Module, inputs: Tensor) -> Iterator[tuple[nn.Conv2d, str, nn.BatchNorm2d]]:
    """Convolutions with the name of the norm that can become part of each, and the norm."""
    seen = _ForwardPass()
    hooks = [module.register_forward_hook(seen.see) for module in network.modules()]
    norms = {module: name for name, module in network.named_modules() if _can_fold(module)}
    hooks += [norm.register_forward_pre_hook(seen.see_norm) for norm in norms]
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for convolution, norm, is_pooled in seen.pairs:
        keeps_order = norm.weight is None or bool((norm.weight > 0).all())
        if seen.calls[convolution] == seen.calls[norm] == 1 and (keeps_order or not is_pooled):
            yield convolution, norms[norm], norm


def _can_fold(module: nn.Module) -> bool:
    """Whether it is a batch norm with statistics, and nothing else but the activation that timm puts into its own."""
    if not isinstance(module, nn.BatchNorm2d) or module.running_mean is None:
        return False
    return type(module) is nn.BatchNorm2d or {"drop", "act"} == {name for name, _child in module.named_children()}


def _without_norm(norm: nn.BatchNorm2d) -> nn.Module:
    children = list(norm.children())
    return nn.Sequential(*children) if children else nn.Identity()


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    needs_gradient = convolution.weight.requires_grad
    weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
    convolution.weight = nn.Parameter(weight.detach(), requires_grad=needs_gradient)
    convolution.bias = nn.Parameter(bias.detach(), requires_grad=needs_gradient)
