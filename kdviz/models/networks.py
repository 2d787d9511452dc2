"""Architectures by name: the paper's two nets, any classifier of torchvision or timm; models that come from elsewhere,
as ONNX files or functions; and what all of them run on."""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError, UnknownNameError
from kdviz.core.registry import Registry
from kdviz.models.transformers_networks import transformers_network

networks: Registry[Callable[..., nn.Module]] = Registry("network")

ONNX = "onnx"
"""The network's name in a run whose weights are an ONNX file, which holds its own architecture."""

RENORMALISED = "@renormalised"
"""The end of the name of a network that normalises its input anew: see :class:`Renormalised`."""

TORCHVISION_SETTINGS = {
    "transform_input": bool,
    "aux_logits": bool,
    "init_weights": bool,
    "image_size": int,
    "in_chans": int,
}
"""What else torchvision's builders are told, and the kind of each. ``in_chans`` is kdviz's: it makes the first
convolution anew for so many channels."""

TIMM_SETTINGS = {"img_size": int, "global_pool": str}
"""Likewise for timm's."""

_SETTINGS = {"torchvision": TORCHVISION_SETTINGS, "timm": TIMM_SETTINGS}
_LARGEST_SETTING = 4096

_Normalisation = tuple[Sequence[float], Sequence[float]]  # mean and std, one number a channel

_LEAST_ROWS = 4  # of scores, before anything is concluded from their range
_SUM = 1e-4  # by which probabilities may miss 1
_SURE = 1e-7  # a sigmoid that is nearer to 0 or 1 counts as this near: float32 has no logit of 1

_ONNX_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class QuickDropout(nn.Dropout):
    """Dropout whose draws cost a processor half as much: from uniform numbers, where torch draws one by one."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return input
        if input.device.type != "cpu":
            return super().forward(input)
        return input * (torch.rand(input.shape) >= self.p).to(input.dtype) / (1 - self.p)


@networks.register("paper_cnn")
class PaperCNN(nn.Module):
    """The paper's MNIST teacher: 1,625,866 parameters at 28 x 28 and 10 classes.

    Conv 3x3x32 'same' -> MaxPool 2x2 stride 1 'same' -> Conv 3x3x64 'same' -> MaxPool 2x2 stride 2
    -> Dropout .5 -> Dense 128 -> Dropout .5 -> Dense. ReLU after each layer but the last.
    (N, C, H, W) -> logits (N, classes).
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: tuple[int, int] = (28, 28)):
        super().__init__()
        height, width = size
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding="same"),
            nn.ReLU(),
            # Keras pads 'same' pooling at the right and bottom; after ReLU, zero never wins the maximum.
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.MaxPool2d(2, stride=1),
            nn.Conv2d(32, 64, 3, padding="same"),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            QuickDropout(0.5),
            nn.Flatten(),
            nn.Linear(64 * (height // 2) * (width // 2), 128),
            nn.ReLU(),
            QuickDropout(0.5),
            nn.Linear(128, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        features = self.features(images)
        if self.training and features.requires_grad:
            features.register_hook(_as_channels_last)
        return self.classifier(features)


def _as_channels_last(gradient: Tensor) -> Tensor:
    # Flatten's gradient has its channels first; going on like that costs a third of the step in copies.
    return gradient.contiguous(memory_format=torch.channels_last)


@networks.register("paper_fc")
class PaperFC(nn.Sequential):
    """The paper's MNIST student: 784 -> 784 -> 784 -> 10 with ReLU, 1,238,730 parameters.

    (N, C, H, W) -> logits (N, classes).
    """

    def __init__(self, classes: int = 10, channels: int = 1, size: tuple[int, int] = (28, 28)):
        width = channels * size[0] * size[1]
        super().__init__(
            nn.Flatten(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )


@networks.register("resnet50v2_mxnet")
def resnet50v2_mxnet(classes: int = 10, channels: int = 3, size: tuple[int, int] = (224, 224)) -> nn.Module:
    """ResNet50V2 as MXNet has it: timm's, with norms on the input and after the first convolution. Needs timm.

    (N, C, H, W) -> logits (N, classes).

    Raises:
        SettingError: timm is not installed.
    """
    timm = import_timm("resnet50v2_mxnet")
    network = timm.create_model("resnetv2_50", pretrained=False, num_classes=classes, in_chans=channels)
    layers = {
        "norm0": nn.BatchNorm2d(channels),
        "conv": network.stem.conv,
        "norm": timm.layers.BatchNormAct2d(network.stem.conv.out_channels),
        "pool": network.stem.pool,
    }
    network.stem = nn.Sequential(OrderedDict(layers))
    return network


class Renormalised(nn.Module):
    """A network that learned from another normalisation than its experiment's: it makes its own from what it gets.

    All models of an experiment get the same input. ``scale`` and ``shift``, one number a channel, are kept with the
    weights, so that the name says only that they are there.
    (N, C, H, W) as the experiment normalises it -> logits (N, classes).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, channels: int):
        super().__init__()
        self.network = network
        self.register_buffer("scale", torch.ones(1, channels, 1, 1))
        self.register_buffer("shift", torch.zeros(1, channels, 1, 1))

    def between(self, given: _Normalisation, wanted: _Normalisation) -> Renormalised:
        """Set what is done: from the experiment's mean and std to those that the network wants. Returns the network.

        Args:
            given: Mean and std, one number a channel, of values in [0, 1].
            wanted: Likewise.
        """
        (mean, std), (own_mean, own_std) = (torch.tensor(both, dtype=torch.float64) for both in (given, wanted))
        self.scale.copy_((std / own_std).view_as(self.scale))
        self.shift.copy_(((mean - own_mean) / own_std).view_as(self.shift))
        return self

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images * self.scale + self.shift)


@networks.register("linear_head")
class LinearHead(nn.Sequential):
    """A linear layer on the features of a frozen backbone: (N, features, 1, 1) -> logits (N, classes)."""

    def __init__(self, classes: int = 10, channels: int = 1, size: tuple[int, int] = (1, 1)):
        super().__init__(nn.Flatten(), nn.Linear(channels * size[0] * size[1], classes))


def build_network(
    name: str,
    *,
    classes: int,
    channels: int,
    size: tuple[int, int],
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> nn.Module:
    """A network with fresh weights.

    Args:
        name: One of ``networks``, or ``torchvision/NAME`` or ``timm/NAME`` for any classifier of theirs; with
            ``@renormalised`` at the end, such as ``timm/tf_efficientnet_lite2@renormalised``, a :class:`Renormalised`
            one, which changes nothing until ``between`` is called or weights are loaded. ``transformers/TYPE`` is a
            classifier of transformers, whose configuration is the setting ``config``.
        classes: Number of logits.
        channels: Of the input.
        size: Height and width of the input.
        settings: What else the library's builder is told: see ``TORCHVISION_SETTINGS`` and ``TIMM_SETTINGS``.

    Raises:
        UnknownNameError: No such network.
        SettingError: timm is asked for and not installed, the network does not take such an input, or a setting is
            unknown, of the wrong kind, or not one of this network's.
    """
    if name.endswith(RENORMALISED):
        inner = name.removesuffix(RENORMALISED)
        network = build_network(inner, classes=classes, channels=channels, size=size, settings=settings)
        return Renormalised(network, channels)
    library, _, model = name.partition("/")
    if model and library == "torchvision":
        return _torchvision(model, classes, channels, check_settings(name, settings))
    if model and library == "timm":
        return _timm(model, classes, channels, check_settings(name, settings))
    if model and library == "transformers":
        return transformers_network(model, classes, channels, settings)
    builder = networks[name]
    check_settings(name, settings)
    return builder(classes=classes, channels=channels, size=size)


def check_settings(network: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a network's builder, if they are among those that may be given.

    Args:
        network: See :func:`build_network`.
        settings: Plain values by name, as they come from a file.

    Raises:
        SettingError: One is unknown or not of its kind.
    """
    known = _SETTINGS.get(network.partition("/")[0], {})
    for key, value in settings.items():
        if key not in known:
            listed = ", ".join(known) or "none"
            raise SettingError(f"The network '{network}' has no setting '{key}'; its settings are: {listed}.")
        if type(value) is not known[key] or (known[key] is int and not 1 <= value <= _LARGEST_SETTING):
            raise SettingError(
                f"The setting '{key}' of the network '{network}' must be of the type {known[key].__name__} (whole "
                f"numbers from 1 to {_LARGEST_SETTING}), not {value!r:.40}."
            )
    return dict(settings)


def _torchvision(name: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise UnknownNameError("torchvision network", name, known)
    taken = settings.pop("in_chans", 3)
    if channels != taken:
        if taken == 3:
            raise SettingError(f"torchvision's '{name}' takes 3 channels, not {channels}.")
        raise SettingError(f"The setting 'in_chans' of '{name}' is {taken}, but the input's channels are {channels}.")
    network = _built(models.get_model, f"torchvision/{name}", {"weights": None, "num_classes": classes}, settings)
    return network if channels == 3 else _with_channels(network, channels)


def _timm(name: str, classes: int, channels: int, settings: dict[str, Any]) -> nn.Module:
    timm = import_timm(f"timm/{name}")
    if name not in timm.list_models():
        raise UnknownNameError("timm network", name, timm.list_models())
    arguments = {"pretrained": False, "num_classes": classes, "in_chans": channels}
    return _built(timm.create_model, f"timm/{name}", arguments, settings)


def _built(
    create: Callable[..., nn.Module], network: str, arguments: Mapping[str, Any], settings: Mapping[str, Any]
) -> nn.Module:
    """The network; whatever a library says of settings that it does not take is one error."""
    try:
        return create(network.partition("/")[2], **arguments, **settings)
    except Exception as error:  # an unknown setting is a TypeError; a wrong value can be nearly any other
        if not settings:
            raise
        given = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise SettingError(f"The network '{network}' cannot be built with {given}: {_first_line(error)}") from error


def _with_channels(network: nn.Module, channels: int) -> nn.Module:
    """The network with a fresh first convolution for so many channels, as people change torchvision's for grey."""
    name, first = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    shape = (channels, first.out_channels, first.kernel_size, first.stride, first.padding, first.dilation)
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, nn.Conv2d(*shape, bias=first.bias is not None))  # pyright: ignore[reportArgumentType]
    return network


def import_timm(network: str) -> Any:
    """The library timm, which ``network`` needs.

    Raises:
        SettingError: It is not installed.
    """
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(f"The network '{network}' needs timm; install it with: pip install timm") from error
    return timm


class OnnxNetwork(nn.Module):
    """An ONNX file, float or int8, run by onnxruntime on the CPU: what an edge device computes, and no other.

    Tensor (N, C, H, W) -> Tensor (N, classes), float32: the file's first output; further ones are left alone. Inputs
    on another device are fetched, and the answer is put there. As many threads are used as torch uses.

    A file with a fixed batch gets its pictures in pieces of that size. One that is quantised dynamically takes its
    scale from the whole batch, where a picture's answer would depend on its neighbours: it gets one picture at a time.

    Args:
        source: Path or content of the file. It must hold its own weights: other files are not read for it.
        name: For messages; default the file's name.

    Attributes:
        content: The file.
        shape: Of the input as the file declares it: a number, or a name where any number will do.
        scores_shape: Of the first output as the file declares it.
        undoes_sigmoid: Whether the file ends with a sigmoid. Logits are then the log odds of its answer, as a softmax
            of that answer would make all classes nearly equal.
        returns_probabilities: Set this to True when the file ends with a softmax: logits are then the logarithm of
            its answer, whose softmax is that answer again.

    Raises:
        SettingError: onnxruntime is not installed, or too old.
        ModelError: The file cannot be read, is not ONNX, or is not a model from one batch of pictures to scores.
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
        session = self._opened()
        self._input = self._the_input(session)
        self.scores_shape = tuple(session.get_outputs()[0].shape)
        self._output = self._first_output(session)
        self.undoes_sigmoid = last_operator(self.content, self._output) == "Sigmoid"
        self.shape = tuple(session.get_inputs()[0].shape)
        self._dtype = _ONNX_TYPES[session.get_inputs()[0].type]
        dynamic = b"DynamicQuantize" in self.content  # part of the operators' names, which a file holds as plain text
        self._batch = self.shape[0] if isinstance(self.shape[0], int) else 1 if dynamic else None

    def forward(self, images: Tensor) -> Tensor:
        self._check_shape(images)
        batch = images.detach().cpu().float().numpy().astype(self._dtype, copy=False)
        step = self._batch or len(batch)
        rows = [self._run(batch[start : start + step]) for start in range(0, len(batch), step)]
        scores = torch.from_numpy(np.concatenate(rows)).float()
        if self.undoes_sigmoid:
            scores = scores.logit(_SURE)
        elif self.returns_probabilities:
            scores = scores.clamp(min=torch.finfo(torch.float32).tiny).log()
        return scores.to(images.device)

    def answers(self, pictures: np.ndarray) -> np.ndarray:
        """The file's first output for one batch, float32 (n, C, H, W): its own computing and nothing around it."""
        return self._run(pictures)

    def extra_repr(self) -> str:
        return f"'{self.name}', {_shown(self.shape)}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # a session can be neither copied nor pickled; it is opened again

    def _opened(self) -> Any:
        threads = torch.get_num_threads()
        session = self._session
        if session is None or self._threads != threads:
            session = _onnx_session(self.content, self.name, threads)
            self._session, self._threads = session, threads
        return session

    def _run(self, piece: np.ndarray) -> np.ndarray:
        """(n, C, H, W), n at most the batch -> (n, ...); a piece that is too short for the file is filled up."""
        missing = max(0, (self._batch or 0) - len(piece))
        full = np.concatenate([piece, np.repeat(piece[-1:], missing, axis=0)]) if missing else piece
        try:
            (scores,) = self._opened().run([self._output], {self._input: full})
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise ModelError(f"The ONNX model '{self.name}' failed: {_first_line(error)}") from error
        if scores.ndim < 1 or len(scores) != len(full):
            raise ModelError(f"The ONNX model '{self.name}' gave {scores.shape} for a batch of {len(full)}.")
        return scores[: len(piece)]

    def _check_shape(self, images: Tensor) -> None:
        wanted = self.shape[1:]
        given = tuple(images.shape[1:])
        fits = images.ndim == 4 and all(a == b for a, b in zip(wanted, given, strict=True) if isinstance(a, int))
        if not fits:
            raise ModelError(
                f"The ONNX model '{self.name}' takes {_shown(self.shape)}, got (N, C, H, W) = {tuple(images.shape)}."
            )

    def _the_input(self, session: Any) -> str:
        inputs = session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(one.name for one in inputs) or "none"
            raise ModelError(f"The ONNX model '{self.name}' must have one input, the pictures; it has {names}.")
        (one,) = inputs
        if one.type not in _ONNX_TYPES or len(one.shape) != 4:
            raise ModelError(
                f"The ONNX model '{self.name}' must take floats (N, C, H, W), normalised as the experiment's; "
                f"its input is {one.type} {_shown(one.shape)}."
            )
        return one.name

    def _first_output(self, session: Any) -> str:
        output = session.get_outputs()[0]
        if output.type not in _ONNX_TYPES:
            raise ModelError(
                f"The ONNX model '{self.name}' must give float scores first; "
                f"its first output, '{output.name}', is {output.type}."
            )
        return output.name


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


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot read '{path}': {getattr(error, 'strerror', None) or error}.") from error


def _onnxruntime() -> Any:
    install = 'install it with: pip install "kdviz[onnx]"'
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SettingError(f"An ONNX model needs onnxruntime; {install}") from error
    # Before 1.24 a file could name any other file, by its absolute path, as the place of its weights.
    if tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) < (1, 24):
        raise SettingError(f"An ONNX model needs onnxruntime 1.24 or newer, not {onnxruntime.__version__}; {install}")
    return onnxruntime


def _onnx_session(content: bytes, name: str, threads: int) -> Any:
    runtime = _onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong is raised; it need not be printed too
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
        return (
            f"'{name}' cannot be opened; if it keeps its weights in another file, put them into it: "
            "torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(FILE), NEW)."
        )
    return f"'{name}' is not an ONNX model that onnxruntime can run: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _shown(shape: Any) -> str:
    return f"({', '.join('?' if side is None else str(side) for side in shape)})"


class FunctionNetwork(nn.Module):
    """Any callable as a network: Tensor (N, C, H, W), on the CPU or another device -> Tensor (N, classes) or (N,)."""

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(images).to(images.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionNetwork:
        return self  # copies are made to move weights; these are the function's own, and it may not bear copying


class NumpyNetwork(FunctionNetwork):
    """A function of arrays as a network: float32 (N, C, H, W) -> numbers (N, classes) or (N,).

    Tensor -> Tensor, on the device of the input. The function gets its own copy of the pictures, and may change it.
    """

    differentiable = False

    def forward(self, images: Tensor) -> Tensor:
        array = images.detach().to("cpu", torch.float32, copy=True).numpy()
        scores = np.array(self.function(array), dtype=np.float32, order="C")
        return torch.from_numpy(scores).to(images.device)


def are_bounded(scores: Tensor | np.ndarray) -> bool:
    """Whether several rows of scores (N, classes) all lie from 0 to 1, which logits hardly ever do, and vary."""
    rows = torch.as_tensor(scores)
    within = len(rows) >= _LEAST_ROWS and bool(((rows >= 0) & (rows <= 1)).all())
    return within and bool(rows.ne(rows[0, 0]).any())


def are_probabilities(scores: Tensor | np.ndarray) -> bool:
    """Whether several rows of scores (N, classes) are each from 0 to 1 with sum 1, as after a softmax."""
    rows = torch.as_tensor(scores)
    return are_bounded(rows) and bool(((rows.double().sum(1) - 1).abs() < _SUM).all())


def parameter_count(network: nn.Module) -> int:
    """Number of trainable and frozen parameters (buffers are not counted); 0 for ONNX files and functions."""
    return sum(parameter.numel() for parameter in network.parameters())
