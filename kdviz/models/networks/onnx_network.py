"""ONNX files as networks."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.core.errors import ModelError, Sentence, SettingError
from kdviz.models.networks.onnx_content import last_operator
from kdviz.models.networks.text import first_line

_EPSILON = 1e-7  # a sigmoid is clamped to at least this distance from 0 and 1, where float32 has no logit

_ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class OnnxNetwork(nn.Module):
    """An ONNX file, float or int8, run by onnxruntime on the CPU: computes exactly what an edge device does.

    Tensor (N, C, H, W) -> Tensor (N, classes), float32: the file's first output; further ones are ignored. Inputs on
    another device are copied to the CPU, and the output back to it. As many threads are used as torch uses.

    A file with a fixed batch size gets its pictures in chunks of that size. A dynamically quantised one takes its scale
    from the whole batch, so that a picture's output would depend on its neighbours: it gets one picture at a time.

    Args:
        source: Path or content of the file. Weights in other files are not supported.
        name: Name for messages; default: the file's name.

    Attributes:
        content: Content of the file.
        shape: Shape of the input as the file declares it, with names for sides that may be any number.
        scores_shape: Shape of the first output as the file declares it.
        undoes_sigmoid: Whether the file ends with a sigmoid. Logits are then the log odds of its output, since a
            softmax of the output itself would make all classes nearly equal.
        returns_probabilities: Set this to True if the file ends with a softmax: logits are then the logarithm of its
            output, whose softmax is the output again.

    Raises:
        SettingError: onnxruntime is not installed, or too old.
        ModelError: The file cannot be read, is not ONNX, or does not map one batch of pictures to scores.
    """

    differentiable = False

    def __init__(self, source: str | Path | bytes, name: str = ""):
        super().__init__()
        self.content = source if isinstance(source, bytes) else _read(Path(source))
        self.name = name or ("model.onnx" if isinstance(source, bytes) else Path(source).name)
        self.returns_probabilities = False
        self.undoes_sigmoid = False
        self._session: Any = None
        self._threads = 0
        session = self._open_session()
        self._input = self._input_name(session)
        self.scores_shape = tuple(session.get_outputs()[0].shape)
        self._output = self._output_name(session)
        self.undoes_sigmoid = last_operator(self.content, self._output) == "Sigmoid"
        self.shape = tuple(session.get_inputs()[0].shape)
        self._dtype = _ONNX_TYPES[session.get_inputs()[0].type]
        is_dynamic = b"DynamicQuantize" in self.content  # part of operator names, which are plain text in a file
        self._batch = self.shape[0] if isinstance(self.shape[0], int) else 1 if is_dynamic else None

    def forward(self, images: Tensor) -> Tensor:
        self._check_shape(images)
        batch = images.detach().cpu().float().numpy().astype(self._dtype, copy=False)
        step = self._batch or len(batch)
        rows = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        scores = torch.from_numpy(np.concatenate(rows)).float()
        if self.undoes_sigmoid:
            scores = scores.logit(_EPSILON)
        elif self.returns_probabilities:
            scores = scores.clamp(min=torch.finfo(torch.float32).tiny).log()
        return scores.to(images.device)

    def answers(self, pictures: np.ndarray) -> np.ndarray:
        """The file's first output for one batch, float32 (n, C, H, W), without any conversion."""
        return self._run(pictures)

    def extra_repr(self) -> str:
        return f"'{self.name}', {_format_shape(self.shape)}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # a session can be neither copied nor pickled, and is opened again

    def _open_session(self) -> Any:
        threads = torch.get_num_threads()
        session = self._session
        if session is None or self._threads != threads:
            session = _onnx_session(self.content, self.name, threads)
            self._session, self._threads = session, threads
        return session

    def _run(self, chunk: np.ndarray) -> np.ndarray:
        """Run (n, C, H, W), with n at most the batch size -> (n, ...); a chunk too short for the file is padded."""
        missing = max(0, (self._batch or 0) - len(chunk))
        padded = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)]) if missing else chunk
        try:
            (scores,) = self._open_session().run([self._output], {self._input: padded})
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError(
                "The ONNX model '{name}' failed: {reason}", name=self.name, reason=first_line(error)
            ) from error
        if scores.ndim < 1 or len(scores) != len(padded):
            raise ModelError(
                "The ONNX model '{name}' gave {shape} for a batch of {n_padded}.",
                name=self.name,
                shape=scores.shape,
                n_padded=len(padded),
            )
        return scores[: len(chunk)]

    def _check_shape(self, images: Tensor) -> None:
        expected = self.shape[1:]
        actual = tuple(images.shape[1:])
        is_accepted = images.ndim == 4 and all(
            expected_side == side
            for expected_side, side in zip(expected, actual, strict=True)
            if isinstance(expected_side, int)
        )
        if not is_accepted:
            raise ModelError(
                "The ONNX model '{name}' takes {format_shape}, got (N, C, H, W) = {shape}.",
                name=self.name,
                format_shape=_format_shape(self.shape),
                shape=tuple(images.shape),
            )

    def _input_name(self, session: Any) -> str:
        inputs = session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(graph_input.name for graph_input in inputs) or "none"
            raise ModelError(
                "The ONNX model '{name}' must have one input, the pictures; it has {names}.",
                name=self.name,
                names=names,
            )
        (graph_input,) = inputs
        if graph_input.type not in _ONNX_TYPES or len(graph_input.shape) != 4:
            raise ModelError(
                "The ONNX model '{name}' must take floats (N, C, H, W), normalised as the "
                "experiment's; its input is {type} {format_shape}.",
                name=self.name,
                type=graph_input.type,
                format_shape=_format_shape(graph_input.shape),
            )
        return graph_input.name

    def _output_name(self, session: Any) -> str:
        output = session.get_outputs()[0]
        if output.type not in _ONNX_TYPES:
            raise ModelError(
                "The ONNX model '{name}' must give float scores first; its first output, '{output}', is {type}.",
                name=self.name,
                output=output.name,
                type=output.type,
            )
        return output.name


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(
            "Cannot read '{path}': {strerror}.", path=path, strerror=getattr(error, "strerror", None) or error
        ) from error


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError('An ONNX model needs onnxruntime; install it with: pip install "kdviz[onnx]"') from error
    # Before 1.24 a file could name any other file, by its absolute path, as the location of its weights.
    if tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < (1, 24):
        raise SettingError(
            'An ONNX model needs onnxruntime 1.24 or newer, not {version}; install it with: pip install "kdviz[onnx]"',
            version=onnxruntime.__version__,
        )
    return onnxruntime


def _onnx_session(content: bytes, name: str, threads: int) -> Any:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are raised, and need not be printed as well
    options.add_session_config_entry("session.load_model_format", "ONNX")  # not its own format, which nobody checks
    # Waiting threads would take the cores from torch's, which compute the next model of a comparison.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Even for a model from memory, weights in other files are looked for in the working directory: this one is empty.
    with tempfile.TemporaryDirectory() as empty:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", empty)
        try:
            return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError(_why_refused(content, name, error)) from error


def _why_refused(content: bytes, name: str, error: Exception) -> str:
    if b"location" in content:  # the key under which a file says where its weights are
        return Sentence(
            "'{name}' cannot be opened; if it keeps its weights in another file, put them into it: "
            "torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(FILE), NEW).",
            name=name,
        )
    return Sentence(
        "'{name}' is not an ONNX model that onnxruntime can run: {reason}", name=name, reason=first_line(error)
    )


def _format_shape(shape: Any) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"
