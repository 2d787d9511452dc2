"""One model that is to be imported: what its file says, its network, its input, and the file that is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.files import atomic_write
from kdviz.data.labels.class_names import read_classes
from kdviz.experiment.run import tried
from kdviz.importing.network import _COUNTER, FoundNetwork, _where, network_of
from kdviz.importing.spec import ModelSpec
from kdviz.importing.trusted import as_onnx
from kdviz.models.checkpoints import (
    ModelFile,
    open_model_file,
    recorded_classes,
    recorded_input,
)
from kdviz.models.inputs import InputSpec, TensorOutput
from kdviz.models.library_inputs import input_of
from kdviz.models.networks import OnnxNetwork, build_network, import_timm

_NOISE = 4  # pictures of a first pass


@dataclass(frozen=True)
class ImportedModel:
    """What a run will say of a model, once its weights are in the experiment's folder.

    Attributes:
        spec: As it was asked for.
        network: By name; ``onnx`` for a file that holds its own.
        network_from: ``given``, ``file``, ``config`` or ``matched``.
        input: Of the network.
        input_from: ``given``, ``file``, ``config``, ``library`` or ``guessed``.
        logits: How many the network gives.
        class_names: Of the logits, where the file or the person says them.
        settings: What the network is built with.
        weights, sha256: The file in the experiment's folder.
        notes: What was chosen, ignored or assumed, one sentence each.
    """

    spec: ModelSpec
    network: str
    network_from: str
    input: InputSpec
    input_from: str
    logits: int
    class_names: tuple[str, ...] | None
    settings: Mapping[str, Any]
    weights: str
    sha256: str
    notes: tuple[str, ...] = ()


def import_model(spec: ModelSpec, folder: Path, classes: int | None, *, trust: bool = False) -> ImportedModel:
    """Read a model's file, find its network and its input, and write its weights into the experiment's folder.

    Args:
        spec: Which file, and what is known of it.
        folder: The experiment's.
        classes: How many the data have, where that is known.
        trust: Whether code in files may run.

    Raises:
        KdvizError: The file cannot be used; the text says what it is and the way out.
    """
    file = open_model_file(spec.path, key=spec.key, trust=trust)
    network = network_of(spec, file, classes, trust=trust)
    channels = spec.given.get("channels") or network.channels
    own, source = input_of(
        network.name,
        recorded_input={**(recorded_input(file.recorded) or {}), "source": _where(file)},
        given=spec.given,
        settings=network.settings,
        size=network.size,
        channels=channels,
    )
    if isinstance(own.resize, int) and own.resize < min(own.size):
        raise SettingError(
            f"The model '{spec.role}' would get {own.size[0]} x {own.size[1]} pixels cut out of a short side of "
            f"{own.resize}; resize must not be below size."
        )
    network = _as_kept(spec, _of_size(network, own), own)
    names = _class_names(spec, file)
    logits, state = _tried_out(spec, network, own)
    if names is not None and len(names) != logits:
        raise ModelError(
            f"The model '{spec.role}' gives {logits} logits, and {len(names)} class names are said of it; "
            "see the key classes."
        )
    weights, digest = _written(spec, network.content, state, folder)
    return ImportedModel(
        spec,
        network.name,
        network.found,
        own,
        source,
        logits,
        names,
        dict(network.settings),
        weights,
        digest,
        (*file.notes, *network.notes),
    )


def _as_kept(spec: ModelSpec, network: FoundNetwork, own: InputSpec) -> FoundNetwork:
    """A module that only its own code can build becomes an ONNX file."""
    if network.module is None:
        return network
    module = tried_module(network.module, spec.role, own)
    note = f"'{spec.role}' is kept as an ONNX file, so that its code is not needed again."
    content = as_onnx(module, own.channels, own.size)
    return replace(network, content=content, module=None, notes=(*network.notes, note))


def tried_module(module: nn.Module, role: str, own: InputSpec) -> nn.Module:
    """The module, once it took noise of its input's size.

    Raises:
        ModelError: It did not, or gave no logits.
    """
    module = module.cpu().float().eval().requires_grad_(False)
    with torch.no_grad():
        try:
            output = module(torch.randn(_NOISE, own.channels, *own.size, generator=torch.Generator().manual_seed(0)))
        except Exception as error:  # it is somebody's own code
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"The model '{role}' does not take pictures of {own.channels} x {own.size[0]} x {own.size[1]}: {reason}"
            ) from error
    if not isinstance(output, Tensor):
        module = TensorOutput(module).eval()
    return module


def _of_size(network: FoundNetwork, own: InputSpec) -> FoundNetwork:
    """The network, told its size where it takes an unusual one only so, though its shapes do not show it."""
    if not network.name.startswith("timm/") or "img_size" in network.settings or own.size[0] != own.size[1]:
        return network
    usual = import_timm(network.name).get_pretrained_cfg(network.name.partition("/")[2])
    if usual is None or tuple(usual.input_size[1:]) == own.size:
        return network
    try:
        with torch.device("meta"):
            module = build_network(
                network.name, classes=2, channels=own.channels, size=own.size, settings=network.settings
            )
            module.eval()(torch.empty(1, own.channels, *own.size))
    except Exception:  # each network refuses a size in its own way
        return replace(network, settings={**network.settings, "img_size": own.size[0]})
    return network


def _tried_out(spec: ModelSpec, network: FoundNetwork, own: InputSpec) -> tuple[int, Mapping[str, Tensor]]:
    """How many logits the network gives, by a first pass, and its tensors as they are kept: none of an ONNX file.

    Raises:
        ModelError: The file does not fit the network, or the network does not take its input.
    """
    if network.content is not None:
        onnx = OnnxNetwork(network.content, spec.path.name)
        with torch.no_grad():
            shape = tuple(onnx(torch.zeros(_NOISE, own.channels, *own.size)).shape)
        if len(shape) != 2:
            raise ModelError(f"'{spec.path.name}' gives {shape} for {_NOISE} pictures, and not one row a picture.")
        return int(shape[1]), {}
    count = network.logits if network.logits is not None else _of_config(network)
    return count, _built(spec, network, own, count).state_dict()


def _built(spec: ModelSpec, network: FoundNetwork, own: InputSpec, count: int) -> nn.Module:
    """The network with its weights, once it took noise of its input."""
    module = build_network(network.name, classes=count, channels=own.channels, size=own.size, settings=network.settings)
    _load(spec, network, module)
    tried(module.float().eval(), spec.role, own, count)
    return module


def _load(spec: ModelSpec, network: FoundNetwork, module: nn.Module) -> None:
    tensors = dict(network.tensors or {})
    broken = next((name for name, one in tensors.items() if one.is_floating_point() and not one.isfinite().all()), None)
    if broken is not None:
        raise ModelError(
            f"'{spec.path.name}' holds values in {broken!r} that are not finite: its training failed; use an earlier "
            "one."
        )
    try:
        keys = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ModelError(
            f"'{spec.path.name}' does not fit a '{network.name}' of this input: {_other_shape(module, tensors)}; the "
            "weights say their own size and channels, so leave size= and channels= away."
        ) from error
    missing = [name for name in keys.missing_keys if not name.endswith(_COUNTER)]
    if missing or keys.unexpected_keys:
        what = (
            f"it lacks {missing[0]!r}" if missing else f"it has {keys.unexpected_keys[0]!r}, which the network has not"
        )
        raise ModelError(f"'{spec.path.name}' does not fit a '{network.name}': {what}.")


def _other_shape(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    own = module.state_dict()
    name = next(name for name in tensors if name in own and own[name].shape != tensors[name].shape)
    return f"{name!r} is {tuple(tensors[name].shape)} in the file and would be {tuple(own[name].shape)}"


def _of_config(network: FoundNetwork) -> int:
    config = network.settings["config"]
    labels = config.get("id2label") or {}
    return int(config.get("num_labels") or len(labels) or 2)


def _class_names(spec: ModelSpec, file: ModelFile) -> tuple[str, ...] | None:
    if not spec.classes:
        return recorded_classes(file.recorded)
    source: Any = spec.classes if Path(spec.classes).is_file() else spec.classes.split("/")
    return tuple(read_classes(source).names)


def _written(spec: ModelSpec, content: bytes | None, state: Mapping[str, Tensor], folder: Path) -> tuple[str, str]:
    """Name and SHA-256 of the weights file."""
    data = content or save_safetensors(_apart({name: tensor.contiguous() for name, tensor in state.items()}))
    digest = hashlib.sha256(data).hexdigest()
    name = f"{spec.role}-{digest[:8]}.{'onnx' if content else 'safetensors'}"
    atomic_write(folder / name, data)
    return name, digest


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory as copies of their own, which is what safetensors takes."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart
