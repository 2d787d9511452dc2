"""Quantisation-aware training: a network is trained while it computes as its int8 file will.

The inputs of every convolution and linear layer are rounded to 256 levels between the smallest and the largest value
that training sees, and its weights to 129 levels a channel, symmetric about 0; gradients pass the rounding unchanged
inside the range (Jacob et al., 2018, arXiv:1712.05877, sections 2 and 3). :func:`int8_network` is the same network with
its rounded weights as whole numbers, which :func:`kdviz.compress.onnx_export.float_file` writes as an ONNX file with
QuantizeLinear and DequantizeLinear, the form that runtimes take.

With 255 levels of weights the file would answer otherwise on some processors: those of x86 without VNNI add two
products of 8 bits in 16 bits, which overflow (onnxruntime's advice is ``reduce_range``). Two products of an input of
255 and a weight of 64 do not.

Written against torch's fake quantisation operators: ``torch.ao.quantization`` is deprecated, and torchao's export
needs a backend's quantiser beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from kdviz.compress.norm_folding import with_folded_norms
from kdviz.core.errors import ModelError

_LOWEST, _HIGHEST = -128, 127  # levels of inputs
_WEIGHTS = 64  # the highest level of weights; the lowest is its negative
_OPSET = 13  # the first one with a scale for each channel
_SMALLEST = 1e-8  # of a scale, where all values are 0
_KEPT = 0.99  # of a range, at every step of training
_BATCH = 250


class FakeQuantised(nn.Module):
    """A convolution or linear layer on rounded inputs, with rounded weights.

    Args:
        layer: The layer; its weights stay float32 and are trained.

    Attributes:
        low, high: Range of its inputs; both 0 until the first batch is seen.
    """

    low: Tensor
    high: Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear):
        super().__init__()
        self.layer = layer
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    @property
    def weight(self) -> Tensor:
        """The layer's own weights, before they are rounded; some networks read and change them."""
        return self.layer.weight

    @property
    def bias(self) -> Tensor | None:
        return self.layer.bias

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            self.widen(inputs)
        scale, zero = self.input_levels()
        rounded = torch.fake_quantize_per_tensor_affine(inputs, scale, zero, _LOWEST, _HIGHEST)
        return _apply(self.layer, rounded, self.rounded_weight())

    @property
    def has_range(self) -> bool:
        """Whether it has seen inputs that are not all 0."""
        return bool(self.low != self.high)

    @torch.no_grad()
    def widen(self, inputs: Tensor) -> None:
        """Take a batch into the range: a moving average of the smallest and the largest value."""
        lowest, highest = inputs.min().clamp(max=0).float(), inputs.max().clamp(min=0).float()
        if not self.has_range:
            self.low.copy_(lowest)
            self.high.copy_(highest)
            return
        self.low.mul_(_KEPT).add_((1 - _KEPT) * lowest)
        self.high.mul_(_KEPT).add_((1 - _KEPT) * highest)

    def input_levels(self) -> tuple[Tensor, Tensor]:
        """Scale, float32 (), and zero point, int32 (), of the inputs: 0 is always a level."""
        scale = ((self.high - self.low) / (_HIGHEST - _LOWEST)).clamp(min=_SMALLEST)
        return scale, (_LOWEST - self.low / scale).round().clamp(_LOWEST, _HIGHEST).int()

    def weight_scale(self) -> Tensor:
        """Scale of the weights of each output, (outputs,)."""
        return (self.layer.weight.detach().flatten(1).abs().amax(1) / _WEIGHTS).clamp(min=_SMALLEST)

    def rounded_weight(self) -> Tensor:
        zeros = torch.zeros(len(self.layer.weight), dtype=torch.int32, device=self.layer.weight.device)
        return torch.fake_quantize_per_channel_affine(
            self.layer.weight, self.weight_scale(), zeros, 0, -_WEIGHTS, _WEIGHTS
        )


def _apply(layer: nn.Conv2d | nn.Linear, inputs: Tensor, weight: Tensor) -> Tensor:
    """What a layer computes, with other weights."""
    if type(layer).forward is nn.Linear.forward:
        return F.linear(inputs, weight, layer.bias)
    if type(layer).forward is nn.Conv2d.forward:
        return layer._conv_forward(inputs, weight, layer.bias)  # type: ignore[operator]
    return functional_call(layer, {"weight": weight}, (inputs,))  # a library's own, which pads before, for example


def fake_quantised(network: nn.Module, inputs: Tensor) -> nn.Module:
    """A copy of a network that rounds as its int8 file will, with batch norms folded into the layers before them.

    Its ranges are those of the inputs. Layers that get none, since the network computes with their weights by itself,
    stay in float32: those of torch's attention, for example.

    Args:
        network: A network in evaluation mode.
        inputs: Inputs of the network, (N, C, H, W).

    Raises:
        ModelError: It has no convolution or linear layer, or none that gets inputs.
    """
    folded = with_folded_norms(network, inputs[:2])
    if not _replace(folded, lambda module: isinstance(module, (nn.Conv2d, nn.Linear)), FakeQuantised):
        raise ModelError("This network has no convolution or linear layer whose weights could be rounded to int8.")
    set_ranges(folded, inputs.split(_BATCH))
    _replace(folded, lambda module: isinstance(module, FakeQuantised) and not module.has_range, lambda each: each.layer)
    if not any(isinstance(module, FakeQuantised) for module in folded.modules()):
        raise ModelError(
            "This network cannot be trained with int8 in mind, since its layers get no inputs, or only zeros; "
            "--int8 quantises it without training."
        )
    return folded


def set_ranges(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the ranges of all layers of a fake-quantised network from inputs (n, C, H, W), without training it."""
    layers = [module for module in network.modules() if isinstance(module, FakeQuantised)]
    hooks = [layer.register_forward_pre_hook(_widen) for layer in layers]
    try:
        with torch.no_grad():
            for batch in batches:
                network(batch)
    finally:
        for hook in hooks:
            hook.remove()


def _widen(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
    assert isinstance(layer, FakeQuantised)
    layer.widen(arguments[0])


def _replace(parent: nn.Module, is_kind: Callable[[nn.Module], bool], make: Callable[[Any], nn.Module]) -> int:
    """Replace every module of a kind inside another one; return their number."""
    count = 0
    for name, child in parent.named_children():
        if is_kind(child):
            setattr(parent, name, make(child))
            count += 1
        else:
            count += _replace(child, is_kind, make)
    return count


# the file -------------------------------------------------------------------------------------------------------------


class _Int8Layer(nn.Module):
    """The same as a :class:`FakeQuantised` layer, in the operators of ONNX; to be exported, not to be run."""

    def __init__(self, quantised: FakeQuantised):
        super().__init__()
        self.layer = quantised.layer
        weight, scale = quantised.layer.weight.detach(), quantised.weight_scale()
        levels = (weight / scale.view(-1, *[1] * (weight.ndim - 1))).round().clamp(-_WEIGHTS, _WEIGHTS)
        input_scale, input_zero = quantised.input_levels()
        self.register_buffer("weight_levels", levels.to(torch.int8))
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero", torch.zeros(len(scale), dtype=torch.int8))
        self.register_buffer("input_scale", input_scale)
        self.register_buffer("input_zero", input_zero.to(torch.int8))

    @property
    def weight(self) -> Tensor:
        """The layer's own weights, whose type some networks read."""
        return self.layer.weight

    def forward(self, inputs: Tensor) -> Tensor:
        levels = _operator("QuantizeLinear", inputs, self.input_scale, self.input_zero, dtype=torch.int8)
        rounded = _operator("DequantizeLinear", levels, self.input_scale, self.input_zero)
        weight = _operator("DequantizeLinear", self.weight_levels, self.weight_scale, self.weight_zero, axis=0)
        return _apply(self.layer, rounded, weight)


def _operator(
    name: str, values: Any, scale: Any, zero: Any, dtype: torch.dtype = torch.float32, axis: int | None = None
) -> Tensor:
    """An operator of ONNX on one tensor, which torch's exporter passes on as it is."""
    attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
    return torch.onnx.ops.symbolic(
        name, (values, scale, zero), attributes, dtype=dtype, shape=values.shape, version=_OPSET
    )


def int8_network(network: nn.Module) -> nn.Module:
    """A copy of a fake-quantised network for :func:`kdviz.compress.onnx_export.float_file`."""
    copied = copy.deepcopy(network).cpu().eval()
    _replace(copied, lambda module: isinstance(module, FakeQuantised), _Int8Layer)
    return copied
