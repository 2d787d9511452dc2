"""The same network, in float32, for the runtimes of phones: ExecuTorch and LiteRT (once TensorFlow Lite).

Both files take one picture a call. They are made from the network in PyTorch, and so only of a run that is one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.compress.cost import Form
from kdviz.compress.onnx_export import silence
from kdviz.core.errors import ModelError, SettingError
from kdviz.experiment import Run
from kdviz.models.networks import ONNX
from kdviz.models.networks.text import first_line


@dataclass(frozen=True)
class DeviceRuntime:
    """A runtime of other devices.

    Attributes:
        title: Its name.
        extra: The extra of kdviz that installs it, and the option of ``kdviz export``.
        packages: What has to be installed.
        file, form: Name of the file, and its form in the table of costs.
        make: A network and an example of its input -> the file's content.
        answers: A file's content and inputs (n, ...) -> scores (n, classes).
    """

    title: str
    extra: str
    packages: tuple[str, ...]
    file: str
    form: Form
    make: Callable[[nn.Module, Tensor], bytes]
    answers: Callable[[bytes, np.ndarray], np.ndarray]

    def require(self) -> None:
        """Check that it is installed.

        Raises:
            SettingError: It is not.
        """
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                raise SettingError(
                    '{title} files need {name}; install it with: pip install "kdviz[{extra}]"',
                    title=self.title,
                    name=package,
                    extra=self.extra,
                )

    def content(self, run: Run, inside: bool) -> bytes:
        """The file of a run.

        Args:
            run: The run.
            inside: Whether it takes uint8 pictures (1, H, W, C), and scales and normalises them.

        Raises:
            SettingError: The runtime is not installed.
            ModelError: The run is an ONNX file, or the network has an operator that the runtime lacks.
        """
        self.require()
        if run.network == ONNX:
            raise ModelError(
                "The model '{role}' is an ONNX file; {title} files are made of networks of PyTorch.",
                role=run.role,
                title=self.title,
            )
        try:
            with silence():
                return self.make(_Whole(run, inside).eval(), _example(run, inside))
        except Exception as error:  # the converters' exceptions have no common base
            raise ModelError(
                "{title} cannot convert this network: {reason}", title=self.title, reason=first_line(error)
            ) from error


class _Whole(nn.Module):
    """A network from its file's input to scores in the experiment's order."""

    mean: Tensor
    std: Tensor

    def __init__(self, run: Run, inside: bool):
        super().__init__()
        self.network, self.inside = run.unadapted, inside
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(run.spec.mean).view(shape))
        self.register_buffer("std", torch.tensor(run.spec.std).view(shape))
        self.order = None if run.class_order is None else list(run.class_order)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.inside:
            inputs = (inputs.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        scores = self.network(inputs)
        return scores if self.order is None else scores[:, self.order]


def _example(run: Run, inside: bool) -> Tensor:
    height, width = run.spec.size
    if inside:
        return torch.zeros(1, height, width, run.spec.channels, dtype=torch.uint8)
    return torch.zeros(1, run.spec.channels, height, width)


def _executorch_file(network: nn.Module, example: Tensor) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import (  # pyright: ignore[reportMissingImports]
        XnnpackPartitioner,
    )
    from executorch.exir import to_edge_transform_and_lower  # pyright: ignore[reportMissingImports]

    program = torch.export.export(network, (example,))
    return bytes(to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)


def _executorch_answers(content: bytes, inputs: np.ndarray) -> np.ndarray:
    with silence():  # it warns that it is experimental
        from executorch.runtime import Runtime  # pyright: ignore[reportMissingImports]

    method = Runtime.get().load_program(content).load_method("forward")
    return np.concatenate([method.execute([torch.from_numpy(one)])[0].numpy().copy() for one in _ones(inputs)])


def _litert_file(network: nn.Module, example: Tensor) -> bytes:
    import tempfile
    from pathlib import Path

    import litert_torch  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        litert_torch.convert(network, (example,)).export(str(path))
        return path.read_bytes()


def _litert_answers(content: bytes, inputs: np.ndarray) -> np.ndarray:
    with silence():
        from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter: Any = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    scores = []
    for one in _ones(inputs):
        interpreter.set_tensor(source, one)
        interpreter.invoke()
        scores.append(interpreter.get_tensor(output).copy())
    return np.concatenate(scores)


def _ones(inputs: np.ndarray) -> list[np.ndarray]:
    return [np.ascontiguousarray(inputs[index : index + 1]) for index in range(len(inputs))]


EXECUTORCH = DeviceRuntime(
    "ExecuTorch", "executorch", ("executorch",), "model.pte", Form.EXECUTORCH, _executorch_file, _executorch_answers
)
LITERT = DeviceRuntime(
    "LiteRT", "litert", ("litert_torch", "ai_edge_litert"), "model.tflite", Form.LITERT, _litert_file, _litert_answers
)
RUNTIMES = (EXECUTORCH, LITERT)
