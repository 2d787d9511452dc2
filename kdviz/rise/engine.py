"""A model's forward pass as fast as the device allows, with the same answers.

On CPUs: batch norms folded into convolutions, activations fused into them (oneDNN), channels last, bfloat16 where the
processor computes it faster. On CUDA: folded, channels last, half precision, and CUDA graphs for small models. The copy
is compared with the original before it is used; where it cannot be made or differs, the original is used.
"""

from __future__ import annotations

import copy
import logging
import operator
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from kdviz.core.devices import fast_bf16
from kdviz.core.errors import ModelError, SettingError

Forward = Callable[..., Tensor]
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
_log = logging.getLogger(__name__)
_TOLERANCE = 0.03  # largest root mean square error, over the spread of the scores: adds 0.1 % to a map's noise variance
_SMALL_MODEL = 20_000_000  # parameters: launches, not arithmetic, may be what a GPU waits for
_GRAPHS = 3  # CUDA graphs kept for a model, one for each shape of input


@dataclass(frozen=True, eq=False)
class Prepared:
    """A way to run a model.

    Attributes:
        forward: (N, C, H, W) in ``dtype``, and channels last if so, to scores float32.
        dtype: Of the images.
        channels_last: Whether the images' memory has channels last.
        precision: ``float32``, ``bfloat16`` or ``float16``.
    """

    forward: Forward
    dtype: torch.dtype
    channels_last: bool
    precision: str


def as_given(forward: Forward) -> Prepared:
    """A callable as it is, fed with float32."""
    return Prepared(forward, torch.float32, False, "float32")


def prepare(forward: Forward, images: Tensor, precision: str = "auto") -> Prepared:
    """The fastest way to run a model that gives the same scores; remembered for as long as the model lives unchanged.

    Args:
        forward: An ``nn.Module`` of one input is prepared; any other callable is taken as given.
        images: (n, C, H, W) float32, on the device: pictures of the kind that it will see, masked in different ways.
        precision: ``auto``, or one that is forced.

    Raises:
        SettingError: No such precision.
        ModelError: The model is in training mode.
    """
    if precision not in PRECISIONS:
        raise SettingError(f"precision must be one of {', '.join(PRECISIONS)}, got '{precision}'.")
    if not isinstance(forward, nn.Module):
        return as_given(forward)
    check_evaluation_mode(forward)
    if not getattr(forward, "differentiable", True) or images.device.type not in ("cpu", "cuda"):
        return as_given(forward)
    if torch.equal(images[1:], images[:-1]):  # a picture that is its own baseline: nothing to compare copies on
        return _original(forward, precision)
    key = (precision, images.device, tuple(images.shape[1:]), torch.get_num_threads(), _state(forward))
    kept = _prepared.setdefault(forward, {})
    found = kept.get(key)
    if found is None and key not in kept:
        kept.clear()  # the model has changed, or is used in another way: one copy of each is enough
        found = kept[key] = _best_copy(forward, images, precision)
    return found or _original(forward, precision)  # not kept[key]: another thread may have cleared it


# Values must not refer to their model, or it would live for ever: None means that there is no copy.
_prepared: weakref.WeakKeyDictionary[nn.Module, dict[Any, Prepared | None]] = weakref.WeakKeyDictionary()


def check_evaluation_mode(model: nn.Module) -> None:
    """Raise a ModelError if dropout or batch statistics would change the scores from call to call."""
    for name, module in model.named_modules():
        random = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        if module.training and (random or isinstance(module, nn.modules.batchnorm._BatchNorm)):
            raise ModelError(
                f"The model is in training mode ({type(module).__name__} '{name}' changes its output from call to "
                "call); call model.eval() first."
            )


def _state(model: nn.Module) -> tuple[Any, ...]:
    """Changes when the weights do: places and versions of all tensors, and norms, for changes through ``.data``."""
    tensors = [*model.parameters(), *model.buffers()]
    with torch.no_grad():
        real = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
        norms = torch.stack([one.norm().float() for one in real]).tolist() if real else []
    versions = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
    return (*versions, *norms)


def _best_copy(model: nn.Module, images: Tensor, precision: str) -> Prepared | None:
    """None when no copy gives the same scores."""
    try:
        with torch.inference_mode():
            expected = _scores(model(images))
    except torch.OutOfMemoryError:
        raise
    except Exception:  # whoever runs the original will see and say what is wrong
        return None
    for name in _candidates(images.device, precision):
        try:
            found, got = _tried(model, images, name)
            if _same(expected, got, name):
                return found
            # What was asked for may round more than auto would take, but must be the same computation.
            forced = precision == name != "float32" and bool(torch.isfinite(got).all())
            if forced and _same(expected, _tried(model, images, "float32")[1], "float32"):
                return found
        except Exception as error:  # tracing takes not every model, and what it then raises is up to the model
            _log.info("no %s copy of %s: %s", name, type(model).__name__, error)
    return None


def _tried(model: nn.Module, images: Tensor, precision: str) -> tuple[Prepared, Tensor]:
    """A copy and its scores."""
    found = _converted(model, images, precision)
    with torch.inference_mode():
        return found, _scores(found.forward(_cast(images, found)))


def _original(model: nn.Module, precision: str) -> Prepared:
    return _autocast(model, precision) if precision in ("bfloat16", "float16") else as_given(model)


def _candidates(device: torch.device, precision: str) -> list[str]:
    if precision != "auto":
        return [precision]
    if fast_bf16(device):
        return ["bfloat16", "float32"]
    return ["float16", "float32"] if device.type == "cuda" else ["float32"]


def _autocast(model: nn.Module, precision: str) -> Prepared:
    def forward(images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, getattr(torch, precision)):
            return model(images)

    return Prepared(forward, torch.float32, False, precision)


def _scores(output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(f"the model returned {type(output).__name__}")
    return output.float()


def _same(expected: Tensor, got: Tensor, precision: str) -> bool:
    """Whether the copy's scores are the model's, but for rounding that is far below their spread over the masks."""
    if got.shape != expected.shape or not torch.isfinite(got).all():
        return False
    spread = (expected - expected.mean(0)).square().mean().sqrt()
    error = (got - expected).square().mean().sqrt()
    return bool(error <= spread * (_TOLERANCE if precision != "float32" else 1e-3) + 1e-6 * expected.abs().max())


def _cast(images: Tensor, prepared: Prepared) -> Tensor:
    memory = torch.channels_last if prepared.channels_last else torch.contiguous_format
    return images.to(prepared.dtype).contiguous(memory_format=memory)


def _converted(model: nn.Module, images: Tensor, precision: str) -> Prepared:
    dtype = getattr(torch, precision)
    traced = _traced(model)
    converted = traced.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if images.device.type == "cpu":
        with torch.inference_mode():
            converted = _with_onednn(converted)
        return Prepared(_as_float(converted), dtype, True, precision)
    small = sum(one.numel() for one in model.parameters()) < _SMALL_MODEL
    forward = _Graphed(converted) if small else converted
    return Prepared(_as_float(forward), dtype, True, precision)


def _as_float(forward: Forward) -> Forward:
    return lambda images: forward(images).float()


def _traced(model: nn.Module) -> nn.Module:
    """A copy with batch norms folded into the convolutions before them; the copy itself where it can't be traced."""
    try:
        return fuse(fx.symbolic_trace(copy.deepcopy(model)))
    except Exception as error:  # control flow that depends on values, and much else
        _log.info("%s is not traced: %s", type(model).__name__, error)
        return copy.deepcopy(model)


# oneDNN ---------------------------------------------------------------------------------------------------------------


class _Convolution(nn.Module):
    """A convolution, what is added to it, and its activation in one oneDNN call, with weights laid out for it."""

    def __init__(self, source: nn.Conv2d, activation: tuple[str, list[float]], residual: bool):
        super().__init__()
        if source.padding == "same":  # odd kernels only: see _fusible
            padding = [d * (k - 1) // 2 for d, k in zip(source.dilation, source.kernel_size, strict=True)]
        else:
            padding = list(source.padding)  # type: ignore[arg-type]
        self.source = source
        self.residual = residual
        self.activation = activation
        self.where = (padding, list(source.stride), list(source.dilation), source.groups)
        self.packed: Tensor | None = None

    def forward(self, images: Tensor, added: Tensor | None = None) -> Tensor:
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_convolution_weight(self.source.weight, *self.where, images.shape)
        name, scalars = self.activation
        if added is None:
            return torch.ops.mkldnn._convolution_pointwise(
                images, self.packed, self.source.bias, *self.where, name, scalars, ""
            )
        return torch.ops.mkldnn._convolution_pointwise.binary(
            images,
            added,
            self.packed,
            self.source.bias,
            *self.where,
            "add",
            1.0,
            None if name == "none" else name,
            scalars,
            "",
        )


class _Linear(nn.Module):
    """A linear layer and its activation in one oneDNN call."""

    def __init__(self, source: nn.Linear, activation: tuple[str, list[float]]):
        super().__init__()
        self.source = source
        self.activation = activation
        self.packed: Tensor | None = None

    def forward(self, values: Tensor) -> Tensor:
        if self.packed is None:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.source.weight, values.shape[0])
        name, scalars = self.activation
        return torch.ops.mkldnn._linear_pointwise(values, self.packed, self.source.bias, name, scalars, "")


class _MaximumOfTwo(nn.Module):
    """2 x 2 max pooling as maxima of slices: three times faster than torch's for bfloat16 on CPUs (torch 2.15)."""

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        step = self.stride
        last = [step * ((side - 2) // step) + 1 for side in images.shape[2:]]
        across = torch.maximum(images[:, :, : last[0] : step], images[:, :, 1 : last[0] + 1 : step])
        return torch.maximum(across[..., : last[1] : step], across[..., 1 : last[1] + 1 : step])


def _with_onednn(model: nn.Module) -> nn.Module:
    """Layers of a traced model exchanged for faster ones; a model that is not traced as it is."""
    if not isinstance(model, fx.GraphModule):
        return model
    modules: dict[str, nn.Module] = dict(model.named_modules())
    for node in list(model.graph.nodes):
        layer = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, nn.Conv2d) and _fusible(layer):
            _exchange_convolution(model, node, layer, modules)
        elif isinstance(layer, nn.Linear) and layer.weight.dtype == torch.bfloat16:
            last, activation = _activation_after(node, modules)
            _exchange(model, node, last, _Linear(layer, activation), node.args)
        elif isinstance(layer, nn.MaxPool2d) and _is_two_by_two(layer):
            _exchange(model, node, node, _MaximumOfTwo(_first(layer.stride)), node.args)
    model.graph.lint()
    model.recompile()
    return model


def _fusible(layer: nn.Conv2d) -> bool:
    odd = all(size % 2 for size in layer.kernel_size)
    return layer.padding_mode == "zeros" and (odd if layer.padding == "same" else layer.padding != "valid")


def _first(value: Any) -> int:
    return value[0] if isinstance(value, tuple) else value


def _is_two_by_two(layer: nn.MaxPool2d) -> bool:
    plain = layer.padding in (0, (0, 0)) and layer.dilation in (1, (1, 1)) and not layer.ceil_mode
    return plain and layer.kernel_size in (2, (2, 2)) and layer.stride in (1, 2, (1, 1), (2, 2))


def _exchange_convolution(
    model: fx.GraphModule, node: fx.Node, layer: nn.Conv2d, modules: dict[str, nn.Module]
) -> None:
    last, added = node, None
    user = _only_user(node)
    if user is not None and user.op == "call_function" and user.target in (operator.add, operator.iadd, torch.add):
        others = [one for one in user.args if one is not node]
        if len(others) == 1 and isinstance(others[0], fx.Node) and not user.kwargs:
            last, added = user, others[0]
    final, activation = _activation_after(last, modules, only=("relu",) if added is not None else None)
    arguments = (*node.args, *([added] if added is not None else []))
    _exchange(model, node, final, _Convolution(layer, activation, added is not None), arguments)


def _exchange(model: fx.GraphModule, node: fx.Node, last: fx.Node, layer: nn.Module, arguments: Any) -> None:
    """``layer`` takes the place of the nodes from ``node`` to ``last``."""
    name = f"fused_{node.name}"
    model.add_module(name, layer)
    with model.graph.inserting_after(last):
        new = model.graph.call_module(name, tuple(arguments))
    last.replace_all_uses_with(new)
    while last is not node:  # what is between has one user each, and goes with it
        before = next(one for one in last.all_input_nodes if one is node or node in one.all_input_nodes)
        model.graph.erase_node(last)
        last = before
    model.graph.erase_node(node)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _activation_after(
    node: fx.Node, modules: dict[str, nn.Module], only: tuple[str, ...] | None = None
) -> tuple[fx.Node, tuple[str, list[float]]]:
    """The activation that alone uses a node, and its name and numbers for oneDNN; the node and ``none`` without one."""
    user = _only_user(node)
    found = None
    if user is not None and user.op == "call_module":
        found = _onednn_name(modules.get(str(user.target)))
    elif user is not None and user.op == "call_function" and user.target in (F.relu, torch.relu):
        found = ("relu", [])
    if user is None or found is None or (only and found[0] not in only):
        return node, ("none", [])
    return user, found


def _onednn_name(layer: nn.Module | None) -> tuple[str, list[float]] | None:
    if isinstance(layer, nn.Hardtanh):  # ReLU6 is one
        return "hardtanh", [float(layer.min_val), float(layer.max_val)]
    names = {nn.ReLU: "relu", nn.SiLU: "swish", nn.Hardswish: "hardswish", nn.Sigmoid: "sigmoid", nn.Tanh: "tanh"}
    name = names.get(type(layer))  # type: ignore[arg-type]
    return None if name is None else (name, [])


# CUDA -----------------------------------------------------------------------------------------------------------------


class _Graph(NamedTuple):
    """A model's kernels for one shape of input, captured: filled in, launched together, read out."""

    launch: Callable[[], None]
    given: Tensor
    result: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        self.given.copy_(images)
        self.launch()
        return self.result.clone()


class _Graphed:
    """A model whose kernels are captured for the shapes of input that come again, and then launched together.

    The first input of a shape goes through the model as it is: what comes once, as probes and the sizes on the way to
    the best batch do, is not worth a capture. The shape that was not used for longest makes room for a new one. A model
    that cannot be captured, or whose capture gives other scores, is never captured again.
    """

    def __init__(self, model: nn.Module):
        self._model = model
        self._seen: set[tuple[int, ...]] = set()
        self._graphs: dict[tuple[int, ...], _Graph] = {}  # the one used last is the last
        self._fits = True
        self._lock = threading.Lock()  # two threads must not fill in the same input

    def __call__(self, images: Tensor) -> Tensor:
        with self._lock:
            graph = self._graph_for(images)
            if graph is not None:
                return graph(images)
        return self._model(images)

    def _graph_for(self, images: Tensor) -> _Graph | None:
        shape = tuple(images.shape)
        if not self._fits or shape not in self._seen:
            self._seen.add(shape)
            return None
        graph = self._graphs.pop(shape, None) or self._captured(images)
        if graph is not None:
            self._graphs[shape] = graph
        for oldest in list(self._graphs)[:-_GRAPHS]:
            del self._graphs[oldest]
            self._seen.discard(oldest)
        return graph

    def _captured(self, images: Tensor) -> _Graph | None:
        try:
            with _capturing:
                graph = _capture(self._model, images)
            # The same kernels, but for what is rounded in another order.
            if _same(_scores(self._model(images)), _scores(graph(images)), "bfloat16"):
                return graph
            _log.warning("a CUDA graph of %s gives other scores; it is not used", type(self._model).__name__)
        except Exception as error:  # whatever a capture forbids, and memory: the model itself says what is wrong
            _log.info("no CUDA graph of %s: %s", type(self._model).__name__, error)
        self._fits = False
        return None


_capturing = threading.Lock()  # CUDA allows a process one capture at a time


def _capture(model: nn.Module, images: Tensor) -> _Graph:
    """The kernels that turn an input like ``images`` into the model's output."""
    device = images.device
    given = images.neg()  # other values than the first ones to come: what is not in the graph would show
    before, side = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    graph = torch.cuda.CUDAGraph()
    side.wait_stream(before)
    # All on the model's own device and a stream there: by default torch captures on the device that was current when it
    # first did, and the graph of a model on another one would be empty. The outer stream context also puts the stream
    # back when a capture fails, which torch.cuda.graph does not.
    with torch.cuda.device(device), torch.cuda.stream(side):
        for _ in range(3):  # a capture needs kernels that were chosen and memory that was taken before
            model(given)
        # By default what other threads do meanwhile, such as taking memory on another GPU, spoils a capture.
        with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            result = model(given)
    before.wait_stream(side)
    return _Graph(graph.replay, given, result)


# batch size -----------------------------------------------------------------------------------------------------------


@dataclass
class BatchSize:
    """Finds the fastest batch size while the work is done: sizes are doubled for as long as that makes it faster.

    Attributes:
        current: What to use now.
        most: Never more than this.
        settled: Whether nothing is tried any more.
    """

    current: int
    most: int
    settled: bool = False
    _seconds: list[float] = field(default_factory=list)
    _best: tuple[float, int] = (float("inf"), 0)
    _doubted: bool = False

    def record(self, images: int, seconds: float) -> None:
        """A batch of ``current`` images took so long; the first one of a size only warms up and does not count."""
        if self.settled or images != self.current:
            return
        self._seconds.append(seconds / images)
        if len(self._seconds) < 3:
            return
        each = min(self._seconds[1:])
        self._seconds.clear()
        if each > 0.97 * self._best[0] and self._best[1]:
            # Other work on the machine can make a size look slow once; hardly twice.
            if self._doubted:
                self.current, self.settled = self._best[1], True
            self._doubted = True
            return
        self._best, self._doubted = (each, self.current), False
        if 2 * self.current > self.most:
            self.settled = True
        else:
            self.current *= 2

    def halve(self) -> None:
        """Out of memory: never again as many.

        Raises:
            ModelError: Not even one image fits.
        """
        if self.current == 1:
            raise ModelError("The device's memory is too small for one masked image.")
        self.current = self.most = max(1, self.current // 2)
        self.settled = True


def seconds_now(device: torch.device) -> float:
    """A clock that has waited for what the device still does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
