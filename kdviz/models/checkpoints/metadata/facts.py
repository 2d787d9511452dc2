"""Conversion of what is stored beside the weights to plain facts that JSON can hold, of limited size."""

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
_MOST = 50_000  # values in total: enough for a list of 21,841 classes and its index
_LONGEST = 2_000  # characters of a text
_MOST_NUMBERS = 64  # values of a tensor that is kept
_LARGEST_FILE = 32 * 2**20


def facts_of(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The entries of a dictionary that are plain facts: texts, numbers, small tensors, lists and dictionaries of these.

    Anything else, and anything too deeply nested or too long, is left out.
    """
    plain = _PlainConverter().convert(dict(dict.items(content)) if isinstance(content, dict) else dict(content), _DEPTH)
    return plain if isinstance(plain, dict) else {}


def read_settings(path: Path) -> dict[str, Any]:
    """Read a dictionary from a JSON file.

    Raises:
        ModelError: The file cannot be read, or holds something else.
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
    """The texts in a safetensors file's metadata as facts; those that are JSON are parsed."""
    return facts_of({name: _parse_json(text) for name, text in texts.items() if name != "format"})


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text) if text[:1] in ("{", "[") else text
    except (ValueError, RecursionError):
        return text


class _Omitted:
    """Marks a value that is left out."""


class _PlainConverter:
    """Converts at most :data:`_MOST` values to plain ones: a forged file could contain one list a million times."""

    def __init__(self) -> None:
        self._remaining = _MOST

    def convert(self, value: Any, depth: int) -> Any:
        self._remaining -= 1
        if depth < 0 or self._remaining < 0:
            return _Omitted
        if value is None or isinstance(value, (bool, str, int, float)):
            return _bounded(value)
        value = _unwrap(value)
        if isinstance(value, dict):
            return self._mapping(value, depth)
        if isinstance(value, (list, tuple, set, frozenset)):
            return self._sequence(value, depth)
        return self._other(value, depth)

    def _mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        converted = {}
        for name, inner in dict.items(value):
            if self._remaining > 0 and isinstance(name, (str, int)):
                plain = self.convert(inner, depth - 1)
                if plain is not _Omitted:
                    converted[str(name)[:_LONGEST]] = plain
        return converted

    def _sequence(self, values: Iterable[Any], depth: int) -> Any:
        converted = []
        for inner in values:
            plain = self.convert(inner, depth - 1)
            if plain is _Omitted:  # a list with gaps would mean something else
                return _Omitted
            converted.append(plain)
        return converted

    def _other(self, value: Any, depth: int) -> Any:
        if isinstance(value, Tensor):
            return self.convert(value.tolist(), depth) if _is_small(value) else _Omitted
        if isinstance(value, (datetime.date, datetime.time)):
            return value.isoformat()
        if isinstance(value, (torch.dtype, torch.device, datetime.timedelta, PurePath)):
            return str(value)[:_LONGEST]
        return _bounded(value) if isinstance(value, (str, int, float, type(None))) else _Omitted


def _bounded(value: Any) -> Any:
    """A text or number as JSON can hold it: no infinities, no huge integers, no long texts."""
    if isinstance(value, str):
        return value[:_LONGEST]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return _Omitted if isinstance(value, int) and abs(value) >= 2**63 else value


def _unwrap(value: Any) -> Any:
    """The value in an object that only wraps one: a stand-in, or the object itself in a trusted file."""
    match value:
        case Attributes():
            return value.values
        case Array():
            return _Omitted if value.values is None else value.values
        case Name():
            return value.name
        case argparse.Namespace():
            return vars(value)
        case np.generic():
            return value.item()
    return value


def _is_small(value: Tensor) -> bool:
    is_plain = value.layout == torch.strided and value.device.type == "cpu"
    return is_plain and value.numel() <= _MOST_NUMBERS and not (value.is_complex() or value.is_quantized)
