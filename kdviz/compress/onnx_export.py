"""A network as an ONNX file: as it is, in float32, and quantised to int8, which is what an edge device would run."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.core.errors import ModelError, Sentence, SettingError

INPUT, OUTPUT = "images", "logits"
OPSETS = (18, 23)
"""The lowest and highest version of ONNX's operators that a file can be made for."""

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_WEIGHTED = ("Conv", "Gemm", "MatMul")
_SMALL_SHARE = 0.02  # of all weights: the last layer stays in float32 where it has no more
_CALIBRATION_BATCH = 32  # pictures: the outputs of all layers are kept for a batch


def exporter_problem() -> str:
    """Why no ONNX files can be made on this machine, in one sentence; empty when they can."""
    try:
        import onnx  # noqa: F401  pyright: ignore[reportMissingImports]
        import onnxruntime  # noqa: F401  pyright: ignore[reportMissingImports]
        import onnxscript  # noqa: F401  pyright: ignore[reportMissingImports]
    except ImportError as error:
        return Sentence('ONNX files need {name}; install it with: pip install "kdviz[onnx]"', name=error.name)
    return ""


def float_file(network: nn.Module, example: Tensor, opset: int | None = None) -> bytes:
    """The network as a float32 ONNX file for any batch.

    Args:
        network: A network on the CPU, in evaluation mode.
        example: Inputs of the network, (N, C, H, W), N at least 2.
        opset: Version of ONNX's operators, within :data:`OPSETS`; None: the exporter's choice.

    Raises:
        SettingError: A package is missing, or the version is none that can be made.
        ModelError: torch cannot export this network.
    """
    require_onnx()
    if opset is not None and not OPSETS[0] <= opset <= OPSETS[1]:
        raise SettingError(
            "ONNX files are made for opset {low} to {high}, got {opset}.", low=OPSETS[0], high=OPSETS[1], opset=opset
        )
    with tempfile.TemporaryDirectory() as folder, silence():
        path = Path(folder) / "model.onnx"
        try:
            torch.onnx.export(
                network,
                (example,),
                path,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("N")},),
                opset_version=opset,
                external_data=False,
                verbose=False,
            )
        except Exception as error:  # exceptions of the exporter, and any that the network raises while it is traced
            raise ModelError("torch cannot export this network to ONNX: {reason}", reason=first_line(error)) from error
        return path.read_bytes()


def int8_file(content: bytes, calibration: Tensor) -> bytes:
    """A float32 file quantised to int8: weights per channel, ranges from real pictures.

    Weights have 7 bits of the 8: processors of x86 without VNNI add products of 8 bits in 16 bits, which overflow
    (onnxruntime's advice for them is ``reduce_range``). So the answers are the same on every processor.

    The last layer stays in float32 where it has less than a fiftieth of all weights: what is rounded there decides
    between classes, and it hardly costs anything. The first layer does not, though it matters as much: the layers after
    it would work in float32, too, until the first that is quantised, and most of the time saved would be lost.

    Args:
        content: A file of :func:`float_file`.
        calibration: Inputs of the network, (N, C, H, W), on which the ranges of its layers are measured.

    Raises:
        SettingError: A package is missing.
        ModelError: onnxruntime cannot quantise this network.
    """
    require_onnx()
    import onnx  # pyright: ignore[reportMissingImports]
    from onnxruntime import quantization  # pyright: ignore[reportMissingImports]
    from onnxruntime.quantization.shape_inference import (  # pyright: ignore[reportMissingImports]
        quant_pre_process,
    )

    with tempfile.TemporaryDirectory() as folder, silence():
        exported, preprocessed, quantised = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "ready", "done"))
        model = onnx.load_from_string(content)
        del model.graph.value_info[:]  # the exporter records the shapes of weights before they are transposed
        onnx.save(model, exported)
        try:
            quant_pre_process(exported, preprocessed, skip_symbolic_shape=True)  # norms become part of the convolutions
            quantization.quantize_static(
                preprocessed,
                quantised,
                _reader(calibration),
                per_channel=True,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                nodes_to_exclude=_kept_in_float(onnx.load(preprocessed)),
                reduce_range=True,
            )
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError("onnxruntime cannot quantise this network: {reason}", reason=first_line(error)) from error
        return Path(quantised).read_bytes()


def _kept_in_float(model: Any) -> list[str]:
    """The name of a model's last layer if it has few of all weights."""
    sizes = {tensor.name: int(np.prod(tensor.dims)) for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    weights = [sum(sizes.get(name, 0) for name in node.input) for node in layers]
    return [layers[-1].name] if layers and layers[-1].name and weights[-1] < _SMALL_SHARE * sum(weights) else []


def dynamic_int8_file(content: bytes) -> bytes:
    """A float32 file whose weights are int8, and whose layers find the range of their inputs anew for each batch.

    Args:
        content: A file of :func:`float_file`.

    Raises:
        SettingError: A package is missing.
        ModelError: onnxruntime cannot quantise this network.
    """
    require_onnx()
    import onnx  # pyright: ignore[reportMissingImports]
    from onnxruntime import quantization  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder, silence():
        exported, quantised = (str(Path(folder) / f"{name}.onnx") for name in ("plain", "done"))
        model = onnx.load_from_string(content)
        del model.graph.value_info[:]  # as above
        onnx.save(model, exported)
        try:
            weight_type = quantization.QuantType.QInt8
            # As in int8_file: the answers are the same on every processor.
            quantization.quantize_dynamic(exported, quantised, weight_type=weight_type, reduce_range=True)
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError("onnxruntime cannot quantise this network: {reason}", reason=first_line(error)) from error
        return Path(quantised).read_bytes()


def without_notes(content: bytes) -> bytes:
    """The same file without the exporter's notes on each node: the lines of code, with their paths, that made it.

    Raises:
        SettingError: A package is missing.
    """
    require_onnx()
    import onnx  # pyright: ignore[reportMissingImports]

    model = onnx.load_from_string(content)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    return model.SerializeToString()


def _reader(pictures: Tensor) -> Any:
    """A reader of calibration data for onnxruntime: a batch at a time, then None."""
    from onnxruntime.quantization import CalibrationDataReader  # pyright: ignore[reportMissingImports]

    batches = iter([{INPUT: batch.numpy()} for batch in pictures.split(_CALIBRATION_BATCH)])

    class Reader(CalibrationDataReader):
        def get_next(self) -> Any:
            return next(batches, None)

    return Reader()


def require_onnx() -> None:
    """Check that ONNX files can be made here.

    Raises:
        SettingError: A package is missing.
    """
    problem = exporter_problem()
    if problem:
        raise SettingError(problem)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Silence the exporter and the quantiser, which print and warn about their internals."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("", "torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def first_line(error: Exception) -> str:
    """What an error of a library says, without the lines after it."""
    return _COLOUR.sub("", str(error)).strip().partition("\n")[0]
