"""Weights from elsewhere: files that nobody has checked, and what torchvision and timm trained on ImageNet.

No file is unpickled beyond tensors, and none is unpacked to much more than its size. Everything that cannot be used is
one :class:`~kdviz.errors.ModelError`.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kdviz.errors import ModelError, SettingError, UnknownNameError
from kdviz.networks import RENORMALISED, Renormalised, import_timm

_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
_EXPANSION = 20  # an archive that unpacks to more than this many times its size
_SMALL = 64 * 2**20  # is refused, unless it is small all the same
_COUNTER = "num_batches_tracked"  # of a BatchNorm; old checkpoints lack it, and nothing depends on it
_SAVE = "save it as torch.save(model.state_dict(), 'weights.pt'), or as safetensors"

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


# files ----------------------------------------------------------------------------------------------------------------


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: safetensors, or what ``torch.save`` made of a state dict.

    A state dict inside (under ``state_dict``, ``model_state_dict`` or ``model``) is found, and a prefix that all its
    names share (``module.``, ``_orig_mod.``, ``model.``) is taken off. Tensors may be mapped from the file.

    Raises:
        ModelError: The file cannot be read, holds more than tensors, or unpacks to far more than its size.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}.") from error
    if path.suffix == ".safetensors" or (start[8:] == b"{" and int.from_bytes(start[:8], "little") < size):
        return _without_prefix(_tensors(path, _load_safetensors(path)))
    stored = start.startswith(b"PK\3\4") and _is_stored(path, size)
    return _without_prefix(_tensors(path, _load_torch(path, mapped=stored)))


def _load_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except Exception as error:  # its reader raises SafetensorError, and torch's and Python's own for odd contents
        raise ModelError(f"'{path}' is damaged, or is not a safetensors file; please get it again.") from error


def _is_stored(path: Path, size: int) -> bool:
    """Whether the files in an archive of ``torch.save`` are not compressed, as it writes them.

    Raises:
        ModelError: It is no such archive, or unpacks to far more than its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelError(f"'{path}' is damaged or cut off; please get it again.") from error
    inner = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise ModelError(
            f"'{path}' is a TorchScript archive, which holds code; load it where you trust it and {_SAVE}."
        )
    if "data.pkl" not in inner:
        raise ModelError(f"'{path}' is not a checkpoint of torch; {_SAVE}.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > max(_SMALL, _EXPANSION * size):
        raise ModelError(
            f"'{path}' ({size / 2**20:.1f} MB) would unpack to {unpacked / 2**20:.0f} MB, which no checkpoint of torch "
            f"does; if you trust it, load it and {_SAVE}."
        )
    return all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)


def _load_torch(path: Path, *, mapped: bool) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own old formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged pickle can raise nearly anything
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise ModelError(
                f"'{path}' holds a Python object ({found[1]}) and not only tensors, and kdviz runs no code from files; "
                f"where it was made, {_SAVE}."
            ) from error
        raise ModelError(f"'{path}' is damaged, or is not a checkpoint of torch; {_SAVE}.") from error


def _tensors(path: Path, content: Any) -> dict[str, Tensor]:
    for _ in _WRAPPERS:  # one in another at most: a forged file could hold itself
        inner = [content[key] for key in _WRAPPERS if isinstance(content, Mapping) and _is_mapping(content.get(key))]
        content = inner[0] if inner else content
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"'{path}' holds no tensors by name; {_SAVE}.")
    for name, value in content.items():
        if not isinstance(name, str) or not _is_plain(value):
            kind = f"{value.layout} on {value.device}" if isinstance(value, Tensor) else type(value).__name__
            raise ModelError(f"'{path}' holds {name!r:.100} ({kind}), which is not an ordinary tensor; {_SAVE}.")
    return {name: value.detach() for name, value in content.items()}


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _is_plain(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout == torch.strided and value.device.type == "cpu" and not (value.is_quantized or value.is_nested)


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((start for start in _PREFIXES if all(name.startswith(start) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


# into networks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded:
    """What :func:`load_pretrained` did; names are the network's.

    Attributes:
        loaded: Number of tensors that were copied.
        head: Tensors that were left fresh because they belong to the head.
        missing: Fresh, because the checkpoint lacks them.
        mismatched: Fresh, because their shape or kind is another in the checkpoint.
        unused: Names in the checkpoint that were not used, other than those of its head.
    """

    loaded: int
    head: tuple[str, ...]
    missing: tuple[str, ...]
    mismatched: tuple[str, ...]
    unused: tuple[str, ...]

    def __str__(self) -> str:
        rest = [
            f"{len(names)} {what} (first {names[0]!r:.100})"
            for names, what in (
                (self.missing, "not in the checkpoint"),
                (self.mismatched, "of another shape"),
                (self.unused, "in the checkpoint only"),
            )
            if names
        ]
        return f"{self.loaded} tensors loaded, {len(self.head)} of the head are fresh" + "".join(
            f", {text}" for text in rest
        )


def load_pretrained(network: nn.Module, state: Mapping[str, Tensor], *, head: str | tuple[str, ...]) -> Loaded:
    """Copy what fits of a checkpoint into a network, for transfer learning; the rest stays as it is.

    Args:
        network: A :class:`~kdviz.networks.Renormalised` one gets the tensors into its inner network.
        state: What :func:`read_checkpoint` or :func:`download_pretrained` gave.
        head: The part that is left fresh, by name: see :func:`classifier_head`.

    Raises:
        SettingError: The network has no such part.
        ModelError: Fewer than half of the network's tensors are in the checkpoint: it is another network's.
    """
    heads = (head,) if isinstance(head, str) else head
    own, state = network.state_dict(), _named_for(network, state)
    of_head = tuple(name for name in own if _is_part(name, heads))
    if not of_head:
        raise SettingError(f"The network has no part '{', '.join(heads)}'; its parts are {_parts(own)}.")
    body = [name for name in own if name not in of_head]
    missing = tuple(name for name in body if name not in state and not name.endswith(_COUNTER))
    mismatched = tuple(name for name in body if name in state and not _is_alike(own[name], state[name]))
    fitting = {name: state[name] for name in body if name in state and name not in mismatched}
    wanted, found = (sum(not name.endswith(_COUNTER) for name in names) for names in (body, fitting))
    if found < wanted / 2:
        raise ModelError(
            f"Only {found} of the network's {wanted} tensors are in the checkpoint with the same name and shape; it is "
            "another network's: check the name of the network."
        )
    network.load_state_dict(fitting, strict=False)
    unused = tuple(name for name in state if name not in own and not _is_part(name, heads))
    return Loaded(len(fitting), of_head, missing, mismatched, unused)


def load_trained(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy a trained classifier's checkpoint into its network: all of it must fit.

    Args:
        network: A :class:`~kdviz.networks.Renormalised` one takes a checkpoint of its inner network, too.
        state: What :func:`read_checkpoint` gave.

    Raises:
        ModelError: A tensor is missing, unexpected or of another shape, or the classes are not as many.
    """
    own, state = network.state_dict(), _named_for(network, state)
    missing = [name for name in own if name not in state and not name.endswith(_COUNTER)]
    unexpected = [name for name in state if name not in own]
    mismatched = [name for name in own if name in state and not _is_alike(own[name], state[name])]
    if mismatched and not missing and not unexpected:
        _require_classes(network, state, mismatched)
    problems = [
        f"{len(names)} {what} (first {names[0]!r:.100})"
        for names, what in ((missing, "missing"), (unexpected, "unexpected"), (mismatched, "of another shape"))
        if names
    ]
    if problems:
        raise ModelError(
            f"The checkpoint does not fit the network: of its tensors {', '.join(problems)}; check the network's name "
            "and input size."
        )
    network.load_state_dict(dict(state), strict=False)


def _require_classes(network: nn.Module, state: Mapping[str, Tensor], mismatched: Iterable[str]) -> None:
    """Say so if the number of classes is all that differs."""
    own, head = network.state_dict(), classifier_head(network)
    pairs = [(own[name].shape, state[name].shape) for name in mismatched if _is_part(name, head)]
    counts = {(mine[:1], given[:1]) for mine, given in pairs if mine[1:] == given[1:]}
    if len(pairs) == len(list(mismatched)) and len(counts) == 1:
        ((mine, given),) = counts
        raise ModelError(
            f"The checkpoint is of a classifier of {given[0]} classes, and here there are {mine[0]}; "
            "use it as pretrained weights, or train one of these classes."
        )


def classifier_head(network: nn.Module) -> tuple[str, ...]:
    """The names of the part that gives the logits: as timm says of its networks, or the last layer with weights.

    Raises:
        SettingError: The network has no weights.
    """
    if isinstance(network, Renormalised):
        return tuple(f"network.{name}" for name in classifier_head(network.network))
    described = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    names = (described,) if isinstance(described, str) else tuple(described)
    if names:
        return names
    layers = [
        name for name, module in network.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    if not layers:
        raise SettingError(f"The network {type(network).__name__} has no weights, so that none can be loaded.")
    return (layers[-1],)


def _named_for(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint under the network's names: of a renormalised one's inner network, if it is one of that."""
    if not isinstance(network, Renormalised) or {"scale", "shift"} <= state.keys():
        return dict(state)
    inner = {f"network.{name}": tensor for name, tensor in state.items()}
    return {"scale": network.scale, "shift": network.shift, **inner}


def _is_part(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}.") for part in parts)


def _is_alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.is_floating_point() == other.is_floating_point()


def _parts(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))


# from torchvision and timm --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PretrainedInput:
    """The input that pretrained weights learned from: what an ``InputSpec`` of three channels should say.

    Attributes:
        size: Height and width.
        mean, std: Normalisation of values in [0, 1], one number a channel.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def pretrained_input(name: str) -> PretrainedInput:
    """The input that the pretrained weights of a network want, by the network's name.

    Raises:
        UnknownNameError: torchvision or timm has no such network.
        SettingError: The network has no pretrained weights, or timm is not installed.
    """
    library, _, model = name.removesuffix(RENORMALISED).partition("/")
    if library == "resnet50v2_mxnet":  # the norm on its input comes after ImageNet's normalisation
        return PretrainedInput((224, 224), *_IMAGENET)
    if library == "torchvision" and model:
        preset = _torchvision_weights(model).transforms()
        return PretrainedInput((preset.crop_size[0],) * 2, tuple(preset.mean), tuple(preset.std))
    if library == "timm" and model:
        settings = _timm_settings(model)
        height, width = settings.input_size[1:]
        return PretrainedInput((height, width), tuple(settings.mean), tuple(settings.std))
    raise SettingError(f"The network '{name}' has no pretrained weights, and so no input that they want.")


def download_pretrained(name: str) -> dict[str, Tensor]:
    """The ImageNet weights of a network of torchvision or timm, from the web or from its cache.

    Raises:
        UnknownNameError: torchvision or timm has no such network.
        SettingError: The network has none, or timm is not installed.
        ModelError: They cannot be downloaded.
    """
    library, _, model = name.removesuffix(RENORMALISED).partition("/")
    if library not in ("torchvision", "timm") or not model:
        raise SettingError(
            f"There are no weights of '{name}' to download; give a file with --teacher-weights / --student-weights."
        )
    weights = _torchvision_weights(model) if library == "torchvision" else _timm_settings(model)
    try:
        if library == "torchvision":
            return dict(weights.get_state_dict(progress=False, check_hash=True))
        return import_timm(name).create_model(model, pretrained=True).state_dict()
    except (
        Exception
    ) as error:  # each of the libraries under them has its own, for a missing network as for a missing file
        raise ModelError(
            f"The pretrained weights of '{name}' cannot be downloaded; check the network, or give a file with "
            "--teacher-weights / --student-weights."
        ) from error


def _torchvision_weights(model: str) -> Any:
    from torchvision import models

    known = models.list_models(module=models)
    if model not in known:
        raise UnknownNameError("torchvision network", model, known)
    return models.get_model_weights(model).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]


def _timm_settings(model: str) -> Any:
    timm = import_timm(f"timm/{model}")
    if model not in timm.list_models():
        raise UnknownNameError("timm network", model, timm.list_models())
    settings = timm.get_pretrained_cfg(model)
    if settings is None or not settings.has_weights:
        raise SettingError(f"timm has no pretrained weights of '{model}'; give a file, or choose another network.")
    return settings
