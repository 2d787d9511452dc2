"""A copy of a model that suits Captum's hooks: each call of a non-linear layer gets a separate layer."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from kdviz.explanation.captum.requirements import activations_with_rules
from kdviz.explanation.captum.task import AttributionTask

_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_FUNCTIONS = {"relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "hardswish", "mish"}


class Trace(TorchFunctionMode):
    """One forward pass: the layers that ran, in order, with their outputs' shapes; activations called as functions."""

    def __init__(self, model: nn.Module, inputs: Tensor):
        super().__init__()
        self.layers: list[tuple[nn.Module, torch.Size]] = []
        self.functions: set[str] = set()
        self._depth = 0
        leaves = [module for module in model.modules() if not any(True for _ in module.children())]
        handles = [leaf.register_forward_pre_hook(self._enter) for leaf in leaves]
        handles += [leaf.register_forward_hook(self._leave) for leaf in leaves]
        with torch.no_grad(), self:
            model(inputs)
        for handle in handles:  # not in a finally: after an error the model, a copy, is not used
            handle.remove()

    def _enter(self, *_: object) -> None:
        self._depth += 1

    def _leave(self, module: nn.Module, _: object, output: Any) -> None:
        self._depth -= 1
        if isinstance(output, Tensor):
            self.layers.append((module, output.shape))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if not self._depth and name in _FUNCTIONS:
            self.functions.add(name.rstrip("_"))
        return func(*args, **(kwargs or {}))


def isolate(task: AttributionTask, model: nn.Module, trace: Trace) -> None:
    """Give each call of a non-linear layer of ``model``, a copy of the task's model, a separate layer."""
    calls = Counter(layer for layer, _ in trace.layers if type(layer) in activations_with_rules() + _POOLS)
    replaced = {layer: _Isolated(layer, count) for layer, count in calls.items()}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() leaves out a second name of a layer
            if child in replaced:
                setattr(parent, name, replaced[child])
    with torch.no_grad():
        unchanged = torch.allclose(model(task.inputs), task.model(task.inputs), rtol=1e-3, atol=1e-6)
    if not unchanged:
        raise task.refused(
            "cannot follow {network}, where a layer overwrites what another one reads; set its inplace to False.",
            network=task.network,
        )


class _Isolated(nn.Module):
    """A layer whose calls are separate in Captum's hooks.

    Captum keeps one input and one output per layer, so a layer that is called twice, as ResNet's ReLUs, must be two.
    And it replaces the gradient of the layer's input tensor, so that tensor must have no other reader.
    """

    def __init__(self, layer: nn.Module, calls: int):
        super().__init__()
        self.layers = nn.ModuleList(_with_rule(layer) for _ in range(calls))
        self._next = 0

    def forward(self, values: Tensor) -> Tensor:
        layer = self.layers[self._next]
        self._next = (self._next + 1) % len(self.layers)
        return layer(values.clone())


def _with_rule(layer: nn.Module) -> nn.Module:
    """The same function, built from layers for which Captum's rules are correct."""
    if isinstance(layer, nn.ReLU6):
        return _SixFromReLUs()
    if isinstance(layer, nn.MaxPool2d) and not layer.return_indices:
        return _SeparateWindows(layer)
    return copy.deepcopy(layer)


class _SixFromReLUs(nn.Module):
    """ReLU6, for which Captum has no rule: min(max(x, 0), 6) = ReLU(x) - ReLU(x - 6)."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.ReLU(), nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        return self.low(values.clone()) - self.high(values - 6)


class _SeparateWindows(nn.Module):
    """Max pooling with its windows laid out side by side.

    Where windows overlap, Captum's rule keeps the contribution of one of them and loses those of the others.
    """

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        sizes = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        self.kernel, self.stride, self.padding, self.dilation = (
            (size, size) if isinstance(size, int) else tuple(size) for size in sizes
        )
        self.ceil_mode = pool.ceil_mode
        self.pool = nn.MaxPool2d((self.kernel[0] * self.kernel[1], 1))

    def forward(self, images: Tensor) -> Tensor:
        pooled_shape = F.max_pool2d(images, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode).shape
        padded = F.pad(images, self._margins(images, pooled_shape), value=torch.finfo(images.dtype).min)
        windows = F.unfold(padded, self.kernel, self.dilation, stride=self.stride)
        windows = windows.view(*pooled_shape[:2], -1, windows.shape[-1])  # (N, C, positions in a window, windows)
        return self.pool(windows).view(pooled_shape)

    def _margins(self, images: Tensor, pooled: torch.Size) -> list[int]:
        """Padding left, right, top, bottom: as far as the first and the last window reach beyond the picture."""
        margins = []
        for axis in (1, 0):
            last = (pooled[axis + 2] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]
            margins += [self.padding[axis], last - self.padding[axis] - images.shape[axis + 2] + 1]
        return margins
