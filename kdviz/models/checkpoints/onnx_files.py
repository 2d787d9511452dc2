"""ONNX files as models: their input and output are checked when they are opened, not with the first picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import refusals
from kdviz.models.checkpoints.model_file import ModelFile
from kdviz.models.networks import OnnxNetwork, opset_of


def is_onnx(path: Path, head: bytes) -> bool:
    """Whether a file is ONNX, by its name or its first fields: the format's version, then producer, graph or opsets."""
    has_signature = len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in b"\x12\x3a\x42"
    return path.suffix.lower() == ".onnx" or has_signature


def open_onnx(path: Path) -> ModelFile:
    """Open an ONNX file that takes floats (N, C, H, W) of one or three channels and returns (N, classes) first.

    Raises:
        SettingError: onnxruntime is not installed, or too old.
        ModelError: The model has another input or output, external weights, too new an opset, or is damaged.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refusals.unreadable(path, error) from error
    opset = opset_of(content)
    try:
        network = OnnxNetwork(content, str(path))
    except ModelError as error:
        if opset and "opset" in str(error).lower():
            raise _new_opset(path, opset) from error
        raise
    _require_pictures(path, network.shape)
    if len(network.scores_shape) != 2:
        raise _wrong_scores(path, _format_shape(network.scores_shape))
    recorded = {
        "input_shape": _known_sides(network.shape),
        "output_shape": _known_sides(network.scores_shape),
        "opset": opset,
    }
    return ModelFile(path, "onnx", recorded=recorded)


def _require_pictures(path: Path, shape: tuple[Any, ...]) -> None:
    channels, last = shape[1], shape[3]
    if last in (1, 3) and channels not in (1, 3):
        raise _channels_last(path, _format_shape(shape))
    if isinstance(channels, int) and channels not in (1, 3):
        raise _wrong_channels(path, _format_shape(shape))


def _known_sides(shape: tuple[Any, ...]) -> list[Any]:
    return [side if isinstance(side, int) else None for side in shape]


def _format_shape(shape: tuple[Any, ...]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


def _channels_last(path: Path, shape: str) -> ModelError:
    return ModelError(
        "The ONNX model '{path}' takes {shape}, with the channels last; convert it with its channels "
        "first, (N, C, H, W), as tf2onnx does with --inputs-as-nchw.",
        path=path,
        shape=shape,
    )


def _wrong_channels(path: Path, shape: str) -> ModelError:
    return ModelError(
        "The ONNX model '{path}' takes {shape}; only pictures with 1 or 3 channels can be given to it.",
        path=path,
        shape=shape,
    )


def _wrong_scores(path: Path, shape: str) -> ModelError:
    return ModelError(
        "The ONNX model '{path}' gives {shape} first, and not one row of scores a picture, (N, "
        "classes); export it with its scores as its first output.",
        path=path,
        shape=shape,
    )


def _new_opset(path: Path, opset: int) -> ModelError:
    return ModelError(
        "The ONNX model '{path}' is of opset {opset}, which the installed onnxruntime does not know; "
        "export it with opset_version=17, or install a newer onnxruntime.",
        path=path,
        opset=opset,
    )
