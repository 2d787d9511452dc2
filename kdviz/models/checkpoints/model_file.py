"""A model in whatever form somebody has it, opened: its weights, and what is written beside them."""

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
    """What :func:`~kdviz.models.checkpoints.open_model_file` found.

    Attributes:
        path: The file or folder that was given.
        kind: ``safetensors``, ``torch``, ``onnx``, ``timm_folder``, ``transformers_folder``, ``torchscript`` or
            ``module``.
        weights: The state dicts, the best first; empty for ``onnx``, ``torchscript`` and ``module``.
        recorded: Plain facts beside the weights, such as ``arch``, ``args``, ``epoch``, ``hyper_parameters``; for
            folders ``config`` and ``preprocessor_config``; for ONNX ``input_shape``, ``output_shape`` and ``opset``.
            All of it can be written as JSON. :func:`~kdviz.models.checkpoints.recorded_network` and its neighbours read
            it.
        notes: What was chosen and what was left out, a sentence each.
        module: The network, of a TorchScript archive or a pickled model that is trusted; else None.
    """

    path: Path
    kind: str
    weights: tuple[Weights, ...] = ()
    recorded: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    module: nn.Module | None = None


def with_weights(path: Path, kind: str, content: Any, size: int, key: str | None) -> ModelFile:
    """The state dicts in what was read from a file of ``size`` bytes, and the facts beside them.

    Args:
        path: What was given.
        kind: See :class:`ModelFile`.
        content: What was read.
        size: Bytes of its files.
        key: Which state dict; default the best.

    Raises:
        ModelError: There is none, none under ``key``, or none that can be used.
    """
    try:
        return _with_weights(path, kind, content, size, key)
    except ModelError:
        raise
    except Exception as error:  # a forged pickle can hold dictionaries and tensors that fail in ways of their own
        raise FOREIGN["torch"](path) from error


def _with_weights(path: Path, kind: str, content: Any, size: int, key: str | None) -> ModelFile:
    weights = find_weights(path, content, size)
    chosen = weights if key is None else choose(path, weights, key)
    left: list[str] = []
    beside = {} if is_state(content) else _beside(content, left)
    return ModelFile(path, kind, chosen, facts_of(beside), notes_on(chosen, tuple(left)))


def _beside(content: dict[Any, Any], left: list[str]) -> dict[Any, Any]:
    """The entries that are neither weights nor an optimiser's; names of the latter are added to ``left``."""
    facts = {}
    for name, value in dict.items(content):
        if isinstance(name, str) and is_no_model(name) and isinstance(value, (dict, list)):
            left += [name] if value else []
        elif isinstance(value, dict) and is_state(value):
            continue
        elif isinstance(value, dict) and any(
            isinstance(inner, dict) and is_state(inner) for inner in dict.values(value)
        ):
            facts[name] = _beside(value, [])
        else:
            facts[name] = value
    return facts
