"""Steps before and after the network of an ONNX file, added to its graph: the network itself stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdviz.models.inputs import InputSpec

_OURS = "kdviz"  # begins every name that is added
PICTURES = "pictures"


def with_preprocessing(content: bytes, spec: InputSpec) -> bytes:
    """An ONNX file whose input is uint8 pictures (N, H, W, C), as files have them, instead of normalised floats.

    Scaling to [0, 1] and normalisation are :meth:`InputSpec.normalise`, in the same order, so that the scores stay.
    Resizing is not in the file: libraries of pictures resize with filters that ONNX does not have.

    Args:
        content: An ONNX file whose input is float (N, C, H, W), of a size that is known.
        spec: The network's input.
    """
    onnx, model, graph = _opened(content)
    (source,) = graph.input
    kind = source.type.tensor_type.elem_type
    shape = (1, spec.channels, 1, 1)
    constants = {"white": [255.0], "mean": spec.mean, "std": spec.std}
    for name, values in constants.items():
        array = np.asarray(values, np.float32).reshape(shape if len(values) > 1 or name != "white" else (1, 1, 1, 1))
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"{_OURS}_{name}"))
    make = onnx.helper.make_node
    steps = [
        make("Transpose", [PICTURES], [f"{_OURS}_planes"], perm=[0, 3, 1, 2], name=f"{_OURS}_planes"),
        make("Cast", [f"{_OURS}_planes"], [f"{_OURS}_values"], to=onnx.TensorProto.FLOAT, name=f"{_OURS}_values"),
        make("Div", [f"{_OURS}_values", f"{_OURS}_white"], [f"{_OURS}_unit"], name=f"{_OURS}_unit"),
        make("Sub", [f"{_OURS}_unit", f"{_OURS}_mean"], [f"{_OURS}_centred"], name=f"{_OURS}_centred"),
        make("Div", [f"{_OURS}_centred", f"{_OURS}_std"], [f"{_OURS}_normal"], name=f"{_OURS}_normal"),
        make("Cast", [f"{_OURS}_normal"], [source.name], to=kind, name=f"{_OURS}_input"),
    ]
    batch = source.type.tensor_type.shape.dim[0]
    count = batch.dim_value if batch.HasField("dim_value") else batch.dim_param or "N"
    pictures = onnx.helper.make_tensor_value_info(PICTURES, onnx.TensorProto.UINT8, [count, *spec.size, spec.channels])
    nodes = [*steps, *graph.node]
    del graph.input[:], graph.node[:]
    graph.input.append(pictures)
    graph.node.extend(nodes)
    return model.SerializeToString()


def with_class_order(content: bytes, order: Sequence[int]) -> bytes:
    """An ONNX file whose first output has its scores (N, classes) in the order ``order`` of the network's own."""
    onnx, model, graph = _opened(content)
    output = graph.output[0]
    graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(order, np.int64), f"{_OURS}_order"))
    ordered = f"{_OURS}_{output.name}"
    names = [output.name, f"{_OURS}_order"]
    graph.node.append(onnx.helper.make_node("Gather", names, [ordered], axis=1, name=f"{_OURS}_ordered"))
    batch = output.type.tensor_type.shape.dim[0]
    count = batch.dim_value if batch.HasField("dim_value") else batch.dim_param or "N"
    kind = output.type.tensor_type.elem_type
    replaced = onnx.helper.make_tensor_value_info(ordered, kind, [count, len(order)])
    del graph.output[:]
    graph.output.append(replaced)
    return model.SerializeToString()


def matrix_product(opset: int = 18) -> bytes:
    """A small ONNX file that multiplies two float32 matrices, ``left`` and ``right``: how fast can a processor be?"""
    import onnx  # pyright: ignore[reportMissingImports]

    def floats(name: str, *shape: str) -> Any:
        return onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))

    node = onnx.helper.make_node("MatMul", ["left", "right"], ["product"])
    inputs = [floats("left", "rows", "inner"), floats("right", "inner", "columns")]
    graph = onnx.helper.make_graph([node], "limit", inputs, [floats("product", "rows", "columns")])
    opsets = [onnx.helper.make_opsetid("", opset)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def _opened(content: bytes) -> tuple[Any, Any, Any]:
    """The package onnx, the model of a file, and its graph."""
    import onnx  # pyright: ignore[reportMissingImports]

    model = onnx.load_from_string(content)
    return onnx, model, model.graph
