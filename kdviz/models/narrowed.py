"""Networks of which channels were left out: built as usual, then with tensors of the shapes that a run has recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.errors import SettingError

SHAPES = "shapes"
"""Setting of any network: the shape of each tensor that is smaller than its builder makes it, by the tensor's name."""

HEAD_COUNTS = ("num_heads", "num_attention_heads")
"""Where attention says how many heads it has: in torch, torchvision and timm; in transformers."""

_LAYOUTS = ((("qkv",), "proj"), (("q_proj", "k_proj", "v_proj"), "o_proj"))  # timm's; transformers'


@dataclass(frozen=True)
class Heads:
    """Heads of attention that can be left out.

    Attributes:
        before: Names of the layers that give queries, keys and values: one for all, or one for each.
        after: Name of the layer that takes what the heads give.
        count: Number of heads.
        width: Numbers that a head gives for each token.
    """

    before: tuple[str, ...]
    after: str
    count: int
    width: int

    @property
    def copies(self) -> int:
        """How often each of the layers before has every head."""
        return 3 // len(self.before)


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
    heads = {module: heads_of(module) for module in network.modules()}
    owners = {key.rpartition(".")[0] for key in shapes}
    for owner in owners:
        _describe(network.get_submodule(owner))
    for module in {network.get_submodule(owner.rpartition(".")[0]) for owner in owners}:
        known = heads[module]
        if known is not None:
            _describe_heads(module, known, name)
    return network


def smaller_shapes(state: Mapping[str, Tensor], original: nn.Module) -> dict[str, list[int]]:
    """The shapes of the tensors of a network's state that are not those of the original one."""
    before = original.state_dict()
    return {name: list(tensor.shape) for name, tensor in state.items() if tensor.shape != before[name].shape}


def heads_of(module: nn.Module) -> Heads | None:
    """The heads of this module, if it is attention that computes with as many as its layers have."""
    count = next((value for name in HEAD_COUNTS if isinstance(value := getattr(module, name, None), int)), None)
    width = getattr(module, "head_dim", None)
    if count is None or not isinstance(width, int):
        return None
    for before, after in _LAYOUTS:
        layers = [getattr(module, name, None) for name in (*before, after)]
        if not all(isinstance(layer, nn.Linear) for layer in layers) or _has_further_weights(module, {*before, after}):
            continue
        if before == ("qkv",) and not hasattr(module, "attn_dim"):
            continue  # an older timm, and others that compute the width of a head from that of the tokens
        heads = Heads(before, after, count, width)
        return heads if _fit_together(module, heads) else None
    return None


def _fit_together(module: nn.Module, heads: Heads) -> bool:
    """Whether the layers have that many heads."""
    outputs = {module.get_submodule(name).out_features for name in heads.before}
    inputs = module.get_submodule(heads.after).in_features
    wanted = heads.count * heads.width
    return bool(outputs == {heads.copies * wanted} and inputs == wanted)


def _has_further_weights(module: nn.Module, known: set[str]) -> bool:
    """Whether attention has weights besides its known layers, such as a bias for each head."""
    return not {name.partition(".")[0] for name, _weight in module.named_parameters()} <= known


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


def _describe_heads(module: Any, heads: Heads, name: str) -> None:
    """Make the number of heads follow the layers that they come from.

    Raises:
        SettingError: They have no whole number of them, or another one than the layer that takes them.
    """
    count = module.get_submodule(heads.after).in_features // heads.width
    if count < 1 or not _fit_together(module, Heads(heads.before, heads.after, count, heads.width)):
        raise SettingError(
            "The setting 'shapes' of the network '{network}' leaves no whole number of heads.", network=name
        )
    for attribute in HEAD_COUNTS:
        if hasattr(module, attribute):
            setattr(module, attribute, count)
    if hasattr(module, "attn_dim"):
        module.attn_dim = count * heads.width


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
