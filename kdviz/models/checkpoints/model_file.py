"""An opened model file of any kind: its weights, and the facts recorded beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints.contents.state_dicts import Weights, choose, find_weights, is_no_model, is_state, notes_on
from kdviz.models.checkpoints.metadata.facts import facts_of
from kdviz.models.checkpoints.refusals import FOREIGN


@dataclass(frozen=True)
class ModelFile:
    """Result of :func:`~kdviz.models.checkpoints.open_model_file`.

    Attributes:
        path: The file or folder.
        kind: ``safetensors``, ``torch``, ``onnx``, ``timm_folder``, ``transformers_folder``, ``torchscript`` or
            ``module``.
        weights: The state dicts, the best first; empty for ``onnx``, ``torchscript`` and ``module``.
        recorded: Plain facts beside the weights, such as ``arch``, ``args``, ``epoch``, ``hyper_parameters``; for
            folders ``config`` and ``preprocessor_config``; for ONNX ``input_shape``, ``output_shape`` and ``opset``.
            They can be written as JSON, and are read by :func:`~kdviz.models.checkpoints.recorded_network` and similar
            functions.
        notes: What was chosen and what was left out, one sentence each.
        module: The network in a trusted TorchScript archive or pickled model; else None.
    """

    path: Path
    kind: str
    weights: tuple[Weights, ...] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    module: nn.Module | None = None


def with_weights(path: Path, kind: str, content: Any, size: int, key: str | None) -> ModelFile:
    """Collect the state dicts in the content of a file, and the facts beside them.

    Args:
        path: The file or folder.
        kind: See :class:`ModelFile`.
        content: Its content, as torch or safetensors return it.
        size: Size of its files in bytes.
        key: Key of the wanted state dict; default: the best.

    Raises:
        ModelError: There is no state dict, none under ``key``, or none that can be used.
    """
    try:
        return _with_weights(path, kind, content, size, key)
    except ModelError:
        raise
    except Exception as error:  # dictionaries and tensors in a forged pickle can raise anything
        raise FOREIGN["torch"](path) from error


def _with_weights(path: Path, kind: str, content: Any, size: int, key: str | None) -> ModelFile:
    weights = find_weights(path, content, size)
    chosen = weights if key is None else choose(path, weights, key)
    unused: list[str] = []
    beside = {} if is_state(content) else _facts_beside(content, unused)
    return ModelFile(path, kind, chosen, facts_of(beside), notes_on(chosen, tuple(unused)))


def _facts_beside(content: dict[Any, Any], unused: list[str]) -> dict[Any, Any]:
    """The entries that are neither weights nor state of the training; names of the latter are added to ``unused``."""
    facts = {}
    for name, value in dict.items(content):
        if isinstance(name, str) and is_no_model(name) and isinstance(value, (dict, list)):
            unused += [name] if value else []
        elif isinstance(value, dict) and is_state(value):
            continue
        elif isinstance(value, dict) and any(
            isinstance(inner, dict) and is_state(inner) for inner in dict.values(value)
        ):
            facts[name] = _facts_beside(value, [])
        else:
            facts[name] = value
    return facts
