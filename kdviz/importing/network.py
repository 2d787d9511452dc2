"""Search for the network that a model's file holds, and its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from kdviz.core.errors import KdvizError, ModelError
from kdviz.importing.spec import ModelSpec
from kdviz.importing.trusted import network_from_code
from kdviz.models.checkpoints import (
    ModelFile,
    Weights,
    recorded_network,
)
from kdviz.models.identify import Match, identify, tensors_for
from kdviz.models.networks import ONNX, OnnxNetwork


@dataclass(frozen=True)
class FoundNetwork:
    """A network with its weights, before its input is fully known.

    Attributes:
        name: Name of the network; ``onnx`` if its file, or the module, holds its own.
        source: Where the name comes from: ``given``, ``file``, ``config`` or ``matched``.
        logits: Number of logits, if the weights tell.
        channels, size: Number of channels, height and width of the input, if the weights tell.
        settings: Settings that the network is built with.
        tensors: Weights under the network's names.
        module: A module that only its own code can build.
        content: Content of an ONNX file.
        notes: What was chosen, ignored or assumed, one sentence each.
    """

    name: str
    source: str
    logits: int | None
    channels: int | None = None
    size: tuple[int, int] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Tensor] | None = None
    module: nn.Module | None = None
    content: bytes | None = None
    notes: tuple[str, ...] = ()


def network_of(spec: ModelSpec, file: ModelFile, classes: int | None, *, trust: bool) -> FoundNetwork:
    if file.kind == ONNX:
        return _onnx_network(spec, spec.path.read_bytes())
    if spec.code:
        return _network_from_code(spec, file, classes, trust=trust)
    if file.module is not None:
        return FoundNetwork(ONNX, "file", None, module=file.module)
    name = spec.network or recorded_network(file.recorded)
    if name and name.startswith("transformers/"):
        return _transformers_network(spec, file, name)
    return _match_any(spec, file, name)


def _onnx_network(spec: ModelSpec, content: bytes) -> FoundNetwork:
    shape = OnnxNetwork(content, spec.path.name).shape
    channels = shape[1] if isinstance(shape[1], int) else None
    size = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    if channels not in (None, 1, 3):
        raise ModelError(
            "'{name}' takes pictures of {channels} channels (its input is {shape}): kdviz has grey (1) "
            "and RGB (3), with channels first; export it with an input of (N, 3, H, W).",
            name=spec.path.name,
            channels=channels,
            shape=shape,
        )
    return FoundNetwork(ONNX, "file", None, channels, size, content=content)


def _network_from_code(spec: ModelSpec, file: ModelFile, classes: int | None, *, trust: bool) -> FoundNetwork:
    network = network_from_code(spec.code, classes, trust=trust)
    weights = _best_weights(file)
    prefix = spec.prefix or _common_prefix(weights, network)
    state = {name.removeprefix(prefix): tensor.float() for name, tensor in weights.tensors.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(
            "'{name}' does not fit '{code}': {reason}", name=spec.path.name, code=spec.code, reason=reason
        ) from error
    return FoundNetwork(ONNX, "given", None, module=network)


def _common_prefix(weights: Weights, network: nn.Module) -> str:
    """The prefix of the file's names before the network's; empty if they are the same."""
    first_name = next(iter(network.state_dict()), "")
    match = next(
        (name for name in weights.tensors if name == first_name or name.endswith(f".{first_name}")), first_name
    )
    return match.removesuffix(first_name)


def _transformers_network(spec: ModelSpec, file: ModelFile, name: str) -> FoundNetwork:
    config = file.recorded.get("config")
    if not isinstance(config, Mapping):
        raise ModelError(
            "A '{name}' is built from its config.json; name the folder that holds it and the weights, not the file.",
            name=name,
        )
    tensors = {f"network.{key}": tensor for key, tensor in _best_weights(file).tensors.items()}
    channels = config.get("num_channels", 3)
    return FoundNetwork(name, "config", None, channels, settings={"config": dict(config)}, tensors=tensors)


def _match_any(spec: ModelSpec, file: ModelFile, name: str | None) -> FoundNetwork:
    """The network of the tensors: the given one, else the one that the file records, else by their shapes."""
    failure: KdvizError | None = None
    for weights in file.weights:
        for candidate in (name,) if spec.network or name is None else (name, None):
            try:
                return _match(spec, file, weights, candidate)
            except KdvizError as error:
                failure = failure or error
    raise failure or ModelError("'{name}' holds no weights.", name=spec.path.name)


def _match(spec: ModelSpec, file: ModelFile, weights: Weights, name: str | None) -> FoundNetwork:
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.tensors.items()}
    dtypes = {key: tensor.dtype for key, tensor in weights.tensors.items()}
    match = identify(shapes, network=name, prefix=spec.prefix, dtypes=dtypes)
    return FoundNetwork(
        match.network,
        "given" if spec.network else "matched" if name is None else source_of(file),
        match.classes,
        match.channels,
        match.size,
        match.settings,
        tensors_for(match, weights.tensors),
        notes=(*_notes(match), *match.notes),
    )


def source_of(file: ModelFile) -> str:
    return "config" if file.kind.endswith("_folder") else "file"


def _best_weights(file: ModelFile) -> Weights:
    if not file.weights:
        raise ModelError("'{name}' holds no weights.", name=file.path.name)
    return file.weights[0]


def _notes(match: Match) -> tuple[str, ...]:
    notes = []
    if match.prefix:
        notes.append(f"'{match.prefix}' was taken off the names of its tensors.")
    if match.rivals:
        rivals = ", ".join(match.rivals[:4]) + (" ..." if len(match.rivals) > 4 else "")
        notes.append(
            f"The tensors fit {match.network}, and just as well {rivals}: the first was taken; name another with "
            "network=."
        )
    if match.foreign:
        notes.append(f"{len(match.foreign)} tensors are no part of the network and were left out: {match.foreign[0]}.")
    return tuple(notes)
