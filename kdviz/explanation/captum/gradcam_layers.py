"""The layer of a network that Grad-CAM uses: the last one whose outputs still have positions in the picture.

In a convolutional network that is its last convolution, as published. In a transformer, an MLP-Mixer and their like the
only convolution may be the very first layer; near their end the outputs with positions are tokens, which are put back
on the grid that they were cut from. Where a class token is read, the tokens after the last attention no longer reach
the logit: so a layer counts only if the logit's gradient is not zero at more than one position.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_LATE = 0.8  # from this share of the layers with positions on, a layer is near the end
_LAST_LAYERS = 3  # or among the last so many of them: a small network's convolution, norm, and one more
# A convolution must be nearer where tokens follow: many networks begin their last stage with one.
_LATE_CONVOLUTION = 0.9
# Tokens before those of the picture: class token, distillation token, registers; as published.
_EXTRA_TOKENS = (0, 1, 2, 4, 5)
_NO_MAPS = (nn.Dropout, nn.Identity, nn.Softmax)  # they return attention weights, or the output of another layer


@dataclass(frozen=True)
class Grid:
    """How a layer's output lies over the picture.

    Attributes:
        form: ``NCHW``, ``NHWC`` or ``NLC`` (tokens).
        size: Numbers of rows and columns.
        extra: Number of tokens before those of the picture.
    """

    form: str
    size: tuple[int, int]
    extra: int = 0

    def as_maps(self, values: Tensor) -> Tensor:
        """An output of that layer, or its gradient, as (1, channels, rows, columns)."""
        if self.form == "NCHW":
            return values
        if self.form == "NLC":
            values = values[:, self.extra :].unflatten(1, self.size)
        return values.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Layer:
    """The layer that Grad-CAM uses.

    Attributes:
        name: Name of the module.
        call: Which of its calls, from 0, where it has several.
        grid: Grid of its output.
        position: Its rank among the layers with parameters and positions, in the order in which they run: above 0,
            and 1 for the last.
        late: Whether it is near the end.
        convolution: Whether it is a convolution.
    """

    name: str
    call: int
    grid: Grid
    position: float
    late: bool
    convolution: bool


@dataclass
class _ModuleCall:
    """One call of a module, in the order in which calls end."""

    name: str
    module: nn.Module
    call: int
    output: Tensor
    before: int  # layers with parameters and positions that ran until its end, itself included
    grid: Grid | None


def find_layer(model: nn.Module, inputs: Tensor, target: int) -> Layer | None:
    """The last convolution if it is near the network's end, otherwise the last layer whose tokens have positions.

    Args:
        model: (1, C, H, W) to logits (1, classes); it is run once, and differentiated.
        inputs: (1, C, H, W).
        target: Index of the class.

    Returns:
        None when no layer has an output that reaches the logit from more than one position.
    """
    calls, layer_count, logit = _record_calls(model, inputs, target)
    gradients = torch.autograd.grad(logit, [call.output for call in calls], allow_unused=True) if calls else ()
    layers = [
        _layer(call, layer_count)
        for call, gradient in zip(calls, gradients, strict=True)
        if call.grid and _reaches(call.grid, gradient)
    ]
    last = next(reversed(layers), None)
    convolution = next(
        (layer for layer in reversed(layers) if layer.convolution and _is_near(layer, layer_count)), None
    )
    return convolution or last


def output_and_gradient(model: nn.Module, layer: Layer, inputs: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """A layer's output and the logit's gradient with respect to it, (1, channels, rows, columns) each."""
    outputs: list[Tensor] = []

    def keep(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output.clone()  # what follows may overwrite its input

    handle = model.get_submodule(layer.name).register_forward_hook(keep)
    try:
        logit = model(inputs)[0, target]
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logit, [outputs[layer.call]])
    return layer.grid.as_maps(outputs[layer.call].detach()), layer.grid.as_maps(gradient)


def _layer(call: _ModuleCall, layer_count: int) -> Layer:
    assert call.grid is not None
    late = call.before >= _LATE * layer_count or call.before > layer_count - _LAST_LAYERS
    position = call.before / layer_count if layer_count else 1.0
    return Layer(call.name, call.call, call.grid, position, late, isinstance(call.module, nn.Conv2d))


def _is_near(layer: Layer, layer_count: int) -> bool:
    """Whether a convolution is near enough to the end to be the layer of the paper."""
    return layer.position >= _LATE_CONVOLUTION or (1 - layer.position) * layer_count < _LAST_LAYERS - 0.5


def _reaches(grid: Grid, gradient: Tensor | None) -> bool:
    """Whether the logit depends on more than one position."""
    return gradient is not None and int(grid.as_maps(gradient).ne(0).any(1).sum()) > 1


# one forward pass -----------------------------------------------------------------------------------------------------


def _record_calls(model: nn.Module, inputs: Tensor, target: int) -> tuple[list[_ModuleCall], int, Tensor]:
    """Calls whose outputs lie on a grid, the number of layers with parameters and positions that ran, and the logit."""
    calls: list[_ModuleCall] = []
    counts: dict[str, int] = {}
    size, layers = (inputs.shape[2], inputs.shape[3]), 0

    def record(name: str, module: nn.Module, output: Any) -> None:
        nonlocal layers
        number = counts[name] = counts.get(name, -1) + 1
        if not isinstance(output, Tensor) or not output.requires_grad:
            return
        layers += _counts(module, output)
        if not isinstance(module, _NO_MAPS):
            calls.append(_ModuleCall(name, module, number, output, layers, _grid(module, output.shape, size)))

    with _hooks(model, record):
        logit = model(inputs)[0, target]
    return [call for call in calls if call.grid is not None], layers, logit


@contextmanager
def _hooks(model: nn.Module, record: Any) -> Iterator[None]:
    """Call ``record(name, module, output)`` after each module, except inside attention, which has other grids."""
    inner = {
        submodule
        for name, module in model.named_modules()
        if _is_attention(name, module)
        for submodule in module.modules()
    } - {module for name, module in model.named_modules() if _is_attention(name, module)}
    handles = []
    try:
        for name, module in model.named_modules():
            if name and (module not in inner or isinstance(module, nn.Conv2d)):
                handles.append(
                    module.register_forward_hook(lambda module, _, output, name=name: record(name, module, output))
                )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_attention(name: str, module: nn.Module) -> bool:
    kind = type(module).__name__.lower()
    attends = "attn" in kind or "attention" in kind
    return "attn" in name.rpartition(".")[2].lower() or (attends and "block" not in kind and "layer" not in kind)


def _counts(module: nn.Module, output: Tensor) -> bool:
    """Whether a module is a leaf with parameters whose output has positions."""
    if next(module.children(), None) is not None or next(module.parameters(), None) is None:
        return False
    if output.ndim == 4:
        return max(output.shape[2:].numel(), output.shape[1:3].numel() // output.shape[1]) > 1
    return output.ndim == 3 and output.shape[1] > 1


def _grid(module: nn.Module, shape: torch.Size, size: tuple[int, int]) -> Grid | None:
    """The grid of an output over a picture of this height and width; None without one, or with a single position."""
    if len(shape) == 4:
        return _grid_of_maps(module, shape, size)
    if len(shape) != 3 or shape[0] != 1:
        return None
    for extra in _EXTRA_TOKENS:
        rows = _rows(shape[1] - extra, size) if shape[1] - extra > 1 else 0
        if rows:
            return Grid("NLC", (rows, (shape[1] - extra) // rows), extra)
    return None


def _grid_of_maps(module: nn.Module, shape: torch.Size, size: tuple[int, int]) -> Grid | None:
    first, last = (shape[1], shape[2]), (shape[2], shape[3])
    spatial = isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.modules.pooling._MaxPoolNd))
    if shape[0] == 1 and (spatial or _same_proportions(last, size)):
        return Grid("NCHW", last) if last[0] * last[1] > 1 else None
    if shape[0] == 1 and _same_proportions(first, size):
        return Grid("NHWC", first) if first[0] * first[1] > 1 else None
    return None


def _same_proportions(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a grid has the picture's proportions, up to whole cells, and is no finer than it."""
    step = max(1.0, size[0] / grid[0])
    return grid[0] <= size[0] and abs(size[1] / step - grid[1]) < 1


def _rows(positions: int, size: tuple[int, int]) -> int:
    """Rows of the grid with this number of positions and the picture's proportions; 0 when there is none."""
    rows = round((positions * size[0] / size[1]) ** 0.5)
    return rows if rows and positions % rows == 0 and _same_proportions((rows, positions // rows), size) else 0
