"""The same network for OpenVINO, in float32: made from the ONNX file, so that both compute the same."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kdviz.core.errors import ModelError, SettingError
from kdviz.models.networks.text import first_line

OPENVINO_FILE, _WEIGHTS = "model.xml", "model.bin"
_ONE_THREAD = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}


def require_openvino() -> Any:
    """The package openvino.

    Raises:
        SettingError: It is not installed.
    """
    try:
        import openvino  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError('OpenVINO files need openvino; install it with: pip install "kdviz[openvino]"') from error
    return openvino


def openvino_files(content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """The description of a network and, by its name, the file of its weights.

    Args:
        content: An ONNX file.

    Raises:
        SettingError: openvino is not installed.
        ModelError: OpenVINO cannot convert this network.
    """
    openvino = require_openvino()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.onnx"
        source.write_bytes(content)
        try:
            model = openvino.convert_model(source)
            openvino.save_model(model, Path(folder) / OPENVINO_FILE, compress_to_fp16=False)
        except Exception as error:  # openvino's exceptions have no common base
            raise ModelError("OpenVINO cannot convert this network: {reason}", reason=first_line(error)) from error
        return (Path(folder) / OPENVINO_FILE).read_bytes(), {_WEIGHTS: (Path(folder) / _WEIGHTS).read_bytes()}


def openvino_answers(description: bytes, more: Mapping[str, bytes], batches: Iterable[np.ndarray]) -> np.ndarray:
    """Scores (n, classes) of a network of :func:`openvino_files` for batches of its input, as ``check.py`` runs it."""
    openvino = require_openvino()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / OPENVINO_FILE).write_bytes(description)
        for name, content in more.items():
            (Path(folder) / name).write_bytes(content)
        compiled = openvino.Core().compile_model(Path(folder) / OPENVINO_FILE, "CPU", _ONE_THREAD)
        request = compiled.create_infer_request()
        return np.concatenate([request.infer([batch])[0].copy() for batch in batches])
