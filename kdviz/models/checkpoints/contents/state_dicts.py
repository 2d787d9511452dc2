"""Search for state dicts in a checkpoint: under any key, of several models, averaged over training or not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from kdviz.core.language import _, listed
from kdviz.models.checkpoints import refusals
from kdviz.models.checkpoints.contents.reading import require_plain
from kdviz.models.checkpoints.refusals import FOREIGN

_DEPTH = 5  # levels of nested dictionaries
_MOST_MAPPINGS = 10_000  # dictionaries that are searched; a forged file could contain itself many times

_NOT_MODELS = re.compile(
    r"(optim\w*|\w*optimi[sz]ers?(_states?(_dict)?)?|\w*schedulers?(_state_dict)?|\w*scaler(_state\w*)?|callbacks|loops|saver"
    r"|rng\w*|random\w*|criterion\w*|loss\w*|task_state\w*|averaging_state|metrics?|history|meters?)",
    re.IGNORECASE,
)
"""Names under which training scripts save tensors that belong to no model."""

_AVERAGED = re.compile(r"(^|[._])(ema\d*|swa|averaged|avg_model)([._]|$)", re.IGNORECASE)
_LIGHTNINGS_AVERAGE = {"current_model_state", "averaging_state"}
"""Keys that Lightning adds if ``state_dict`` is averaged."""

_BEST_FIRST = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "module",
    "student",
    "params",
)
_LAST = ("teacher", "model_t", "teacher_model", "discriminator", "projector", "connector")
_ROLES = re.compile(
    r"(kd_?)?(student|teacher)s?(_\w+)?|(model|net|module|network)_[st]|[st]_(model|net)|ema(_\w+)?|\w+_ema"
)
"""First parts of names that denote separate models in one state dict."""


@dataclass(frozen=True)
class Weights:
    """One state dict in a file.

    Attributes:
        key: Its key in the file: ``""`` for the file itself, ``state_dict``, ``model_ema.module``; followed by a name's
            first part if one state dict holds several models: ``state_dict.student``.
        tensors: Tensors by their names below ``key``; nothing is stripped or converted.
        is_ema: Whether they are averaged over training (exponential moving average or stochastic weight averaging).
    """

    key: str
    tensors: Mapping[str, Tensor]
    is_ema: bool


def find_weights(path: Path, content: Any, size: int) -> tuple[Weights, ...]:
    """Find the state dicts of all models in a file, the best first: averaged ones, then by the names of their keys.

    Args:
        path: Path of the file, for messages.
        content: Content of the file.
        size: Size of its files in bytes.

    Raises:
        ModelError: There is no state dict, or none that can be used; the text says what the file is.
    """
    states = list(islice(_states(content, "", _DEPTH), _MOST_MAPPINGS))
    states = [state for state in states if state is not None]
    if not states:
        raise _explain_none(path, content)
    averages = isinstance(content, dict) and dict.keys(content) >= _LIGHTNINGS_AVERAGE
    weights = [
        Weights(key, require_plain(path, tensors, size), _is_averaged(key) or (averages and key == "state_dict"))
        for key, tensors in states
    ]
    for state_weights in weights:
        _require_usable(path, state_weights)
    return tuple(
        sorted(_only_networks([part for state_weights in weights for part in _models_in(state_weights)]), key=_rank)
    )


def choose(path: Path, weights: tuple[Weights, ...], key: str) -> tuple[Weights, ...]:
    """Choose the state dicts at ``key`` or below it, or else the tensors whose names begin with ``key`` and a dot.

    Raises:
        ModelError: There are none.
    """
    chosen = tuple(entry for entry in weights if entry.key == key or f".{entry.key}.".find(f".{key}.") >= 0)
    if chosen:
        return chosen
    parts = tuple(part for entry in weights if (part := _part(entry, key)).tensors)
    if not parts:
        heads = dict.fromkeys(name.partition(".")[0] for entry in weights for name in entry.tensors)
        raise refusals.no_such_key(path, key, [*(entry.key for entry in weights if entry.key), *heads])
    return parts


def notes_on(weights: tuple[Weights, ...], unused: tuple[str, ...]) -> tuple[str, ...]:
    """What was chosen and what was left out, one sentence each; ``unused`` are keys that hold no weights."""
    first, others = weights[0], weights[1:]
    notes = []
    if first.is_ema and any(not other.is_ema for other in others):
        notes.append(
            _(
                "The weights averaged over training (EMA), under '{key}', are used; the others are under {others}.",
                key=first.key,
                others=_quoted(tuple(other.key for other in others)),
            )
        )
    elif others:
        notes.append(
            _(
                "There are several state dicts: '{key}' is used, and {others} can be chosen by key=.",
                key=first.key,
                others=_quoted(tuple(other.key for other in others)),
            )
        )
    if unused:
        notes.append(_("Not used: {names}.", names=_quoted(unused)))
    return tuple(notes)


def is_no_model(key: str) -> bool:
    """Whether training scripts save something other than a model under this key."""
    return _NOT_MODELS.fullmatch(key) is not None


def is_state(content: Any) -> bool:
    """Whether this is a state dict: only tensors by name; or some, with names that only layers have.

    Other entries in the latter are mistakes, and are named in an error later.
    """
    if not isinstance(content, dict):
        return False
    entries = list(dict.items(content))
    tensors = [(name, value) for name, value in entries if isinstance(value, Tensor) and isinstance(name, str)]
    if any("." in name and value.ndim for name, value in tensors):
        return True
    return bool(entries) and len(tensors) == len(entries) and any(value.ndim for _name, value in tensors)


def _quoted(keys: tuple[str, ...]) -> str:
    return listed(f"'{key:.60}'" for key in keys[:8])


# in dictionaries ------------------------------------------------------------------------------------------------------


def _states(content: Any, key: str, depth: int) -> Iterator[tuple[str, dict[str, Any]] | None]:
    """Yield (key, state dict) for each one found, and None for every other dictionary, so that the search can stop."""
    if not isinstance(content, dict) or _is_optimiser(content):
        yield None
        return
    if is_state(content):
        yield key, dict(dict.items(content))
        return
    yield None
    for name, value in dict.items(content):
        if depth and isinstance(name, str) and isinstance(value, dict) and not is_no_model(name):
            yield from _states(value, f"{key}.{name}" if key else name, depth - 1)


def _is_optimiser(content: dict[Any, Any]) -> bool:
    return "param_groups" in content and "state" in content


def _explain_none(path: Path, content: Any) -> Exception:
    if not isinstance(content, dict) or not content:
        return FOREIGN["no_weights"](path)
    dictionaries = [content, *(value for value in dict.values(content) if isinstance(value, dict))]
    if any(_is_optimiser(dictionary) for dictionary in dictionaries):
        return FOREIGN["optimiser"](path)
    for name, value in dict.items(content):
        if isinstance(value, Tensor) and value.ndim:
            return refusals.odd_entry(path, name, f"{value.layout} on {value.device}")
    return FOREIGN["no_weights"](path)


def _require_usable(path: Path, weights: Weights) -> None:
    """Refuse weights that are adapters to another model, or packed integers.

    Raises:
        ModelError: They are.
    """
    for name in weights.tensors:
        if re.search(r"(^|\.)lora_(A|B|embedding_[AB]|down|up)(\.|$)", name):
            raise FOREIGN["lora"](path)
        if name.endswith((".qweight", ".SCB", ".weight.absmax", ".quant_map", ".weight_scale", "._packed_params")):
            raise refusals.quantised(path, name)


# in one state dict ----------------------------------------------------------------------------------------------------


def _models_in(weights: Weights) -> list[Weights]:
    """The models in one state dict whose names begin with ``student.``, ``teacher.`` or alike; or the state dict."""
    heads = list(dict.fromkeys(name.partition(".")[0] for name in weights.tensors))
    parts = {head: _part(weights, head) for head in heads}
    models = [head for head in heads if _is_network(parts[head])]
    if len(models) < 2 or not any(_ROLES.fullmatch(head) for head in models):
        return [weights]
    return [parts[head] for head in models]


def _part(weights: Weights, head: str) -> Weights:
    prefix = f"{head}."
    tensors = {name.removeprefix(prefix): tensor for name, tensor in weights.tensors.items() if name.startswith(prefix)}
    key = f"{weights.key}.{head}" if weights.key else head
    return replace(weights, key=key, tensors=tensors, is_ema=weights.is_ema or _is_averaged(head))


def _is_network(weights: Weights) -> bool:
    return len(weights.tensors) > 1 and any(tensor.ndim > 1 for tensor in weights.tensors.values())


def _only_networks(weights: list[Weights]) -> list[Weights]:
    """Drop state dicts that are no networks, such as lists of means, unless there are no others."""
    networks = [entry for entry in weights if any(tensor.ndim > 1 for tensor in entry.tensors.values())]
    return networks or weights


def _is_averaged(key: str) -> bool:
    return _AVERAGED.search(key) is not None


def _rank(weights: Weights) -> tuple[bool, bool, int, int]:
    """Sort key: not the teacher, averaged, by the name of the key, the largest first."""
    parts = weights.key.split(".")
    ranks = [_BEST_FIRST.index(part) for part in parts if part in _BEST_FIRST]
    size = sum(tensor.numel() for tensor in weights.tensors.values())
    is_last = any(part in _LAST or "teacher" in part.lower() for part in parts)
    return is_last, not weights.is_ema, min(ranks, default=len(_BEST_FIRST)), -size
