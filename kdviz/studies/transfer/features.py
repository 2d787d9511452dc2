"""The features of a network for many pictures: what each of its weight layers takes, and its logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.distill.objectives.layers import INPUT, FeatureHook, head_of
from kdviz.distill.prediction import to_channels_last

MOST_LAYERS = 8
"""Layers of a deep network that are compared, evenly spread over it, the last one among them; and its logits."""

MOST_VALUES = 4096
"""Features of a picture up to which those of maps are all taken; larger maps are averaged to fewer positions."""

_BATCH_VALUES = 1_000_000  # values of the pictures in a batch; the features of all layers are in memory with them


@dataclass(frozen=True)
class Layer:
    """A layer whose features are compared.

    Attributes:
        name: As in :mod:`kdviz.distill.objectives.layers`.
        depth: Its position among those of its network, from 1.
        is_logits: Whether it is the network's output.
    """

    name: str
    depth: int
    is_logits: bool = False


def compared_layers(network: nn.Module, inputs: Tensor) -> list[Layer]:
    """What a network's weight layers take, in the order in which they run, and its logits last.

    The input of the first is the picture, which is left out.

    Args:
        network: (N, C, H, W) -> logits (N, classes), in evaluation mode.
        inputs: (N, C, H, W), as the network takes it.

    Raises:
        ModelError: It has no layers, as an ONNX file, or does not end in a linear layer or a convolution.
    """
    head, _ = head_of(network, inputs)
    names = _weight_layers(network, inputs)
    before = [name for name in names[1:] if name != head] + ([head] if len(names) > 1 else [])
    chosen = np.unique(np.linspace(0, len(before) - 1, min(len(before), MOST_LAYERS)).round().astype(int))
    layers = [Layer(before[index] + INPUT, depth) for depth, index in enumerate(chosen.tolist(), 1)]
    return [*layers, Layer(head, len(layers) + 1, is_logits=True)]


@torch.no_grad()
def _weight_layers(network: nn.Module, inputs: Tensor) -> list[str]:
    """Names of the linear layers and convolutions that take one row a picture, in the order in which they first run."""
    rows: dict[str, int] = {}  # parts of pictures, as windows of attention, are no features of a picture

    def note(name: str, _: nn.Module, taken: tuple[Tensor, ...]) -> None:
        rows[name] = len(taken[0])

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in network.named_modules()
        if name and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    try:
        network(inputs[:2])
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, count in rows.items() if count == len(inputs[:2])]


@dataclass(frozen=True, eq=False)  # compared by identity: tensors have no truth value
class LayerFeatures:
    """The features of all pictures in a layer.

    Attributes:
        layer: Which.
        values: float32 (N, values).
        averaged: Whether they were averaged over positions, as large maps are.
    """

    layer: Layer
    values: Tensor
    averaged: bool


@torch.inference_mode()
def features_of(
    network: nn.Module,
    images: Tensor,
    normalise: Callable[[Tensor], Tensor],
    layers: list[Layer],
    device: torch.device,
) -> list[LayerFeatures]:
    """The features of all pictures in each layer, on the CPU.

    Args:
        network: On the device, in evaluation mode.
        images: uint8 (N, C, H, W).
        normalise: From images to the network's input.
        layers: From :func:`compared_layers`.
        device: Where the network is.
    """
    size = max(8, min(200, _BATCH_VALUES // max(1, images[:1].numel())))
    parts: list[list[Tensor]] = [[] for _ in layers]
    averaged = [False] * len(layers)
    with FeatureHook(network, [layer.name for layer in layers]) as hook:
        for batch in images.split(size):
            network(to_channels_last(normalise(batch.to(device))))
            for number, features in enumerate(hook.take()):
                averaged[number] = is_large(features)
                parts[number].append(reduced(features).float().cpu())
    rows = [torch.cat(part).clone() for part in parts]
    return [LayerFeatures(*each) for each in zip(layers, rows, averaged, strict=True)]


def reduced(features: Tensor) -> Tensor:
    """Features as rows (N, values): large maps averaged to fewer positions, and many tokens over all of them.

    Args:
        features: Maps (N, C, H, W), tokens (N, T, D) or vectors (N, D). Vectors stay as they are, of any length.
    """
    if not is_large(features):
        return features.flatten(1)
    if features.ndim == 4:
        side = max(1, math.isqrt(MOST_VALUES // features.shape[1]))
        height, width = (min(side, length) for length in features.shape[2:])
        return F.adaptive_avg_pool2d(features, (height, width)).flatten(1)
    return features.mean(1)


def is_large(features: Tensor) -> bool:
    """Whether features have positions over which :func:`reduced` averages them."""
    return features.ndim in (3, 4) and features[0].numel() > MOST_VALUES
