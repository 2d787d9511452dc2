"""The layers of a network: which one is the head, where its features are, and how to read them during a forward pass.

A layer is named as in ``network.named_modules()`` and stands for that module's output; with ``:input`` after the name,
for its input. ``layer4`` of a ResNet is its last maps, ``fc:input`` the vectors that its head takes.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kdviz.core.errors import ModelError, Sentence, UnknownNameError
from kdviz.core.moved import renamed
from kdviz.core.texts.comma_lists import entries
from kdviz.distill.objectives.evaluation_mode import evaluating
from kdviz.distill.objectives.map_layers import TracedModule, last_maps, stage_maps, why_no_maps
from kdviz.distill.objectives.registry import (
    MAPS,
    STAGES,
    VECTORS,
    network_loss,
)

INPUT = ":input"


class FeatureHook:
    """Keeps the outputs of layers in a forward pass until they are taken; nothing of the pass is held afterwards.

    ::

        with FeatureHook(network, ["features", "classifier.5:input"]) as hook:
            logits = network(images)
            maps, vectors = hook.take()

    The network's results do not change. An activation that works in place, right after a hooked layer,
    changes that layer's output; the hook then gives the changed values.

    Args:
        network: The network.
        layers: Names, see :mod:`kdviz.distill.objectives.layers`.

    Raises:
        UnknownNameError: The network has no such layer.
        ModelError: In a pass, a layer returns or takes something other than a single tensor.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]):
        modules = [_module(network, layer) for layer in layers]
        self._network = type(network).__name__
        self._layers = tuple(layers)
        self._outputs: dict[str, Tensor] = {}
        self._hooks = [self._hook(module, layer) for module, layer in zip(modules, layers, strict=True)]

    def take(self) -> list[Tensor]:
        """The outputs of the layers in the last pass, in the order of their names; each pass is taken once.

        Raises:
            ModelError: A layer was not run since.
        """
        outputs, self._outputs = self._outputs, {}
        for layer in self._layers:
            if layer not in outputs:
                raise ModelError(
                    "'{network}' did not run its layer '{layer}'; choose one that every pass uses.",
                    network=self._network,
                    layer=layer,
                )
        return [outputs[layer] for layer in self._layers]

    def forget(self) -> None:
        """Forget the outputs of a pass that were not taken."""
        self._outputs = {}

    def close(self) -> None:
        """Remove the hooks from the network, and forget outputs that were not taken."""
        for hook in self._hooks:
            hook.remove()
        self.forget()

    def __enter__(self) -> FeatureHook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hook(self, module: nn.Module, layer: str) -> RemovableHandle:
        if not layer.endswith(INPUT):
            return module.register_forward_hook(lambda _, __, output: self._keep(layer, output))
        in_place = getattr(module, "inplace", False)  # then its input is about to be changed
        return module.register_forward_pre_hook(
            lambda _, inputs: self._keep(layer, inputs[0].clone() if in_place else inputs[0] if inputs else None)
        )

    def _keep(self, layer: str, output: Any) -> None:
        if not isinstance(output, Tensor):
            verb = "takes in" if layer.endswith(INPUT) else "puts out"
            raise ModelError(
                "The layer '{layer}' of '{network}' {verb} {name}, no tensor; choose another.",
                layer=layer,
                network=self._network,
                verb=verb,
                name=type(output).__name__,
            )
        self._outputs[layer] = output


@dataclass(frozen=True)
class Layers:
    """Where a network's features are.

    Attributes:
        head: The module that makes the logits, a Linear or Conv2d.
        vectors: The head's input, before a dropout: mostly ``<head>:input``.
        maps: The last maps; None where there are none.
    """

    head: str
    vectors: str
    maps: str | None
    stages: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class LayerPair:
    """The layers of a student and its teacher that a feature loss compares.

    Attributes:
        student, teacher: A layer's name; of ``stages`` several names with commas between.
        kind: ``maps``, ``vectors`` or ``stages``.
    """

    student: str
    teacher: str
    kind: str


def default_layers(network: nn.Module, sample_input: Tensor) -> Layers:
    """The head, the vectors that it takes, and the last maps, found by running two samples.

    The network is left as it is: weights, statistics and the mode of each module.

    Args:
        network: (N, C, H, W) -> logits (N, classes).
        sample_input: (N, C, H, W), as the network takes it.

    Raises:
        ModelError: There is no head; see :func:`head_of`.
    """
    calls, logits = _run(network, sample_input)
    head = _head(network, calls, logits)
    before = calls[: calls.index(head)]
    return Layers(head.name, _vectors(head, before), last_maps(before), stage_maps(before))


def head_of(network: nn.Module, sample_input: Tensor) -> tuple[str, nn.Module]:
    """The name and the module of the layer that makes the logits: the last Linear or Conv2d that runs.

    Its output is the logits, or maps of them that are averaged afterwards (SqueezeNet).

    Args:
        network: (N, C, H, W) -> logits (N, classes).
        sample_input: (N, C, H, W), as the network takes it.

    Raises:
        ModelError: The network has no such layer, or computes further after it.
    """
    head = _head(network, *_run(network, sample_input))
    return head.name, head.module


def choose_layers(
    loss: str,
    student: nn.Module,
    teacher: nn.Module,
    sample_input: Tensor,
    *,
    student_layer: str = "",
    teacher_layer: str = "",
) -> LayerPair:
    """The layers that a feature loss compares: the named ones, and the default where none is named.

    Maps, if the loss takes them and both networks have them, otherwise vectors. Any layer can serve as vectors. Of
    stages as many as both networks have, the last ones.

    Args:
        loss: A name in ``feature_losses`` or ``explanation_losses``; the latter must take maps.
        student, teacher: (N, C, H, W) -> logits (N, classes).
        sample_input: (N, C, H, W), as both networks take it.
        student_layer, teacher_layer: Names, see :mod:`kdviz.distill.objectives.layers`.

    Raises:
        UnknownNameError: There is no such loss, or no such layer.
        ModelError: The loss needs maps and a network or a named layer has none, or a network has no head.
    """
    takes = network_loss(loss).takes
    for layer in (student_layer, teacher_layer):
        if "," in layer and STAGES not in takes:
            raise ModelError("{loss} compares one layer of each network, got '{layer}'.", loss=loss, layer=layer)
    student_layers, teacher_layers = (
        _candidates(network, sample_input, layer)
        for network, layer in ((student, student_layer), (teacher, teacher_layer))
    )
    for kind in takes:
        if kind in student_layers and kind in teacher_layers:
            return _as_many(student_layers[kind], teacher_layers[kind], kind, student_layer, teacher_layer)
    lacking, layer = (student, student_layer) if STAGES not in student_layers else (teacher, teacher_layer)
    raise ModelError(why_no_maps(loss, lacking, layer))


def maps_layer(loss: str, network: nn.Module, sample_input: Tensor, layer: str = "") -> str:
    """The layer whose maps an explanation is computed from: the named one, or the last that gives maps.

    Args:
        loss: A name in ``explanation_losses``, for the message.
        network: (N, C, H, W) -> logits (N, classes).
        sample_input: (N, C, H, W), as it takes it.
        layer: Name, see :mod:`kdviz.distill.objectives.layers`; empty: the default.

    Raises:
        UnknownNameError: There is no such layer.
        ModelError: The network or the named layer has no maps, or the network has no head.
    """
    candidates = _candidates(network, sample_input, layer)
    if MAPS not in candidates:
        raise ModelError(why_no_maps(loss, network, layer))
    return candidates[MAPS]


def _module(network: nn.Module, layer: str) -> nn.Module:
    modules = dict(network.named_modules())
    del modules[""]  # the network itself
    name = layer.removesuffix(INPUT)
    if name in modules:
        return modules[name]
    close = difflib.get_close_matches(name, modules, n=5, cutoff=0.4)
    raise UnknownNameError(
        Sentence("layer of '{name}'", name=type(network).__name__), name, close or dict(network.named_children())
    )


@torch.no_grad()
def _run(network: nn.Module, sample_input: Tensor) -> tuple[list[TracedModule], Tensor]:
    """Run two samples through the network: the modules in the order in which they finished, and the logits."""
    calls: list[TracedModule] = []
    hooks = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: calls.append(
                TracedModule(name, module, inputs[0] if inputs else None, output)
            )
        )
        for name, module in network.named_modules()
        if name
    ]
    try:
        with evaluating(network):
            logits = network(sample_input[:2])
    finally:
        for hook in hooks:
            hook.remove()
    return calls, logits


def _head(network: nn.Module, calls: list[TracedModule], logits: Any) -> TracedModule:
    name = type(network).__name__
    if not calls:
        raise ModelError(
            "'{name}' shows no layers, as an ONNX file or a function does not; only its logits can be taught.",
            name=name,
        )
    linear = [call for call in calls if isinstance(call.module, nn.Linear | nn.Conv2d)]
    if not linear:
        raise ModelError("'{name}' has no linear layer and no convolution that could be its head.", name=name)
    if not _makes_logits(linear[-1].output, logits):
        raise ModelError(
            "'{name}' does not end in a linear layer or a convolution: the last one, '{layer}', does "
            "not give its logits.",
            name=name,
            layer=linear[-1].name,
        )
    return linear[-1]


def _makes_logits(output: Tensor, logits: Any) -> bool:
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        return False
    if output.ndim == 4 and output.shape[2:].numel() > 1:
        return output.shape[1] == logits.shape[1]  # maps of the logits, averaged afterwards
    flat = output.flatten(1)
    return flat.shape == logits.shape and torch.allclose(flat, logits, equal_nan=True)


def _vectors(head: TracedModule, before: list[TracedModule]) -> str:
    """The head's input, or that of a dropout in between: a student should not be compared through its dropout."""
    for call in reversed(before):
        if isinstance(call.module, nn.Dropout) and _same_memory(call.output, head.input):
            return call.name + INPUT
    return head.name + INPUT


def _same_memory(first: Any, second: Any) -> bool:
    tensors = isinstance(first, Tensor) and isinstance(second, Tensor)
    return tensors and first.data_ptr() == second.data_ptr() and first.shape == second.shape


def _candidates(network: nn.Module, sample_input: Tensor, layer: str) -> dict[str, str]:
    """The layer of a network for each kind of features that it has; of stages several, with commas between."""
    if not layer:
        layers = default_layers(network, sample_input)
        maps = {MAPS: layers.maps, STAGES: ",".join(layers.stages)} if layers.maps else {}
        return {VECTORS: layers.vectors} | maps
    names = entries(layer)
    with FeatureHook(network, names) as hook, torch.no_grad(), evaluating(network):
        network(sample_input[:2])
        outputs = hook.take()
    are_maps = all(output.ndim == 4 and output.shape[2:].numel() > 1 for output in outputs)
    if len(names) > 1:
        return {STAGES: layer} if are_maps else {}
    return {VECTORS: layer} | ({MAPS: layer, STAGES: layer} if are_maps else {})


def _as_many(student: str, teacher: str, kind: str, *named: str) -> LayerPair:
    """The last layers of both, as many of each; none of those that were named may be left out."""
    student_names, teacher_names = student.split(","), teacher.split(",")
    count = min(len(student_names), len(teacher_names))
    for layers in named:
        if len(layers.split(",")) > count:
            raise ModelError(
                "Of the layers '{layers}' only {count} can be compared; name as many of both networks.",
                layers=layers,
                count=count,
            )
    return LayerPair(",".join(student_names[-count:]), ",".join(teacher_names[-count:]), kind)


__getattr__ = renamed(__name__, {"Tap": "FeatureHook"})
