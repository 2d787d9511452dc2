"""Structured pruning of vision transformers: units of the fully connected blocks, and whole heads of attention.

The width of the tokens stays, since everything is added to them. What is left is recorded as the shapes of its tensors,
as in :mod:`kdviz.compress.dependent_channels`. Heads are left out where attention can have fewer than its width, as
timm's and that of transformers' ViT can; torch's own cannot, nor can that of Swin, which has a bias for each head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.compress.dependent_channels import NarrowedNetwork, require_same
from kdviz.core.errors import ModelError
from kdviz.models.narrowed import HEAD_COUNTS, heads_of, smaller_shapes

_BATCH = 50


@dataclass(frozen=True)
class _Units:
    """Units between two layers that can be left out.

    Attributes:
        before, after: Names of the layers; the units are outputs of the first ones and inputs of the last.
        count: Number of units.
        width: Inputs of the last layer that one unit has: 1, or those of a head.
        copies: How often a first layer has them: once, or for queries, keys and values.
    """

    before: tuple[str, ...]
    after: str
    count: int
    width: int = 1
    copies: int = 1

    def inputs(self, kept: Tensor) -> Tensor:
        """Indices of the last layer's inputs from those units."""
        return (kept[:, None] * self.width + torch.arange(self.width)).flatten()

    def outputs(self, kept: Tensor) -> Tensor:
        """Indices of a first layer's outputs."""
        once = self.inputs(kept)
        return (torch.arange(self.copies)[:, None] * self.count * self.width + once).flatten()


def has_attention(network: nn.Module) -> bool:
    """Whether a network is a transformer: a part of it has several heads, as the libraries name them."""
    return any(hasattr(module, name) for module in network.modules() for name in HEAD_COUNTS)


def prune_transformer(
    network: nn.Module, build: Callable[[], nn.Module], share: float, inputs: Tensor, targets: Tensor
) -> NarrowedNetwork:
    """Leave the least important units and heads of every block out, the same share of each; one always stays.

    Importance is the mean over samples of (sum over tokens of activation x its gradient)^2, as for channels
    (:func:`kdviz.compress.channels.channel_importance`); of a head the sum is over all that it hands on.

    Args:
        network: A transformer in evaluation mode; it is not changed.
        build: Builds the network as its name says, without anything left out.
        share: Share of the units and heads that go, in (0, 1).
        inputs: Inputs of the network, (N, C, H, W).
        targets: Their labels, int64 (N,), or a teacher's probabilities of the classes, float (N, classes).

    Raises:
        ModelError: It has no such units, or what is left could not be built again.
    """
    groups = _that_depend_on_pictures(network, list(_groups(network)), inputs[:2])
    if not groups:
        raise ModelError(
            "This transformer cannot be pruned: it has neither fully connected blocks of two layers nor heads that can "
            "be left out. Quantise it with --int8, or prune single weights with --pattern weights."
        )
    kept = [_most_important(scores, share) for scores in _importance(network, groups, inputs, targets)]
    state = _narrowed(network, groups, kept)
    shapes = smaller_shapes(state, build())
    require_same(partial(_masked, network, groups, kept), build, shapes, state, inputs[:2])
    return NarrowedNetwork(shapes, state)


def _groups(network: nn.Module) -> Iterator[_Units]:
    found: list[_Units] = []
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        heads, layers = heads_of(module), _two_layers(module)
        if heads is not None:
            before = tuple(f"{prefix}{layer}" for layer in heads.before)
            found.append(_Units(before, f"{prefix}{heads.after}", heads.count, heads.width, heads.copies))
        if layers is not None:
            count = len(module.get_submodule(layers[0]).weight)  # type: ignore[arg-type]
            found.append(_Units((f"{prefix}{layers[0]}",), f"{prefix}{layers[1]}", count))
    yield from found
    taken = {name for group in found for name in (*group.before, group.after)}
    yield from _across_modules(network, taken)


def _across_modules(network: nn.Module, taken: set[str]) -> Iterator[_Units]:
    """Fully connected blocks whose layers are in different modules, as in some of transformers."""
    weighed = [(name, module) for name, module in network.named_modules() if module._parameters]
    for (first, before), (second, after) in pairwise(weighed):
        if not isinstance(before, nn.Linear) or not isinstance(after, nn.Linear) or taken & {first, second}:
            continue
        if before.in_features == after.out_features < before.out_features == after.in_features:
            yield _Units((first,), second, before.out_features)


def _that_depend_on_pictures(network: nn.Module, groups: list[_Units], inputs: Tensor) -> list[_Units]:
    """The groups without those that compute the same for every picture, such as biases of places, or nothing."""
    seen: dict[int, Tensor] = {}
    with _seen_by(network, groups, seen):
        network(inputs.detach().clone().requires_grad_())
    return [group for number, group in enumerate(groups) if number in seen and seen[number].requires_grad]


def _two_layers(module: nn.Module) -> tuple[str, str] | None:
    """Names of the two linear layers of a fully connected block, between which there are no other weights."""
    children = dict(module.named_children())
    linear = [name for name, child in children.items() if isinstance(child, nn.Linear)]
    weighed = [name for name, child in children.items() if next(child.parameters(), None) is not None]
    if len(linear) != 2 or weighed != linear:
        return None
    first, second = (children[name] for name in linear)
    return (linear[0], linear[1]) if first.out_features == second.in_features else None  # type: ignore[union-attr]


@contextmanager
def _seen_by(network: nn.Module, groups: Sequence[_Units], seen: dict[int, Tensor]) -> Iterator[None]:
    """Keep what the last layer of each group gets, by the group's number, while no weight needs a gradient."""
    gradients_before = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    hooks = [
        network.get_submodule(group.after).register_forward_pre_hook(partial(_keep_input, seen, number))
        for number, group in enumerate(groups)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, needed in zip(network.parameters(), gradients_before, strict=True):
            parameter.requires_grad_(needed)


def _importance(network: nn.Module, groups: Sequence[_Units], inputs: Tensor, targets: Tensor) -> list[Tensor]:
    """The importance of each unit of every group, (count,), >= 0."""
    sums = [torch.zeros(group.count) for group in groups]
    seen: dict[int, Tensor] = {}
    with _seen_by(network, groups, seen):
        for batch, wanted in zip(inputs.split(_BATCH), targets.split(_BATCH), strict=True):
            seen.clear()
            loss = F.cross_entropy(network(batch.requires_grad_()), wanted, reduction="sum")
            activations = [seen[number] for number in range(len(groups))]
            gradients = torch.autograd.grad(loss, activations)
            for total, group, activation, gradient in zip(sums, groups, activations, gradients, strict=True):
                effect = (activation.detach() * gradient).reshape(len(batch), -1, group.count, group.width)
                total += effect.sum((1, 3)).square().sum(0)
    return [total / len(inputs) for total in sums]


def _keep_input(seen: dict[int, Tensor], number: int, layer: nn.Module, arguments: tuple[Any, ...]) -> None:
    seen[number] = arguments[0]


def _most_important(scores: Tensor, share: float) -> Tensor:
    """The indices that stay, in their order."""
    count = max(1, round((1 - share) * len(scores)))
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _narrowed(network: nn.Module, groups: Sequence[_Units], kept: Sequence[Tensor]) -> dict[str, Tensor]:
    """The weights without the units that go."""
    state = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    for group, units in zip(groups, kept, strict=True):
        for name in (f"{layer}.{kind}" for layer in group.before for kind in ("weight", "bias")):
            if name in state:
                state[name] = state[name][group.outputs(units)]
        state[f"{group.after}.weight"] = state[f"{group.after}.weight"][:, group.inputs(units)]
    return state


@torch.no_grad()
def _masked(network: nn.Module, groups: Sequence[_Units], kept: Sequence[Tensor], inputs: Tensor) -> Tensor:
    """Logits of the whole network in which what goes is 0: what the narrower one has to compute."""
    hooks = []
    for group, units in zip(groups, kept, strict=True):
        mask = torch.zeros(group.count * group.width)
        mask[group.inputs(units)] = 1
        layer = network.get_submodule(group.after)
        hooks.append(layer.register_forward_pre_hook(lambda _layer, given, mask=mask: (given[0] * mask,)))
    try:
        return network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
