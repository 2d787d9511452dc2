"""Import of one model: its network and input, as its file records them, and the file that is stored of it."""

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
from kdviz.experiment.run import validated_network
from kdviz.importing.network import FoundNetwork, network_of, source_of
from kdviz.importing.spec import ModelSpec
from kdviz.importing.trusted import as_onnx
from kdviz.models.checkpoints import (
    ModelFile,
    open_model_file,
    recorded_classes,
    recorded_input,
)
from kdviz.models.identify.fits import COUNTER
from kdviz.models.inputs import InputSpec
from kdviz.models.library_inputs import input_of
from kdviz.models.networks import OnnxNetwork, build_network, import_timm
from kdviz.models.outputs import TensorOutput

_NOISE = 4  # pictures of a first forward pass


@dataclass(frozen=True)
class ImportedModel:
    """An imported model whose weights are in the experiment's folder: all that its run needs.

    Attributes:
        spec: The specification that the user gave.
        network: Name of the network; ``onnx`` for a file that holds its own.
        network_from: ``given``, ``file``, ``config`` or ``matched``.
        input: Input of the network.
        input_from: ``given``, ``file``, ``config``, ``library`` or ``guessed``.
        logits: Number of logits.
        class_names: Names of the logits, if the file or the user gives them.
        settings: Settings that the network is built with.
        weights, sha256: The file in the experiment's folder, and its SHA-256.
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


def import_model(
    spec: ModelSpec,
    folder: Path,
    classes: int | None,
    *,
    trust: bool = False,
    pictures: tuple[int, int] | None = None,
) -> ImportedModel:
    """Read a model's file, find its network and its input, and write its weights into the experiment's folder.

    Args:
        spec: The file, and what is known about it.
        folder: The experiment's folder.
        classes: Number of the data's classes, if it is known.
        trust: Whether code in files may run.
        pictures: Height and width of the data's pictures, where all are small and of one size.

    Raises:
        KdvizError: The file cannot be used; the text says what it is, and what to do.
    """
    file = open_model_file(spec.path, key=spec.key, trust=trust)
    network = network_of(spec, file, classes, trust=trust)
    channels = spec.given.get("channels") or network.channels
    input_spec, source = input_of(
        network.name,
        recorded_input={**(recorded_input(file.recorded) or {}), "source": source_of(file)},
        given=spec.given,
        settings=network.settings,
        size=network.size,
        channels=channels,
        pictures=pictures,
    )
    if isinstance(input_spec.resize, int) and input_spec.resize < min(input_spec.size):
        raise SettingError(
            "The model '{role}' would get {height} x {width} pixels cut out of a short side of "
            "{resize}; resize must not be below size.",
            role=spec.role,
            height=input_spec.size[0],
            width=input_spec.size[1],
            resize=input_spec.resize,
        )
    network = _as_stored(spec, _with_size(network, input_spec), input_spec)
    class_names = _class_names(spec, file)
    logits, state = _probe(spec, network, input_spec)
    if class_names is not None and len(class_names) != logits:
        raise ModelError(
            "The model '{role}' gives {logits} logits, and {n_class_names} class names are said of it; "
            "see the key classes.",
            role=spec.role,
            logits=logits,
            n_class_names=len(class_names),
        )
    weights, digest = _write_weights(spec, network.content, state, folder)
    return ImportedModel(
        spec,
        network.name,
        network.source,
        input_spec,
        source,
        logits,
        class_names,
        dict(network.settings),
        weights,
        digest,
        (*file.notes, *network.notes, *_about_size(spec, input_spec, pictures)),
    )


def _about_size(spec: ModelSpec, input_spec: InputSpec, pictures: tuple[int, int] | None) -> tuple[str, ...]:
    """A note where small pictures get another size that nobody gave: it may have been trained on them as they are."""
    if pictures is None or input_spec.size == pictures or "size" in spec.given:
        return ()
    size, own = (f"{height} x {width}" for height, width in (pictures, input_spec.size))
    given = f"{pictures[0]}x{pictures[1]}"
    return (f"The pictures of {size} become {own}; if it was trained on them as they are, give size={given}.",)


def _as_stored(spec: ModelSpec, network: FoundNetwork, input_spec: InputSpec) -> FoundNetwork:
    """Convert a module that only its own code can build to an ONNX file."""
    if network.module is None:
        return network
    module = validated_module(network.module, spec.role, input_spec)
    note = f"'{spec.role}' is kept as an ONNX file, so that its code is not needed again."
    content = as_onnx(module, input_spec.channels, input_spec.size)
    return replace(network, content=content, module=None, notes=(*network.notes, note))


def validated_module(module: nn.Module, role: str, input_spec: InputSpec) -> nn.Module:
    """The module, in evaluation mode on the CPU, after a forward pass of noise.

    Raises:
        ModelError: The pass failed.
    """
    module = module.cpu().float().eval().requires_grad_(False)
    with torch.no_grad():
        try:
            output = module(
                torch.randn(_NOISE, input_spec.channels, *input_spec.size, generator=torch.Generator().manual_seed(0))
            )
        except Exception as error:  # foreign code may raise anything
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                "The model '{role}' does not take pictures of {channels} x {height} x {width}: {reason}",
                role=role,
                channels=input_spec.channels,
                height=input_spec.size[0],
                width=input_spec.size[1],
                reason=reason,
            ) from error
    if not isinstance(output, Tensor):
        module = TensorOutput(module).eval()
    return module


def _with_size(network: FoundNetwork, input_spec: InputSpec) -> FoundNetwork:
    """The network with the setting ``img_size``, if it accepts another size of the input only with it."""
    if (
        not network.name.startswith("timm/")
        or "img_size" in network.settings
        or input_spec.size[0] != input_spec.size[1]
    ):
        return network
    pretrained_cfg = import_timm(network.name).get_pretrained_cfg(network.name.partition("/")[2])
    if pretrained_cfg is None or tuple(pretrained_cfg.input_size[1:]) == input_spec.size:
        return network
    try:
        with torch.device("meta"):
            module = build_network(
                network.name, classes=2, channels=input_spec.channels, size=input_spec.size, settings=network.settings
            )
            module.eval()(torch.empty(1, input_spec.channels, *input_spec.size))
    except Exception:  # each network refuses a size in its own way
        return replace(network, settings={**network.settings, "img_size": input_spec.size[0]})
    return network


def _probe(spec: ModelSpec, network: FoundNetwork, input_spec: InputSpec) -> tuple[int, Mapping[str, Tensor]]:
    """Number of logits, found by a first forward pass, and the tensors to store: none for an ONNX file.

    Raises:
        ModelError: The file does not fit the network, or the network does not accept its input.
    """
    if network.content is not None:
        onnx = OnnxNetwork(network.content, spec.path.name)
        with torch.no_grad():
            shape = tuple(onnx(torch.zeros(_NOISE, input_spec.channels, *input_spec.size)).shape)
        if len(shape) != 2:
            raise ModelError(
                "'{name}' gives {shape} for {noise} pictures, and not one row a picture.",
                name=spec.path.name,
                shape=shape,
                noise=_NOISE,
            )
        return int(shape[1]), {}
    count = network.logits if network.logits is not None else _configured_classes(network)
    return count, _build(spec, network, input_spec, count).state_dict()


def _build(spec: ModelSpec, network: FoundNetwork, input_spec: InputSpec, logits: int) -> nn.Module:
    """The network with its weights, after a forward pass of noise."""
    module = build_network(
        network.name, classes=logits, channels=input_spec.channels, size=input_spec.size, settings=network.settings
    )
    _load(spec, network, module)
    validated_network(module.float().eval(), spec.role, input_spec, logits)
    return module


def _load(spec: ModelSpec, network: FoundNetwork, module: nn.Module) -> None:
    tensors = dict(network.tensors or {})
    not_finite = next(
        (name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()), None
    )
    if not_finite is not None:
        raise ModelError(
            "'{name}' holds values in {not_finite!r} that are not finite: its training failed; use an earlier one.",
            name=spec.path.name,
            not_finite=not_finite,
        )
    try:
        keys = module.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise ModelError(
            "'{name}' does not fit a '{network}' of this input: {other_shape}; the weights say their "
            "own size and channels, so leave size= and channels= away.",
            name=spec.path.name,
            network=network.name,
            other_shape=_other_shape(module, tensors),
        ) from error
    missing = [name for name in keys.missing_keys if not name.endswith(COUNTER)]
    if missing or keys.unexpected_keys:
        difference = (
            f"it lacks {missing[0]!r}" if missing else f"it has {keys.unexpected_keys[0]!r}, which the network has not"
        )
        raise ModelError(
            "'{name}' does not fit a '{network}': {difference}.",
            name=spec.path.name,
            network=network.name,
            difference=difference,
        )


def _other_shape(module: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    network_state = module.state_dict()
    name = next(name for name in tensors if name in network_state and network_state[name].shape != tensors[name].shape)
    return f"{name!r} is {tuple(tensors[name].shape)} in the file and would be {tuple(network_state[name].shape)}"


def _configured_classes(network: FoundNetwork) -> int:
    config = network.settings["config"]
    labels = config.get("id2label") or {}
    return int(config.get("num_labels") or len(labels) or 2)


def _class_names(spec: ModelSpec, file: ModelFile) -> tuple[str, ...] | None:
    if not spec.classes:
        return recorded_classes(file.recorded)
    source: Any = spec.classes if Path(spec.classes).is_file() else spec.classes.split("/")
    return tuple(read_classes(source).names)


def _write_weights(
    spec: ModelSpec, content: bytes | None, state: Mapping[str, Tensor], folder: Path
) -> tuple[str, str]:
    """Write the weights file; return its name and SHA-256."""
    data = content or save_safetensors(_unshare({name: tensor.contiguous() for name, tensor in state.items()}))
    digest = hashlib.sha256(data).hexdigest()
    name = f"{spec.role}-{digest[:8]}.{'onnx' if content else 'safetensors'}"
    atomic_write(folder / name, data)
    return name, digest


def _unshare(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors that share memory, since safetensors does not accept them."""
    seen: set[int] = set()
    unshared = {}
    for name, tensor in state.items():
        pointer = tensor.untyped_storage().data_ptr()
        unshared[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return unshared
