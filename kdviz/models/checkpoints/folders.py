"""Folders with a model: those of timm and transformers, checkpoints in several files, and folders that look alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from torch import Tensor

from kdviz.core.language import _
from kdviz.models.checkpoints import refusals
from kdviz.models.checkpoints.contents.formats import foreign_kind
from kdviz.models.checkpoints.contents.reading import head_of, is_safetensors, read_safetensors, read_torch
from kdviz.models.checkpoints.metadata.facts import facts_of, read_settings
from kdviz.models.checkpoints.model_file import ModelFile, with_weights
from kdviz.models.checkpoints.onnx_files import open_onnx
from kdviz.models.checkpoints.refusals import FOREIGN

INDEX = ".index.json"
_STANDARD = ("model.safetensors", f"model.safetensors{INDEX}", "pytorch_model.bin", f"pytorch_model.bin{INDEX}")
_WEIGHTS = ("*.safetensors", "*.pt", "*.pth", "*.pth.tar", "*.ckpt", "*.bin", "*.onnx")
_TRAINING_STATE = ("optimizer*", "scheduler*", "scaler*", "sampler*", "rng_state*", "random_states*", "training_args*")
_MOST_FILES = 1_000

_FOREIGN: tuple[tuple[tuple[str, ...], str], ...] = (
    (("experiment.json",), "experiment"),
    (("adapter_config.json",), "lora"),
    (("saved_model.pb",), "tensorflow"),
    (("keras_metadata.pb",), "keras"),
    (("Manifest.json", "Data"), "coreml"),
    (("*.distcp",), "distributed"),
    (("zero_to_fp32.py",), "deepspeed"),
    (("*zero_pp_rank*",), "deepspeed"),
    (("_CHECKPOINT_METADATA",), "flax"),
    (("_METADATA",), "flax"),
)
_FOREIGN_WEIGHTS: tuple[tuple[str, str], ...] = (
    ("flax_model.msgpack", "flax"),
    ("*.msgpack", "flax"),
    ("tf_model.h5", "tensorflow"),
    ("*.index", "tensorflow"),
    ("*.keras", "keras"),
    ("*.h5", "hdf5"),
    ("*.tflite", "tflite"),
)
_CLASSIFIERS = ("ForImageClassification", "ForImageClassificationWithTeacher")


def open_folder(folder: Path, key: str | None) -> ModelFile | Path:
    """Open a folder's model; or return the one file in it that is a model, to be opened as a file.

    Raises:
        ModelError: The folder holds no model, several, or one of another kind.
    """
    names = _names_in(folder)
    for patterns, kind in _FOREIGN:
        if all(any(fnmatch(name, pattern) for name in names) for pattern in patterns):
            raise FOREIGN[kind](folder)
    weights = _weights_in(folder, names)
    settings = _settings_in(folder, names)
    if kind_of(settings):
        return open_described(folder, weights, settings, key)
    return weights


def settings_beside(path: Path) -> dict[str, Any] | None:
    """The settings of timm or transformers beside a file with the name that they give to weights; None without."""
    if path.name not in _STANDARD:
        return None
    settings = _settings_in(path.parent, _names_in(path.parent))
    return settings if kind_of(settings) else None


def open_described(path: Path, weights: Path, settings: dict[str, Any], key: str | None) -> ModelFile:
    """Open weights whose network is described by ``config.json``.

    Raises:
        ModelError: The weights cannot be read, or the model is no classifier.
    """
    config = settings["config"]
    kinds = config.get("architectures")
    class_names = [str(kind) for kind in kinds] if isinstance(kinds, list) and "architecture" not in config else []
    if class_names and not any(kind.endswith(_CLASSIFIERS) for kind in class_names):
        raise refusals.not_a_classifier(path, class_names[0])
    opened = _open_weights(weights, key)
    notes = (_("Network and input are described by config.json, and the weights are in '{name}'.", name=weights.name),)
    recorded = {**opened.recorded, **facts_of(settings)}
    # The network of an ONNX file is in the file itself, not described.
    kind = opened.kind if opened.kind == "onnx" else kind_of(settings)
    return replace(opened, path=path, kind=kind, recorded=recorded, notes=(*notes, *opened.notes))


def kind_of(settings: dict[str, Any]) -> str:
    """``timm_folder`` or ``transformers_folder``; empty if the settings describe no network."""
    config = settings.get("config", {})
    if isinstance(config.get("architecture"), str):  # transformers' wrapper of timm also has a model_type
        return "timm_folder"
    return "transformers_folder" if isinstance(config.get("model_type"), str) else ""


def open_index(path: Path, key: str | None) -> ModelFile:
    """Open a checkpoint in several files by the index that says which tensor is in which file.

    Raises:
        ModelError: The index is damaged or names a file elsewhere, or a file or tensor is missing.
    """
    weight_map = read_settings(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise FOREIGN["index"](path)
    names = list(dict.fromkeys(weight_map.values()))
    for name in names:
        _require_beside(path, name)
    tensors: dict[str, Tensor] = {}
    size, kind = 0, ""
    for name in names:
        content, bytes_read, kind = _read(path.parent / name)
        size += bytes_read
        tensors |= {
            tensor: content[tensor] for tensor, shard in weight_map.items() if shard == name and tensor in content
        }
    missing = next((tensor for tensor in weight_map if tensor not in tensors), None)
    if missing is not None:
        raise refusals.missing_tensor(path, missing, weight_map[missing])
    return with_weights(path, kind, tensors, size, key)


def _require_beside(index: Path, name: object) -> None:
    """Refuse a name of a file elsewhere. Links are allowed: downloads keep files elsewhere and link to them."""
    bare = isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\:\0")
    if not bare:
        raise refusals.outside_folder(index, name)
    if not (index.parent / str(name)).is_file():
        raise refusals.missing_shard(index, str(name))


def _open_weights(path: Path, key: str | None) -> ModelFile:
    if path.name.endswith(INDEX):
        return open_index(path, key)
    if path.suffix == ".onnx":
        return open_onnx(path)
    content, size, kind = _read(path)
    return with_weights(path, kind, content, size, key)


def _read(path: Path) -> tuple[Any, int, str]:
    head, size = head_of(path)
    foreign = foreign_kind(path, head)
    if foreign:
        raise FOREIGN[foreign](path)
    if is_safetensors(path, head, size):
        return read_safetensors(path)[0], size, "safetensors"
    return read_torch(path, head, size), size, "torch"


def _names_in(folder: Path) -> list[str]:
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise refusals.unreadable(folder, error) from error
    return names[:_MOST_FILES]


def _weights_in(folder: Path, names: list[str]) -> Path:
    standard = next((name for name in _STANDARD if name in names), None)
    if standard is not None:
        return folder / standard
    candidates = [name for name in _matching(names, _WEIGHTS) if not _matching([name], _TRAINING_STATE)]
    indices = [name for name in names if name.endswith(INDEX)]
    if len(indices) == 1:
        return folder / indices[0]
    if len(candidates) == 1:
        return folder / candidates[0]
    if candidates:
        raise refusals.several_files(folder, candidates)
    for pattern, kind in _FOREIGN_WEIGHTS:
        if _matching(names, (pattern,)):
            raise FOREIGN[kind](folder)
    if _matching(names, _TRAINING_STATE):
        raise FOREIGN["optimiser"](folder)
    raise refusals.empty_folder(folder)


def _matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def _settings_in(folder: Path, names: list[str]) -> dict[str, Any]:
    settings = {}
    if "config.json" in names:
        settings["config"] = read_settings(folder / "config.json")
    if "preprocessor_config.json" in names:
        settings["preprocessor_config"] = read_settings(folder / "preprocessor_config.json")
    elif "processor_config.json" in names:
        inner = read_settings(folder / "processor_config.json").get("image_processor")
        settings |= {"preprocessor_config": inner} if isinstance(inner, dict) else {}
    return settings
