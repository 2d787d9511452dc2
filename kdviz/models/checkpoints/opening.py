"""One call that opens a model in whatever form somebody has it, or says in one sentence what it is instead."""

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

_PREFIXES = ("module.", "_orig_mod.", "model.")  # of DataParallel, torch.compile and Lightning
_COUNTERS = ("n_averaged",)  # of torch's AveragedModel, beside the names of its network


def open_model_file(path: str | Path, *, key: str | None = None, trust: bool = False) -> ModelFile:
    """Open a checkpoint, an ONNX file, or a folder of timm or transformers.

    Nothing in it is run or unpickled beyond tensors and plain facts, unless it is trusted. Weights may be mapped from
    the file, and keep their type.

    Args:
        path: A file, a folder, or the index of a checkpoint in several files.
        key: Which of several state dicts, by its name in the file; default all, the best first.
        trust: TorchScript and pickled models, too, whose code is run: it can do whatever the user can.

    Raises:
        SettingError: An ONNX file without onnxruntime.
        ModelError: It cannot be used; the text says what it is, and the way out.
    """
    path = Path(path)
    if path.is_dir():
        opened = folders.open_folder(path, key)
        if isinstance(opened, ModelFile):
            return opened
        return replace(_open_file(opened, key, trust), path=path)
    return _open_file(path, key, trust)


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name: the best state dict of what :func:`open_model_file` takes.

    A prefix that all its names share (``module.``, ``_orig_mod.``, ``model.``) is taken off. Tensors may be mapped from
    the file.

    Raises:
        ModelError: The file cannot be read, holds code or no tensors, or unpacks to far more than its size.
    """
    read = open_model_file(path)
    if not read.weights:
        raise FOREIGN["onnx"](Path(path))
    return _without_prefix({name: one for name, one in read.weights[0].tensors.items() if name not in _COUNTERS})


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    while prefix := next((start for start in _PREFIXES if all(name.startswith(start) for name in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def _open_file(path: Path, key: str | None, trust: bool) -> ModelFile:
    settings = folders.beside(path) if path.is_file() else None
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
        read = with_weights(path, "safetensors", tensors, size, key)
        return replace(read, recorded={**texts_as_facts(texts), **read.recorded})
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
