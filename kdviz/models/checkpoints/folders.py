"""Folders with a model: timm's and transformers', checkpoints in several files, and what looks like one of these."""

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
_BESIDE = ("optimizer*", "scheduler*", "scaler*", "sampler*", "rng_state*", "random_states*", "training_args*")
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
    """A folder's model; or the one file in it that is, which is then opened as a file.

    Raises:
        ModelError: It holds none, several, or a model of another kind.
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


def beside(path: Path) -> dict[str, Any] | None:
    """The settings of timm or transformers in the folder of a file that has the name which they give to weights."""
    if path.name not in _STANDARD:
        return None
    settings = _settings_in(path.parent, _names_in(path.parent))
    return settings if kind_of(settings) else None


def open_described(path: Path, weights: Path, settings: dict[str, Any], key: str | None) -> ModelFile:
    """Weights whose network is described by ``config.json``.

    Raises:
        ModelError: They cannot be read, or the model is no classifier.
    """
    config = settings["config"]
    kinds = config.get("architectures")
    named = [str(kind) for kind in kinds] if isinstance(kinds, list) and "architecture" not in config else []
    if named and not any(kind.endswith(_CLASSIFIERS) for kind in named):
        raise refusals.not_a_classifier(path, named[0])
    read = _open_weights(weights, key)
    notes = (_("Network and input are described by config.json, and the weights are in '{name}'.", name=weights.name),)
    recorded = {**read.recorded, **facts_of(settings)}
    kind = read.kind if read.kind == "onnx" else kind_of(settings)  # an exported network is in the file, not described
    return replace(read, path=path, kind=kind, recorded=recorded, notes=(*notes, *read.notes))


def kind_of(settings: dict[str, Any]) -> str:
    """``timm_folder`` or ``transformers_folder``; empty when there is no description of a network."""
    config = settings.get("config", {})
    if isinstance(config.get("architecture"), str):  # transformers' wrapper of timm has a model_type, too
        return "timm_folder"
    return "transformers_folder" if isinstance(config.get("model_type"), str) else ""


def open_index(path: Path, key: str | None) -> ModelFile:
    """The tensors of a checkpoint in several files, by the index that says which is where.

    Raises:
        ModelError: The index is damaged or names a file elsewhere, or a file or tensor is missing.
    """
    wanted = read_settings(path).get("weight_map")
    if not isinstance(wanted, dict) or not wanted:
        raise FOREIGN["index"](path)
    names = list(dict.fromkeys(wanted.values()))
    for name in names:
        _require_beside(path, name)
    tensors: dict[str, Tensor] = {}
    size, kind = 0, ""
    for name in names:
        content, bytes_read, kind = _read(path.parent / name)
        size += bytes_read
        tensors |= {tensor: content[tensor] for tensor, shard in wanted.items() if shard == name and tensor in content}
    missing = next((tensor for tensor in wanted if tensor not in tensors), None)
    if missing is not None:
        raise refusals.missing_tensor(path, missing, wanted[missing])
    return with_weights(path, kind, tensors, size, key)


def _require_beside(index: Path, name: object) -> None:
    """Only the name is looked at: files that a download keeps elsewhere are links from the folder."""
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
    given = [name for name in _matching(names, _WEIGHTS) if not _matching([name], _BESIDE)]
    indices = [name for name in names if name.endswith(INDEX)]
    if len(indices) == 1:
        return folder / indices[0]
    if len(given) == 1:
        return folder / given[0]
    if given:
        raise refusals.several_files(folder, given)
    for pattern, kind in _FOREIGN_WEIGHTS:
        if _matching(names, (pattern,)):
            raise FOREIGN[kind](folder)
    if _matching(names, _BESIDE):
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
