"""ONNX files as models: what they take and give is checked when they are opened, not with the first picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdviz.core.errors import ModelError
from kdviz.models.checkpoints import refusals
from kdviz.models.checkpoints.model_file import ModelFile
from kdviz.models.networks import OnnxNetwork, opset_of


def is_onnx(path: Path, head: bytes) -> bool:
    """By its name, or by its first fields: the version of the format, then the producer, the graph or the opsets."""
    fields = len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 and head[2] in b"\x12\x3a\x42"
    return path.suffix.lower() == ".onnx" or fields


def open_onnx(path: Path) -> ModelFile:
    """An ONNX file that takes floats (N, C, H, W) with one or three channels and gives (N, classes) first.

    Raises:
        SettingError: onnxruntime is not installed, or too old.
        ModelError: It is another model, keeps its weights in another file, is too new, or is damaged.
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
            raise refusals.new_opset(path, opset) from error
        raise
    _require_pictures(path, network.shape)
    if len(network.scores_shape) != 2:
        raise refusals.wrong_scores(path, _shown(network.scores_shape))
    recorded = {
        "input_shape": _plain(network.shape),
        "output_shape": _plain(network.scores_shape),
        "opset": opset,
    }
    return ModelFile(path, "onnx", recorded=recorded)


def _require_pictures(path: Path, shape: tuple[Any, ...]) -> None:
    channels, last = shape[1], shape[3]
    if last in (1, 3) and channels not in (1, 3):
        raise refusals.channels_last(path, _shown(shape))
    if isinstance(channels, int) and channels not in (1, 3):
        raise refusals.wrong_channels(path, _shown(shape))


def _plain(shape: tuple[Any, ...]) -> list[Any]:
    return [side if isinstance(side, int) else None for side in shape]


def _shown(shape: tuple[Any, ...]) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"
