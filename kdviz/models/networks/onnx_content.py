"""What an ONNX file says of itself, read without the package onnx, which only making files needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# A file's last operator, without the package onnx, which only making files needs. The format is Protocol Buffers: each
# field is a number of three low bits for its kind and the others for its name, and a value; here names are as in
# onnx.proto. Weights are passed over.
_GRAPH, _NODE, _INPUT, _OUTPUT, _OPERATOR = 7, 1, 1, 2, 4
_OPSETS, _DOMAIN, _VERSION = 8, 1, 2
_PASSED_ON = {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Reshape", "Flatten", "Squeeze"}


def last_operator(content: bytes, output: str) -> str:
    """The operator, such as ``Sigmoid``, that makes an ONNX file's output; empty when it cannot be told.

    Operators that only change a form or a type are passed over.

    Args:
        content: The file.
        output: Name of the output.
    """
    try:
        graph = next(value for name, value in _fields(memoryview(content)) if name == _GRAPH)
        nodes = [list(_fields(value)) for name, value in _fields(graph) if name == _NODE]
        makers = {_text(value): node for node in nodes for name, value in node if name == _OUTPUT}
        for _ in nodes:
            node = makers[output]
            operator = next(_text(value) for name, value in node if name == _OPERATOR)
            if operator not in _PASSED_ON:
                return operator
            output = next(_text(value) for name, value in node if name == _INPUT)
    except (StopIteration, KeyError, IndexError, ValueError, TypeError):
        return ""
    return ""


def opset_of(content: bytes) -> int:
    """The version of ONNX's own operators that a file uses; 0 when it cannot be told."""
    try:
        for name, value in _fields(memoryview(content)):
            entry = dict(_fields(value)) if name == _OPSETS else {}
            if _text(entry.get(_DOMAIN, b"")) in ("", "ai.onnx") and entry.get(_VERSION):
                return int(entry[_VERSION])
    except (IndexError, ValueError, TypeError):
        return 0
    return 0


def _text(value: Any) -> str:
    return bytes(value).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """(Name, value) of each field: a number, or what is in a text or message."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(message, place)
        else:
            length, place = (8 if kind == 1 else 4, place) if kind != 2 else _varint(message, place)
            value, place = message[place : place + length], place + length
        yield key >> 3, value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
