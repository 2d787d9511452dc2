"""Which network a model's file holds, and with which tensors."""

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

_COUNTER = "num_batches_tracked"  # of a BatchNorm; old checkpoints lack it, and nothing depends on it


@dataclass(frozen=True)
class FoundNetwork:
    """A network with its weights, before its input is known in full."""

    name: str
    found: str
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
        return _onnx(spec, spec.path.read_bytes())
    if spec.code:
        return _coded(spec, file, classes, trust=trust)
    if file.module is not None:
        return FoundNetwork(ONNX, "file", None, module=file.module)
    name = spec.network or recorded_network(file.recorded)
    if name and name.startswith("transformers/"):
        return _of_transformers(spec, file, name)
    return _matched(spec, file, name)


def _onnx(spec: ModelSpec, content: bytes) -> FoundNetwork:
    shape = OnnxNetwork(content, spec.path.name).shape
    channels = shape[1] if isinstance(shape[1], int) else None
    size = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    if channels not in (None, 1, 3):
        raise ModelError(
            f"'{spec.path.name}' takes pictures of {channels} channels (its input is {shape}): kdviz has grey (1) and "
            "RGB (3), with channels first; export it with an input of (N, 3, H, W)."
        )
    return FoundNetwork(ONNX, "file", None, channels, size, content=content)


def _coded(spec: ModelSpec, file: ModelFile, classes: int | None, *, trust: bool) -> FoundNetwork:
    network = network_from_code(spec.code, classes, trust=trust)
    weights = _chosen(file)
    prefix = spec.prefix or _common_prefix(weights, network)
    state = {name.removeprefix(prefix): tensor.float() for name, tensor in weights.tensors.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ModelError(f"'{spec.path.name}' does not fit '{spec.code}': {reason}") from error
    return FoundNetwork(ONNX, "given", None, module=network)


def _common_prefix(weights: Weights, network: nn.Module) -> str:
    """What the file's names have in front of the network's; empty where they fit as they are."""
    wanted = next(iter(network.state_dict()), "")
    found = next((name for name in weights.tensors if name == wanted or name.endswith(f".{wanted}")), wanted)
    return found.removesuffix(wanted)


def _of_transformers(spec: ModelSpec, file: ModelFile, name: str) -> FoundNetwork:
    config = file.recorded.get("config")
    if not isinstance(config, Mapping):
        raise ModelError(
            f"A '{name}' is built from its config.json; name the folder that holds it and the weights, not the file."
        )
    tensors = {f"network.{key}": tensor for key, tensor in _chosen(file).tensors.items()}
    channels = config.get("num_channels", 3)
    return FoundNetwork(name, "config", None, channels, settings={"config": dict(config)}, tensors=tensors)


def _matched(spec: ModelSpec, file: ModelFile, name: str | None) -> FoundNetwork:
    """The network that the tensors are of: as it was said, else as the file says, else as their shapes say."""
    failure: KdvizError | None = None
    for weights in file.weights:
        for wanted in (name,) if spec.network or name is None else (name, None):
            try:
                return _match(spec, file, weights, wanted)
            except KdvizError as error:
                failure = failure or error
    raise failure or ModelError(f"'{spec.path.name}' holds no weights.")


def _match(spec: ModelSpec, file: ModelFile, weights: Weights, name: str | None) -> FoundNetwork:
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.tensors.items()}
    kinds = {key: tensor.dtype for key, tensor in weights.tensors.items()}
    match = identify(shapes, network=name, prefix=spec.prefix, dtypes=kinds)
    return FoundNetwork(
        match.network,
        "given" if spec.network else "matched" if name is None else _where(file),
        match.classes,
        match.channels,
        match.size,
        match.settings,
        tensors_for(match, weights.tensors),
        notes=(*_notes(match), *match.notes),
    )


def _where(file: ModelFile) -> str:
    return "config" if file.kind.endswith("_folder") else "file"


def _chosen(file: ModelFile) -> Weights:
    if not file.weights:
        raise ModelError(f"'{file.path.name}' holds no weights.")
    return file.weights[0]


def _notes(match: Match) -> tuple[str, ...]:
    said = []
    if match.prefix:
        said.append(f"'{match.prefix}' was taken off the names of its tensors.")
    if match.rivals:
        shown = ", ".join(match.rivals[:4]) + (" ..." if len(match.rivals) > 4 else "")
        said.append(
            f"The tensors fit {match.network}, and just as well {shown}: the first was taken; name another with "
            "network=."
        )
    if match.foreign:
        said.append(f"{len(match.foreign)} tensors are no part of the network and were left out: {match.foreign[0]}.")
    return tuple(said)
