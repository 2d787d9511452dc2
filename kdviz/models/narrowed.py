"""Networks of which channels were left out: built as usual, then with tensors of the shapes that a run has recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.errors import SettingError

SHAPES = "shapes"
"""Setting of any network: the shape of each tensor that is smaller than its builder makes it, by the tensor's name."""


def narrowed(network: nn.Module, name: str, shapes: Any) -> nn.Module:
    """Give tensors of a network other shapes, in place; their values are 0 until weights are loaded.

    Args:
        network: A network.
        name: Its name, for errors.
        shapes: Name of a tensor -> its shape; none may be larger than the network's own.

    Raises:
        SettingError: A tensor is not there, or a shape is not a smaller one of as many dimensions.
    """
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    if not isinstance(shapes, Mapping) or not all(_fits(tensors.get(key), shape) for key, shape in shapes.items()):
        raise SettingError(
            "The setting 'shapes' of the network '{network}' must name tensors that it has, each with whole numbers "
            "from 1 to its own.",
            network=name,
        )
    for key, shape in shapes.items():
        owner, _, tensor = key.rpartition(".")
        _replace(network.get_submodule(owner), tensor, torch.zeros(shape, dtype=tensors[key].dtype))
    heads = {module: has_heads(module) for module in network.modules()}
    owners = {key.rpartition(".")[0] for key in shapes}
    for owner in owners:
        _describe(network.get_submodule(owner))
    for module in {network.get_submodule(owner.rpartition(".")[0]) for owner in owners}:
        if heads[module]:
            _describe_heads(module, name)
    return network


def smaller_shapes(state: Mapping[str, Tensor], original: nn.Module) -> dict[str, list[int]]:
    """The shapes of the tensors of a network's state that are not those of the original one."""
    before = original.state_dict()
    return {name: list(tensor.shape) for name, tensor in state.items() if tensor.shape != before[name].shape}


def has_heads(module: nn.Module) -> bool:
    """Whether this is attention of which heads can be left out: queries, keys and values of all come from one layer."""
    qkv, width = getattr(module, "qkv", None), getattr(module, "head_dim", None)
    if not isinstance(qkv, nn.Linear) or not isinstance(getattr(module, "proj", None), nn.Linear):
        return False
    heads = getattr(module, "num_heads", None)
    known = isinstance(width, int) and isinstance(heads, int) and hasattr(module, "attn_dim")
    return known and not _has_further_weights(module) and qkv.out_features == 3 * heads * width  # type: ignore[operator]


def _has_further_weights(module: nn.Module) -> bool:
    """Whether attention has weights besides its two layers, such as a bias for each head."""
    names = {name.partition(".")[0] for name, _weight in module.named_parameters()}
    return not names <= {"qkv", "proj"}


def _fits(tensor: Tensor | None, shape: Any) -> bool:
    if tensor is None or not isinstance(shape, list) or len(shape) != tensor.ndim:
        return False
    return all(type(size) is int and 1 <= size <= own for size, own in zip(shape, tensor.shape, strict=True))


def _replace(module: nn.Module, name: str, value: Tensor) -> None:
    own = getattr(module, name)
    if isinstance(own, nn.Parameter):
        setattr(module, name, nn.Parameter(value, requires_grad=own.requires_grad))
    else:
        setattr(module, name, value)


def _describe_heads(module: Any, name: str) -> None:
    """Make the number of heads follow the layer that they come from.

    Raises:
        SettingError: It has no whole number of them, or another one than the layer that takes them.
    """
    outputs, width = module.qkv.out_features, module.head_dim
    module.num_heads = outputs // (3 * width)
    module.attn_dim = module.num_heads * width
    if module.num_heads < 1 or (outputs, module.proj.in_features) != (3 * module.attn_dim, module.attn_dim):
        raise SettingError(
            "The setting 'shapes' of the network '{network}' leaves no whole number of heads.", network=name
        )


def _describe(module: nn.Module) -> None:
    """Make what a layer says of itself, and computes with, follow its tensors."""
    if isinstance(module, nn.Conv2d):
        is_depthwise = module.groups == module.in_channels
        module.out_channels = len(module.weight)
        module.groups = module.out_channels if is_depthwise else module.groups
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm2d):
        assert module.running_mean is not None
        module.num_features = len(module.running_mean)
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(module.weight.shape)
