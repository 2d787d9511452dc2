"""Metadata of ONNX files, read without the package onnx, which is only needed to make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# The format is Protocol Buffers: each field is a key, whose three low bits are the wire type and the others the field
# number, and a value. The field numbers are those of onnx.proto. Weights are skipped.
_GRAPH, _NODE, _INPUT, _OUTPUT, _OPERATOR = 7, 1, 1, 2, 4
_OPSETS, _DOMAIN, _VERSION = 8, 1, 2
_PASSED_ON = {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Reshape", "Flatten", "Squeeze"}


def last_operator(content: bytes, output: str) -> str:
    """The operator, such as ``Sigmoid``, that computes an ONNX file's output; empty if it cannot be determined.

    Operators that only change a shape or a dtype are skipped.

    Args:
        content: Content of the file.
        output: Name of the output.
    """
    try:
        graph = next(value for name, value in _fields(memoryview(content)) if name == _GRAPH)
        nodes = [list(_fields(value)) for name, value in _fields(graph) if name == _NODE]
        node_of_output = {_text(value): node for node in nodes for name, value in node if name == _OUTPUT}
        for _ in nodes:
            node = node_of_output[output]
            operator = next(_text(value) for name, value in node if name == _OPERATOR)
            if operator not in _PASSED_ON:
                return operator
            output = next(_text(value) for name, value in node if name == _INPUT)
    except (StopIteration, KeyError, IndexError, ValueError, TypeError):
        return ""
    return ""


def opset_of(content: bytes) -> int:
    """The version of ONNX's own operator set that a file uses; 0 if it cannot be determined."""
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
    """(Field number, value) of each field: an integer, or the bytes of a text or message."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        wire_type = key & 7
        if wire_type == 0:
            value, position = _varint(message, position)
        else:
            length, position = (8 if wire_type == 1 else 4, position) if wire_type != 2 else _varint(message, position)
            value, position = message[position : position + length], position + length
        yield key >> 3, value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
