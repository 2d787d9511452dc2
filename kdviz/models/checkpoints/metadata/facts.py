"""What is written beside the weights, as plain facts: what JSON can hold, and not too much of it."""

from __future__ import annotations

import argparse
import datetime
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdviz.models.checkpoints.metadata.inert import Array, Attributes, Name
from kdviz.models.checkpoints.refusals import FOREIGN, unreadable

_DEPTH = 6
_MOST = 50_000  # values in all: a list of 21,841 classes and its index fit
_LONGEST = 2_000  # characters of a text
_MOST_NUMBERS = 64  # of a tensor that is kept
_LARGEST_FILE = 32 * 2**20


def facts_of(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries of a dictionary that can be facts: texts, numbers, small tensors, lists and dictionaries of these.

    What is none of these, or too deep or too long, is left out.
    """
    plain = _Plain().of(dict(dict.items(content)) if isinstance(content, dict) else dict(content), _DEPTH)
    return plain if isinstance(plain, dict) else {}


def read_settings(path: Path) -> dict[str, Any]:
    """The dictionary in a JSON file.

    Raises:
        ModelError: It cannot be read, or holds something else.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise FOREIGN["config"](path)
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise FOREIGN["config"](path) from error
    if not isinstance(content, dict):
        raise FOREIGN["config"](path)
    return content


def texts_as_facts(texts: Mapping[str, str]) -> dict[str, Any]:
    """The texts beside the tensors of a safetensors file; those that are JSON are read."""
    return facts_of({name: _parsed(text) for name, text in texts.items() if name != "format"})


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in ("{", "[") else text
    except (ValueError, RecursionError):
        return text


class _Left:
    """What cannot be a fact."""


class _Plain:
    """Turns values into plain ones, at most :data:`_MOST`: a forged file could share one list a million times."""

    def __init__(self) -> None:
        self._left = _MOST

    def of(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if depth < 0 or self._left < 0:
            return _Left
        if value is None or isinstance(value, (bool, str, int, float)):
            return _bounded(value)
        value = _unwrapped(value)
        if isinstance(value, dict):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(value, depth)
        return self._other(value, depth)

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        made = {}
        for name, inner in dict.items(value):
            if self._left > 0 and isinstance(name, (str, int)):
                plain = self.of(inner, depth - 1)
                if plain is not _Left:
                    made[str(name)[:_LONGEST]] = plain
        return made

    def _sequence(self, values: Iterable[Any], depth: int) -> Any:
        made = []
        for inner in values:
            plain = self.of(inner, depth - 1)
            if plain is _Left:  # a list with holes would say something else
                return _Left
            made.append(plain)
        return made

    def _other(self, value: Any, depth: int) -> Any:
        if isinstance(value, Tensor):
            return self.of(value.tolist(), depth) if _is_small(value) else _Left
        if isinstance(value, (datetime.date, datetime.time)):
            return value.isoformat()
        if isinstance(value, (torch.dtype, torch.device, datetime.timedelta, PurePath)):
            return str(value)[:_LONGEST]
        return _bounded(value) if isinstance(value, (str, int, float, type(None))) else _Left


def _bounded(value: Any) -> Any:
    """A text or number as it is in JSON, which has no infinities."""
    if isinstance(value, str):
        return value[:_LONGEST]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _Left if isinstance(value, int) and abs(value) >= 2**63 else value


def _unwrapped(value: Any) -> Any:
    """What is in an object that is only a wrapper: a stand-in, or the object itself in a file that is trusted."""
    match value:
        case Attributes():
            return value.values
        case Array():
            return _Left if value.values is None else value.values
        case Name():
            return value.name
        case argparse.Namespace():
            return vars(value)
        case np.generic():
            return value.item()
    return value


def _is_small(value: Tensor) -> bool:
    ordinary = value.layout == torch.strided and value.device.type == "cpu"
    return ordinary and value.numel() <= _MOST_NUMBERS and not (value.is_complex() or value.is_quantized)
