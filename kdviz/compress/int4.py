"""int4 weights: fully connected layers of an ONNX file with 4 bits a weight, which onnxruntime has an operator for."""

from __future__ import annotations

from typing import Any

from kdviz.compress.onnx_export import first_line, require_onnx, silence
from kdviz.core.errors import ModelError

BLOCK = 32
"""Weights of one output that share a scale: 4 bits each and a scale of 32 bits are 5 bits a weight."""


def int4_file(content: bytes) -> bytes:
    """A float32 file whose fully connected layers have int4 weights; they compute in float32.

    The weights of each block of :data:`BLOCK` are whole numbers from -8 to 7 times a scale (onnxruntime's
    MatMulNBits). Convolutions stay as they are, since onnxruntime has none with int4 weights.

    Args:
        content: A file of :func:`kdviz.compress.onnx_export.float_file`.

    Raises:
        SettingError: A package is missing.
        ModelError: There is nothing that could be quantised, or onnxruntime cannot do it.
    """
    require_onnx()
    import onnx  # pyright: ignore[reportMissingImports]
    from onnxruntime.quantization.matmul_nbits_quantizer import (  # pyright: ignore[reportMissingImports]
        MatMulNBitsQuantizer,
    )

    model = onnx.load_from_string(content)
    del model.graph.value_info[:]  # they have the shapes of weights before they are transposed
    _split_gemms(model.graph)
    with silence():
        try:
            quantizer = MatMulNBitsQuantizer(model, bits=4, block_size=BLOCK, is_symmetric=True)
            quantizer.process()
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError("onnxruntime cannot quantise this network: {reason}", reason=first_line(error)) from error
    quantised: Any = quantizer.model.model  # pyright: ignore[reportAttributeAccessIssue]
    if not any(node.op_type == "MatMulNBits" for node in quantised.graph.node):
        raise ModelError(
            "This network has no fully connected layer, and onnxruntime has int4 weights for no other; use --int8."
        )
    return quantised.SerializeToString()


def _split_gemms(graph: Any) -> None:
    """Write every fully connected layer as a product and a sum, which the quantiser knows, in place."""
    from onnx import helper, numpy_helper  # pyright: ignore[reportMissingImports]

    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if not _is_layer(node, weights):
            nodes.append(node)
            continue
        name, (inputs, weight, *bias) = node.output[0], node.input
        matrix = numpy_helper.to_array(weights[weight]).T.copy()
        graph.initializer.append(numpy_helper.from_array(matrix, f"{name}_weight"))
        product = f"{name}_product" if bias else name
        nodes.append(helper.make_node("MatMul", [inputs, f"{name}_weight"], [product], f"{name}_matmul"))
        if bias:
            nodes.append(helper.make_node("Add", [product, *bias], [name], f"{name}_add"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _is_layer(node: Any, weights: Any) -> bool:
    """Whether a node is inputs x transposed weights + bias, as the exporter writes a linear layer."""
    if node.op_type != "Gemm" or node.input[1] not in weights:
        return False
    values = {attribute.name: (attribute.i, attribute.f) for attribute in node.attribute}
    plain = {"transA": 0, "transB": 1, "alpha": 1.0, "beta": 1.0}
    return values.get("transB", (0,))[0] == 1 and all(
        name in plain and plain[name] in value for name, value in values.items()
    )
