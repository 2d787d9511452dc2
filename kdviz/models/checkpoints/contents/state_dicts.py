"""The state dicts in what a checkpoint holds: under any key, of several models, averaged over training or not."""

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

_DEPTH = 5  # of dictionaries in dictionaries
_MOST_MAPPINGS = 10_000  # that are looked at; a forged file could hold itself many times over

_NOT_MODELS = re.compile(
    r"(optim\w*|\w*optimi[sz]ers?(_states?(_dict)?)?|\w*schedulers?(_state_dict)?|\w*scaler(_state\w*)?|callbacks|loops|saver"
    r"|rng\w*|random\w*|criterion\w*|loss\w*|task_state\w*|averaging_state|metrics?|history|meters?)",
    re.IGNORECASE,
)
"""Names under which training scripts keep tensors that are no model's."""

_AVERAGED = re.compile(r"(^|[._])(ema\d*|swa|averaged|avg_model)([._]|$)", re.IGNORECASE)
_LIGHTNINGS_AVERAGE = {"current_model_state", "averaging_state"}
"""Keys that Lightning adds where ``state_dict`` is averaged."""

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
"""First parts of names, in one state dict, that are models of their own."""


@dataclass(frozen=True)
class Weights:
    """One state dict in a file.

    Attributes:
        key: Where it is: ``""`` for the file itself, ``state_dict``, ``model_ema.module``; below a name's first part
            where one state dict holds several models: ``state_dict.student``.
        tensors: By their names in the file below ``key``; nothing is stripped or converted.
        is_ema: Whether they are averaged over training (exponential moving average or stochastic weight averaging).
    """

    key: str
    tensors: Mapping[str, Tensor]
    is_ema: bool


def find_weights(path: Path, content: Any, size: int) -> tuple[Weights, ...]:
    """All models' state dicts in what a file held, the best first: averaged ones, then by the names of their keys.

    Args:
        path: For messages.
        content: What was read from it.
        size: Bytes of its files.

    Raises:
        ModelError: There is none, or what is there cannot be used; the text says what it is.
    """
    states = list(islice(_states(content, "", _DEPTH), _MOST_MAPPINGS))
    states = [state for state in states if state is not None]
    if not states:
        raise _why_none(path, content)
    averages = isinstance(content, dict) and dict.keys(content) >= _LIGHTNINGS_AVERAGE
    weights = [
        Weights(key, require_plain(path, tensors, size), _is_averaged(key) or (averages and key == "state_dict"))
        for key, tensors in states
    ]
    for one in weights:
        _require_whole(path, one)
    return tuple(sorted(_without_bits([part for one in weights for part in _models_in(one)]), key=_rank))


def choose(path: Path, weights: tuple[Weights, ...], key: str) -> tuple[Weights, ...]:
    """Those under ``key``, or below it; of one state dict, the names that begin with ``key`` and a dot.

    Raises:
        ModelError: There are none.
    """
    chosen = tuple(one for one in weights if one.key == key or f".{one.key}.".find(f".{key}.") >= 0)
    if chosen:
        return chosen
    parts = tuple(part for one in weights if (part := _part(one, key)).tensors)
    if not parts:
        heads = dict.fromkeys(name.partition(".")[0] for one in weights for name in one.tensors)
        raise refusals.no_such_key(path, key, [*(one.key for one in weights if one.key), *heads])
    return parts


def notes_on(weights: tuple[Weights, ...], others: tuple[str, ...]) -> tuple[str, ...]:
    """What was chosen and what was left, a sentence each; ``others`` are keys that are no weights."""
    first, rest = weights[0], weights[1:]
    notes = []
    if first.is_ema and any(not one.is_ema for one in rest):
        notes.append(
            _(
                "The weights averaged over training (EMA), under '{key}', are used; the others are under {others}.",
                key=first.key,
                others=_quoted(tuple(one.key for one in rest)),
            )
        )
    elif rest:
        notes.append(
            _(
                "There are several state dicts: '{key}' is used, and {others} can be chosen by key=.",
                key=first.key,
                others=_quoted(tuple(one.key for one in rest)),
            )
        )
    if others:
        notes.append(_("Not used: {names}.", names=_quoted(others)))
    return tuple(notes)


def is_no_model(key: str) -> bool:
    """Whether training scripts keep something else than a model under this key."""
    return _NOT_MODELS.fullmatch(key) is not None


def is_state(content: Any) -> bool:
    """Whether this is a state dict: all tensors by name; or some, by names that only layers have.

    What else is in the latter is a mistake, to be named.
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
    """(Key, state dict) for each; None for each dictionary that is none, so that a caller can stop."""
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


def _why_none(path: Path, content: Any) -> Exception:
    if not isinstance(content, dict) or not content:
        return FOREIGN["no_weights"](path)
    inner = [content, *(value for value in dict.values(content) if isinstance(value, dict))]
    if any(_is_optimiser(one) for one in inner):
        return FOREIGN["optimiser"](path)
    for name, value in dict.items(content):
        if isinstance(value, Tensor) and value.ndim:
            return refusals.odd_entry(path, name, f"{value.layout} on {value.device}")
    return FOREIGN["no_weights"](path)


def _require_whole(path: Path, weights: Weights) -> None:
    """Raises:
    ModelError: They are adapters to a model that is elsewhere, or packed integers.
    """
    for name in weights.tensors:
        if re.search(r"(^|\.)lora_(A|B|embedding_[AB]|down|up)(\.|$)", name):
            raise FOREIGN["lora"](path)
        if name.endswith((".qweight", ".SCB", ".weight.absmax", ".quant_map", ".weight_scale", "._packed_params")):
            raise refusals.quantised(path, name)


# in one state dict ----------------------------------------------------------------------------------------------------


def _models_in(weights: Weights) -> list[Weights]:
    """The models in one state dict, whose names begin with ``student.`` and ``teacher.``; or the state dict itself."""
    heads = list(dict.fromkeys(name.partition(".")[0] for name in weights.tensors))
    parts = {head: _part(weights, head) for head in heads}
    models = [head for head in heads if _is_network(parts[head])]
    if len(models) < 2 or not any(_ROLES.fullmatch(head) for head in models):
        return [weights]
    return [parts[head] for head in models]


def _part(weights: Weights, head: str) -> Weights:
    start = f"{head}."
    tensors = {name.removeprefix(start): one for name, one in weights.tensors.items() if name.startswith(start)}
    key = f"{weights.key}.{head}" if weights.key else head
    return replace(weights, key=key, tensors=tensors, is_ema=weights.is_ema or _is_averaged(head))


def _is_network(weights: Weights) -> bool:
    return len(weights.tensors) > 1 and any(tensor.ndim > 1 for tensor in weights.tensors.values())


def _without_bits(weights: list[Weights]) -> list[Weights]:
    """Without what is no network, such as a list of means, unless there is nothing else."""
    networks = [one for one in weights if any(tensor.ndim > 1 for tensor in one.tensors.values())]
    return networks or weights


def _is_averaged(key: str) -> bool:
    return _AVERAGED.search(key) is not None


def _rank(weights: Weights) -> tuple[bool, bool, int, int]:
    """Less is better: averaged, not the teacher, by name, by size."""
    parts = weights.key.split(".")
    places = [_BEST_FIRST.index(part) for part in parts if part in _BEST_FIRST]
    size = sum(tensor.numel() for tensor in weights.tensors.values())
    is_last = any(part in _LAST or "teacher" in part.lower() for part in parts)
    return is_last, not weights.is_ema, min(places, default=len(_BEST_FIRST)), -size
