"""Which layer of a network Grad-CAM looks at: the last one whose numbers still have places in the picture.

In a convolutional network that is its last convolution, as published. In a transformer, an MLP-Mixer and their like the
only convolution may be the very first layer; what has places at their end are tokens, which are put back on the grid
that they were cut from. Where a class token is read, the tokens behind the last attention no longer reach the logit: so
a layer counts only if the logit's gradient is not zero at more than one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_LATE = 0.8  # from this part of the layers with places on, a layer is near the end
_LATE_CONVOLUTION = (
    0.9  # a convolution must be nearer where tokens follow: many networks begin their last stage with one
)
_FEW = 3  # or with at most so many more of them, itself included: a small network's convolution, norm, and one more
_EXTRA = (0, 1, 2, 4, 5)  # tokens before those of the picture: of the class, of distillation, registers; as published
_NO_MAPS = (nn.Dropout, nn.Identity, nn.Softmax)  # of attention weights, or of what another layer gave


@dataclass(frozen=True)
class Grid:
    """How a layer's output lies over the picture.

    Attributes:
        form: ``NCHW``, ``NHWC`` or ``NLC`` (tokens).
        size: Rows and columns.
        extra: Tokens before those of the picture.
    """

    form: str
    size: tuple[int, int]
    extra: int = 0

    def laid_out(self, values: Tensor) -> Tensor:
        """An output of that layer, or its gradient, as (1, channels, rows, columns)."""
        if self.form == "NCHW":
            return values
        if self.form == "NLC":
            values = values[:, self.extra :].unflatten(1, self.size)
        return values.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Layer:
    """The layer to look at.

    Attributes:
        name: Of the module.
        call: Which of its calls, from 0, where it has several.
        grid: Of its output.
        position: Its place among the layers with parameters and places, in the order in which they run: above 0, and 1
            for the last.
        late: Whether it is near the end.
        convolution: Whether it is one.
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
    before: int  # layers with parameters and places that ran until its end, itself included
    grid: Grid | None


def find_layer(model: nn.Module, inputs: Tensor, target: int) -> Layer | None:
    """The last convolution if it is near the network's end, otherwise the last layer whose tokens have places.

    Args:
        model: (1, C, H, W) to logits (1, classes); it is run once, and differentiated.
        inputs: (1, C, H, W).
        target: Index of the class.

    Returns:
        None when no layer has an output with more than one place that reaches the logit.
    """
    calls, most, logit = _recorded(model, inputs, target)
    gradients = torch.autograd.grad(logit, [call.output for call in calls], allow_unused=True) if calls else ()
    layers = [
        _layer(call, most)
        for call, slope in zip(calls, gradients, strict=True)
        if call.grid and _reaches(call.grid, slope)
    ]
    last = next(reversed(layers), None)
    convolution = next((layer for layer in reversed(layers) if layer.convolution and _is_near(layer, most)), None)
    return convolution or last


def output_and_gradient(model: nn.Module, layer: Layer, inputs: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """A layer's output and the logit's gradient with regard to it, (1, channels, rows, columns) each."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, _: Any, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()  # what follows may overwrite its input

    handle = model.get_submodule(layer.name).register_forward_hook(keep)
    try:
        logit = model(inputs)[0, target]
    finally:
        handle.remove()
    (slope,) = torch.autograd.grad(logit, [kept[layer.call]])
    return layer.grid.laid_out(kept[layer.call].detach()), layer.grid.laid_out(slope)


def _layer(one: _ModuleCall, most: int) -> Layer:
    assert one.grid is not None
    late = one.before >= _LATE * most or one.before > most - _FEW
    position = one.before / most if most else 1.0
    return Layer(one.name, one.call, one.grid, position, late, isinstance(one.module, nn.Conv2d))


def _is_near(one: Layer, most: int) -> bool:
    """Whether a convolution is so near the end that it is what the paper means."""
    return one.position >= _LATE_CONVOLUTION or (1 - one.position) * most < _FEW - 0.5


def _reaches(grid: Grid, slope: Tensor | None) -> bool:
    """Whether the logit depends on more than one place."""
    return slope is not None and int(grid.laid_out(slope).ne(0).any(1).sum()) > 1


# one forward pass -----------------------------------------------------------------------------------------------------


def _recorded(model: nn.Module, inputs: Tensor, target: int) -> tuple[list[_ModuleCall], int, Tensor]:
    """Calls whose outputs lie on a grid, how many layers with parameters and places ran, and the logit."""
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
    """Call ``record(name, module, output)`` after each module outside of attention, whose insides have other grids."""
    inside = {
        below for name, module in model.named_modules() if _is_attention(name, module) for below in module.modules()
    } - {module for name, module in model.named_modules() if _is_attention(name, module)}
    handles = []
    try:
        for name, module in model.named_modules():
            if name and (module not in inside or isinstance(module, nn.Conv2d)):
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
    """Whether it is a layer of its own, with parameters, whose output has places."""
    if next(module.children(), None) is not None or next(module.parameters(), None) is None:
        return False
    if output.ndim == 4:
        return max(output.shape[2:].numel(), output.shape[1:3].numel() // output.shape[1]) > 1
    return output.ndim == 3 and output.shape[1] > 1


def _grid(module: nn.Module, shape: torch.Size, size: tuple[int, int]) -> Grid | None:
    """How an output lies over a picture of this height and width; None where it does not, or has a single place."""
    if len(shape) == 4:
        return _of_four(module, shape, size)
    if len(shape) != 3 or shape[0] != 1:
        return None
    for extra in _EXTRA:
        rows = _rows(shape[1] - extra, size) if shape[1] - extra > 1 else 0
        if rows:
            return Grid("NLC", (rows, (shape[1] - extra) // rows), extra)
    return None


def _of_four(module: nn.Module, shape: torch.Size, size: tuple[int, int]) -> Grid | None:
    first, last = (shape[1], shape[2]), (shape[2], shape[3])
    spatial = isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.modules.pooling._MaxPoolNd))
    if shape[0] == 1 and (spatial or _alike(last, size)):
        return Grid("NCHW", last) if last[0] * last[1] > 1 else None
    if shape[0] == 1 and _alike(first, size):
        return Grid("NHWC", first) if first[0] * first[1] > 1 else None
    return None


def _alike(grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether a grid has the picture's proportions, as far as whole cells can, and is no finer than it."""
    step = max(1.0, size[0] / grid[0])
    return grid[0] <= size[0] and abs(size[1] / step - grid[1]) < 1


def _rows(places: int, size: tuple[int, int]) -> int:
    """Rows of the grid with so many places that has the picture's proportions; 0 when there is none."""
    rows = round((places * size[0] / size[1]) ** 0.5)
    return rows if rows and places % rows == 0 and _alike((rows, places // rows), size) else 0
