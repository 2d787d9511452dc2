"""Layers fused for oneDNN: a convolution or linear layer with its activation, and a residual sum, in one call."""

from __future__ import annotations

import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

_OPERATORS = (
    "_convolution_pointwise",
    "_linear_pointwise",
    "_reorder_convolution_weight",
    "_reorder_linear_weight",
)


class _Convolution(nn.Module):
    """A convolution, a residual sum and its activation in one oneDNN call, with weights in its memory layout."""

    def __init__(self, source: nn.Conv2d, activation: tuple[str, list[float]], residual: bool):
        super().__init__()
        if source.padding == "same":  # odd kernels only: see _fusible
            padding = [
                dilation * (kernel - 1) // 2
                for dilation, kernel in zip(source.dilation, source.kernel_size, strict=True)
            ]
        else:
            padding = list(source.padding)  # type: ignore[arg-type]
        self.source = source
        self.residual = residual
        self.activation = activation
        self.geometry = (padding, list(source.stride), list(source.dilation), source.groups)
        self.packed: Tensor | None = None

    def forward(self, images: Tensor, added: Tensor | None = None) -> Tensor:
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(self.source.weight, *self.geometry, images.shape)
        name, scalars = self.activation
        if added is None:
            return torch.ops.mkldnn._convolution_pointwise(
                images, self.packed, self.source.bias, *self.geometry, name, scalars, ""
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            images,
            added,
            self.packed,
            self.source.bias,
            *self.geometry,
            "add",
            1.0,
            None if name == "none" else name,
            scalars,
            "",
        )


class _Linear(nn.Module):
    """A linear layer and its activation in one oneDNN call."""

    def __init__(self, source: nn.Linear, activation: tuple[str, list[float]]):
        super().__init__()
        self.source = source
        self.activation = activation
        self.packed: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.source.weight, values.shape[0])
        name, scalars = self.activation
        return torch.ops.mkldnn._linear_pointwise(values, self.packed, self.source.bias, name, scalars, "")


class _PairwiseMaxPool(nn.Module):
    """2 x 2 max pooling as maxima of slices: three times faster than torch's for bfloat16 on CPUs (torch 2.15)."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        step = self.stride
        stops = [step * ((side - 2) // step) + 1 for side in images.shape[2:]]
        across = torch.maximum(images[:, :, : stops[0] : step], images[:, :, 1 : stops[0] + 1 : step])
        return torch.maximum(across[..., : stops[1] : step], across[..., 1 : stops[1] + 1 : step])


def has_onednn_operators() -> bool:
    """Whether this torch has the operators that fused layers call. They are private: later torch may lack them."""
    return all(hasattr(torch.ops.mkldnn, name) for name in _OPERATORS)


def fuse_for_onednn(model: nn.Module) -> nn.Module:
    """Replace layers of a traced model by faster ones with the same results.

    Args:
        model: A traced model on the CPU; it is changed in place.

    Returns:
        The model. A model that is not traced, or on a torch without the private oneDNN operators, is returned as it is.
    """
    if not isinstance(model, fx.GraphModule) or not has_onednn_operators():
        return model
    modules: dict[str, nn.Module] = dict(model.named_modules())
    for node in list(model.graph.nodes):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Conv2d) and _fusible(layer):
            _replace_convolution(model, node, layer, modules)
        elif isinstance(layer, nn.Linear) and layer.weight.dtype == torch.bfloat16:
            last, activation = _activation_after(node, modules)
            _replace(model, node, last, _Linear(layer, activation), node.args)
        elif isinstance(layer, nn.MaxPool2d) and _is_two_by_two(layer):
            _replace(model, node, node, _PairwiseMaxPool(_first(layer.stride)), node.args)
    model.graph.lint()
    model.recompile()
    return model


def _fusible(layer: nn.Conv2d) -> bool:
    odd = all(size % 2 for size in layer.kernel_size)
    return layer.padding_mode == "zeros" and (odd if layer.padding == "same" else layer.padding != "valid")


def _first(value: Any) -> int:
    return value[0] if isinstance(value, tuple) else value


def _is_two_by_two(layer: nn.MaxPool2d) -> bool:
    default = layer.padding in (0, (0, 0)) and layer.dilation in (1, (1, 1)) and not layer.ceil_mode
    return default and layer.kernel_size in (2, (2, 2)) and layer.stride in (1, 2, (1, 1), (2, 2))


def _replace_convolution(model: fx.GraphModule, node: fx.Node, layer: nn.Conv2d, modules: dict[str, nn.Module]) -> None:
    last, addend = node, None
    user = _only_user(node)
    if user is not None and user.op == "call_function" and user.target in (operator.add, operator.iadd, torch.add):
        operands = [argument for argument in user.args if argument is not node]
        if len(operands) == 1 and isinstance(operands[0], fx.Node) and not user.kwargs:
            last, addend = user, operands[0]
    final, activation = _activation_after(last, modules, only=("relu",) if addend is not None else None)
    arguments = (*node.args, *([addend] if addend is not None else []))
    _replace(model, node, final, _Convolution(layer, activation, addend is not None), arguments)


def _replace(model: fx.GraphModule, node: fx.Node, last: fx.Node, layer: nn.Module, arguments: Any) -> None:
    """Replace the nodes from ``node`` to ``last`` by ``layer``."""
    name = f"fused_{node.name}"
    model.add_module(name, layer)
    with model.graph.inserting_after(last):
        new = model.graph.call_module(name, tuple(arguments))
    last.replace_all_uses_with(new)
    while last is not node:  # the nodes between have one user each
        previous = next(source for source in last.all_input_nodes if source is node or node in source.all_input_nodes)
        model.graph.erase_node(last)
        last = previous
    model.graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _activation_after(
    node: fx.Node, modules: dict[str, nn.Module], only: tuple[str, ...] | None = None
) -> tuple[fx.Node, tuple[str, list[float]]]:
    """The activation that alone uses a node, with oneDNN's name and numbers; without one, the node and ``none``."""
    user = _only_user(node)
    activation = None
    if user is not None and user.op == "call_module":
        activation = _onednn_name(modules.get(str(user.target)))
    elif user is not None and user.op == "call_function" and user.target in (F.relu, torch.relu):
        activation = ("relu", [])
    if user is None or activation is None or (only and activation[0] not in only):
        return node, ("none", [])
    return user, activation


def _onednn_name(layer: nn.Module | None) -> tuple[str, list[float]] | None:
    if isinstance(layer, nn.Hardtanh):  # ReLU6 is a subclass
        return "hardtanh", [float(layer.min_val), float(layer.max_val)]
    names = {nn.ReLU: "relu", nn.SiLU: "swish", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}
    name = names.get(type(layer))  # type: ignore[arg-type]
    return None if name is None else (name, [])
