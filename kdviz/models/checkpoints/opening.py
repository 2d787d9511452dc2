"""Opening of model files of any kind, or one error that says what a file is instead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from kdviz.models.checkpoints import folders, trusted
from kdviz.models.checkpoints.contents.formats import foreign_kind
from kdviz.models.checkpoints.contents.reading import head_of, is_safetensors, is_script, read_safetensors, read_torch
from kdviz.models.checkpoints.metadata.facts import texts_as_facts
from kdviz.models.checkpoints.model_file import ModelFile, with_weights
from kdviz.models.checkpoints.onnx_files import is_onnx, open_onnx
from kdviz.models.checkpoints.refusals import FOREIGN, NeedsCodeError

_PREFIXES = ("module.", "_orig_mod.", "model.")  # added by DataParallel, torch.compile and Lightning
_COUNTERS = ("n_averaged",)  # of torch's AveragedModel, among the names of its network


def open_model_file(path: str | Path, *, key: str | None = None, trust: bool = False) -> ModelFile:
    """Open a checkpoint, an ONNX file, or a folder of timm or transformers.

    Unless the file is trusted, none of its code is run and only tensors and plain facts are unpickled. Weights may be
    mapped from the file, and keep their dtype.

    Args:
        path: A file, a folder, or the index of a checkpoint in several files.
        key: Name of the wanted state dict in the file; default: all, the best first.
        trust: Whether to open TorchScript and pickled models as well, whose code is run and can do whatever the user
            can.

    Raises:
        SettingError: The file is ONNX and onnxruntime is not installed.
        ModelError: The file cannot be used; the text says what it is, and what to do.
    """
    path = Path(path)
    if path.is_dir():
        opened = folders.open_folder(path, key)
        if isinstance(opened, ModelFile):
            return opened
        return replace(_open_file(opened, key, trust), path=path)
    return _open_file(path, key, trust)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name: the best state dict in anything that :func:`open_model_file` opens.

    A prefix that all names share (``module.``, ``_orig_mod.``, ``model.``) is removed. Tensors may be mapped from the
    file.

    Raises:
        ModelError: The file cannot be read, holds code or no tensors, or unpacks to far more than its size.
    """
    opened = open_model_file(path)
    if not opened.weights:
        raise FOREIGN["onnx"](Path(path))
    return _without_prefix(
        {name: tensor for name, tensor in opened.weights[0].tensors.items() if name not in _COUNTERS}
    )


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((start for start in _PREFIXES if all(name.startswith(start) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _open_file(path: Path, key: str | None, trust: bool) -> ModelFile:
    settings = folders.settings_beside(path) if path.is_file() else None
    if settings:
        return folders.open_described(path, path, settings, key)
    if path.name.endswith(folders.INDEX):
        return folders.open_index(path, key)
    head, size = head_of(path)
    foreign = foreign_kind(path, head)
    if foreign and not (trust and foreign == "pickle"):
        raise FOREIGN[foreign](path)
    if is_safetensors(path, head, size):
        tensors, texts = read_safetensors(path)
        opened = with_weights(path, "safetensors", tensors, size, key)
        return replace(opened, recorded={**texts_as_facts(texts), **opened.recorded})
    if is_onnx(path, head):
        return open_onnx(path)
    return _open_torch(path, head, size, key, trust)


def _open_torch(path: Path, head: bytes, size: int, key: str | None, trust: bool) -> ModelFile:
    if trust and is_script(path):
        return trusted.open_script(path)
    try:
        content = read_torch(path, head, size)
    except NeedsCodeError:
        if not trust:
            raise
        return trusted.open_pickle(path, size, key)
    return with_weights(path, "torch", content, size, key)
