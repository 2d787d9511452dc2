"""Captum's attribution methods behind one call: one picture, one class, a map with its standard error.

Occlusion and KernelSHAP perturb the picture and explain the class's probability, as RISE does. The gradient
methods explain the class's logit, as their papers do: where a probability is near 0 or 1 its gradient vanishes.
Captum computes; what is here chooses layers and samples, keeps the model as it was, and says why a method does not fit.
"""

from __future__ import annotations

import copy
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import (
    DeepLift,
    GradientShap,
    GuidedGradCam,
    IntegratedGradients,
    KernelShap,
    LayerAttribution,
    Occlusion,
    Saliency,
)
from scipy import stats
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.data import DataLoader

from kdviz.core.errors import KdvizError, SettingError
from kdviz.core.registry import Registry
from kdviz.explanation.gradcam_layers import Layer, find_layer, output_and_gradient
from kdviz.explanation.methods import REPEATS, methods
from kdviz.models.inputs import AdaptedNetwork

_VALUES_AT_ONCE = 2_000_000  # of the pictures in one pass
_MOST_AT_ONCE = 128
_INCOMPLETE = 1e-3  # of all attribution: rounding errors of DeepLIFT stay far below
_ROUNDING = 1e-5  # of a logit
_random_state = threading.RLock()
_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Softmax)
_FUNCTIONS = {"relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "hardswish", "mish"}


class Attribution(NamedTuple):
    """What a method says about one picture.

    Attributes:
        map: float32 (H, W).
        standard_error: float32 (H, W), of the map; zero for a method without randomness.
        halves: float32 (2, H, W), two independent estimates; the map itself, twice, for a method without randomness.
    """

    map: Tensor
    standard_error: Tensor
    halves: Tensor


@dataclass(frozen=True)
class _Task:
    """What is to be explained. ``inputs`` and ``baseline`` are (1, C, H, W), and ``inputs`` takes a gradient."""

    title: str
    model: nn.Module
    inputs: Tensor
    baseline: Tensor
    target: int
    settings: Mapping[str, Any]

    def probabilities(self, images: Tensor) -> Tensor:
        return self.model(images).float().softmax(1)

    def refused(self, reason: str) -> SettingError:
        """``reason`` is the rest of a sentence that begins with the method."""
        return SettingError(f"{self.title} {reason}")

    @property
    def network(self) -> str:
        return f"'{_name(self.model)}'"

    @property
    def size(self) -> tuple[int, int]:
        return self.inputs.shape[2], self.inputs.shape[3]

    @property
    def at_once(self) -> int:
        """Pictures in one pass. Random methods depend on it, so it depends on nothing but the picture's size."""
        return max(1, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // self.inputs.numel()))


# (H, W), or for a random method its independent repeats (REPEATS, H, W).
_maps: Registry[Callable[[_Task], Tensor]] = Registry("Captum method")


def attribute(
    name: str, model: nn.Module, inputs: Tensor, baseline: Tensor, target: int, settings: Mapping[str, Any]
) -> Attribution:
    """The map of one class on one picture.

    The model is left as it was, random state too: methods that need hooks work on a copy.

    Args:
        name: A Captum method in ``methods``.
        model: (N, C, H, W) to logits (N, classes), in eval mode.
        inputs: (1, C, H, W), as the model takes it.
        baseline: What a removed pixel becomes; broadcasts to ``inputs``, in the same units.
        target: Index of the class.
        settings: All settings of the method, as ``Method.complete`` gives them.

    Raises:
        SettingError: The method does not fit the model, or fails on it.
        UnknownNameError: No such method.
    """
    compute, method = _maps[name], methods[name]
    reason = misfit(name, model)
    if reason is not None:
        raise SettingError(reason)
    with torch.inference_mode(False), torch.enable_grad(), _quiet_captum():
        images = inputs.detach().clone().requires_grad_()
        base = baseline.detach().clone().to(images).expand_as(images)
        task = _Task(method.title, model, images, base, target, settings)
        try:
            if method.explains == "logit":
                _need_gradients(task)
            result = compute(task).detach().float()
        except KdvizError:
            raise
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise task.refused(f"failed on {task.network}: {first_line or type(error).__name__}") from error
    if not torch.isfinite(result).all():
        raise task.refused(f"gave NaN or infinite values on {task.network}.")
    return _from_repeats(result) if result.ndim == 3 else _certain(result)


def _name(model: nn.Module) -> str:
    """Of the network's class; of one behind an adapter, that of the network itself."""
    return type(model.network if isinstance(model, AdaptedNetwork) else model).__name__


def misfit(name: str, model: nn.Module) -> str | None:
    """Why a method does not fit a model and what to do, in one sentence; None when nothing speaks against it.

    Only the model's layers are looked at. What shows in a forward pass alone, as an activation that is called as a
    function, :func:`attribute` finds out.
    """
    if methods[name].explains != "logit":
        return None
    reason = _needs_gradients(model) if not getattr(model, "differentiable", True) else None
    reason = reason or _LAYER_CHECKS.get(name, lambda model: None)(model)
    return f"{methods[name].title} {reason}" if reason else None


def _needs_gradients(model: nn.Module) -> str:
    return f"needs gradients and '{_name(model)}' gives none; use rise, occlusion or kernel_shap."


def _needs_places(model: nn.Module) -> str | None:
    """Tokens have places too, and where there are tokens there are norms of them."""
    return None if any(isinstance(one, nn.LayerNorm) for one in model.modules()) else _needs_convolution(model)


def _needs_convolution(model: nn.Module) -> str | None:
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return None
    return f"needs a convolution and '{_name(model)}' has none; use rise or occlusion."


def _needs_rules(model: nn.Module) -> str | None:
    others = _activations(model, but=_ACTIVATIONS)
    if not others:
        return None
    return f"has no rule for {others}, which '{_name(model)}' uses; use integrated_gradients."


def _needs_relu(model: nn.Module) -> str | None:
    others = _activations(model, but=(nn.ReLU,)) if _activations(model) else "no nn.ReLU"
    reason = f"is defined for ReLU and '{_name(model)}' has {others}; use layer_gradcam." if others else None
    return _needs_convolution(model) or reason


def _activations(model: nn.Module, but: tuple[type, ...] = ()) -> str:
    found = {type(one) for one in model.modules() if type(one).__module__ == nn.ReLU.__module__}
    return ", ".join(sorted(one.__name__ for one in found - set(but)))


_LAYER_CHECKS: dict[str, Callable[[nn.Module], str | None]] = {
    "deeplift": _needs_rules,
    "layer_gradcam": _needs_places,
    "guided_gradcam": _needs_relu,
}


def _need_gradients(task: _Task) -> None:
    if not task.model(task.inputs).requires_grad:
        raise task.refused(_needs_gradients(task.model))


# random methods: estimates from independent repeats -------------------------------------------------------------------


def _certain(result: Tensor) -> Attribution:
    return Attribution(result, torch.zeros_like(result), result.expand(2, -1, -1).clone())


def _from_repeats(repeats: Tensor) -> Attribution:
    """Mean, standard error and halves of independent repeats (n, H, W).

    As everywhere in kdviz the standard error has the quantile of Student's t over that of the normal as a factor, so
    that map +- 1.96 standard errors is a 95 % interval.
    """
    count = len(repeats)
    student = stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975)
    error = repeats.std(0) * float(student / np.sqrt(count))
    return Attribution(repeats.mean(0), error, torch.stack([repeats[0::2].mean(0), repeats[1::2].mean(0)]))


@contextmanager
def _seeded(task: _Task) -> Iterator[None]:
    """Numbers from the task's seed; torch's and NumPy's own random state is the same afterwards."""
    with _random_state:  # it is global: two threads that seed it would get each other's numbers
        before = np.random.get_state()  # noqa: NPY002 (Captum's GradientShap draws from NumPy's global state)
        device = task.inputs.device
        try:
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                _seed(task.settings["seed"], device)
                yield
        finally:
            np.random.set_state(before)  # noqa: NPY002


def _seed(seed: int, device: torch.device) -> None:
    np.random.seed(seed)  # noqa: NPY002
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the other GPUs
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    elif device.type == "mps":
        torch.mps.manual_seed(seed)


@contextmanager
def _quiet_captum() -> Iterator[None]:
    """Captum warns that it sets hooks, which it removes; here they are on a copy besides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Setting (forward, )?backward hooks", category=UserWarning)
        yield


# perturbations: the class's probability -------------------------------------------------------------------------------


@_maps.register("occlusion")
def _occlusion(task: _Task) -> Tensor:
    """Fall of the probability when a square is replaced by the baseline, mean over the squares that cover a pixel.

    Zeiler & Fergus (2014), arXiv:1311.2901. -> (H, W).
    """
    channels = task.inputs.shape[1]
    side = max(1, round(task.settings["window"] * min(task.size)))
    step = max(1, round(task.settings["stride"] * side))
    values = Occlusion(task.probabilities).attribute(
        task.inputs.detach(),
        (channels, side, side),
        strides=(channels, step, step),
        baselines=task.baseline,
        target=task.target,
        perturbations_per_eval=task.at_once,
    )
    return values[0, 0]  # a square goes through all channels, and each of them gets its whole effect


@_maps.register("kernel_shap")
def _kernel_shap(task: _Task) -> Tensor:
    """Shapley values of the probability for the cells of a grid; each pixel gets the value of its cell.

    Lundberg & Lee (2017), arXiv:1705.07874, section 4.1. Each repeat is a regression of its own. -> (REPEATS, H, W).
    """
    cells = _cells(task)
    count = -(-task.settings["n_samples"] // REPEATS)
    explainer = KernelShap(task.probabilities)
    explainer.interpretable_model = _LeastSquares()  # type: ignore[assignment]
    with _seeded(task):
        repeats = [
            explainer.attribute(
                task.inputs.detach(),
                task.baseline,
                task.target,
                feature_mask=cells.expand_as(task.inputs),
                n_samples=count,
                perturbations_per_eval=task.at_once,
                return_input_shape=False,
            )
            for _ in range(REPEATS)
        ]
    return torch.stack([values[cells] for values in repeats])


def _cells(task: _Task) -> Tensor:
    """The number of each pixel's cell, (H, W)."""
    grid, (height, width) = task.settings["grid"], task.size
    if grid > min(height, width):
        raise task.refused(f"with grid {grid} does not fit a picture of {height} × {width} pixels; use fewer cells.")
    least = 2 * REPEATS * grid**2  # each repeat's regression has grid² unknowns
    if task.settings["n_samples"] < least:
        raise task.refused(f"with grid {grid} needs n_samples of at least {least}; use more samples or fewer cells.")
    device = task.inputs.device
    rows = torch.arange(height, device=device) * grid // height
    columns = torch.arange(width, device=device) * grid // width
    return rows[:, None] * grid + columns


class _LeastSquares:
    """The linear model that KernelSHAP fits, without scikit-learn, which Captum's own needs."""

    def fit(self, train_data: DataLoader, **_: object) -> None:
        # One batch: which cells are kept (n, cells), scores (n,), and weights (n,). On the CPU, as only there
        # can torch solve a system whose rank is not full.
        (batch,) = train_data
        kept, scores, weights = (part.cpu().double() for part in batch)
        design = torch.cat([kept, torch.ones(len(kept), 1, dtype=kept.dtype)], 1)
        root = weights.sqrt()[:, None]
        solution = torch.linalg.lstsq(design * root, scores[:, None] * root, driver="gelsd").solution
        self._values = solution[:-1, 0].to(batch[1])  # less the intercept

    def representation(self) -> Tensor:
        return self._values


# gradients: the class's logit -----------------------------------------------------------------------------------------


@_maps.register("integrated_gradients")
def _integrated_gradients(task: _Task) -> Tensor:
    """Gradients of the logit along the line from the baseline, times the difference; summed over channels.

    Sundararajan, Taly & Yan (2017), arXiv:1703.01365. The sum is the logit's change from the baseline. -> (H, W).
    """
    values = IntegratedGradients(task.model).attribute(
        task.inputs,
        task.baseline,
        task.target,
        n_steps=task.settings["n_steps"],
        internal_batch_size=task.at_once,
    )
    return values[0].sum(0)


@_maps.register("gradient_shap")
def _gradient_shap(task: _Task) -> Tensor:
    """Integrated gradients of the logit at random points of the line, with noise on the picture.

    Erion et al. (2021), arXiv:1906.10670, with noise as in SmoothGrad (Smilkov et al., 2017, arXiv:1706.03825): a
    share of the picture's range of values. Summed over channels. -> (REPEATS, H, W).
    """
    count = -(-task.settings["n_samples"] // REPEATS)
    values = task.inputs.detach()
    noise = task.settings["noise"] * float(values.max() - values.min())
    explainer = GradientShap(task.model)

    def mean_of_samples() -> Tensor:
        total = torch.zeros(task.size, device=values.device)
        for done in range(0, count, task.at_once):
            part = min(task.at_once, count - done)
            total += part * explainer.attribute(values, task.baseline, part, noise, target=task.target)[0].sum(0)
        return total / count

    with _seeded(task):
        return torch.stack([mean_of_samples() for _ in range(REPEATS)])


@_maps.register("saliency")
def _saliency(task: _Task) -> Tensor:
    """Size of the logit's gradient: the largest over channels, without sign.

    Simonyan, Vedaldi & Zisserman (2013), arXiv:1312.6034, section 3.1. -> (H, W).
    """
    return Saliency(task.model).attribute(task.inputs, task.target, abs=True)[0].amax(0)


@_maps.register("deeplift")
def _deeplift(task: _Task) -> Tensor:
    """Contributions to the logit's difference from the baseline, by the Rescale rule; summed over channels.

    Shrikumar, Greenside & Kundaje (2017), arXiv:1704.02685. Their sum must be the logit's difference: where it is not,
    the model has a layer that Captum has no rule for, and the map would be wrong. -> (H, W).
    """
    model = copy.deepcopy(task.model)  # others may use the model at the same time
    _isolate(task, model, _Trace(model, task.inputs))
    logit = model(task.inputs)[0, task.target].abs().item()
    values, missing = DeepLift(model).attribute(task.inputs, task.baseline, task.target, return_convergence_delta=True)
    if missing.abs().item() > _INCOMPLETE * values.abs().sum().item() + _ROUNDING * logit:
        raise task.refused(
            f"does not add up for {task.network}: it has a layer that Captum has no rule for, for instance an "
            f"activation that is called as a function; use integrated_gradients."
        )
    return values[0].sum(0)


@_maps.register("layer_gradcam")
def _layer_gradcam(task: _Task) -> Tensor:
    """Channels of the last layer with places, weighted by the mean gradient of the logit; enlarged bilinearly.

    Selvaraju et al. (2017), arXiv:1610.02391. Without evidence against the class (ReLU), as published, unless ``relu``
    is off. The layer is the last convolution; where that is far from the end, as a transformer's patch embedding is,
    tokens on their grid, without those of the class (see :mod:`kdviz.explanation.gradcam_layers`). -> (H, W).
    """
    model = copy.deepcopy(task.model)  # others may use the model at the same time
    layer = _late_layer(task, model)
    output, slope = output_and_gradient(model, layer, task.inputs, task.target)
    values = (slope.mean((2, 3), keepdim=True) * output).sum(1, keepdim=True)
    values = values.relu() if task.settings["relu"] == "on" else values
    return LayerAttribution.interpolate(values, task.size, "bilinear")[0, 0]


@_maps.register("guided_gradcam")
def _guided_gradcam(task: _Task) -> Tensor:
    """Grad-CAM times guided backpropagation of the logit (Springenberg et al., 2014, arXiv:1412.6806).

    Selvaraju et al. (2017), arXiv:1610.02391, section 3.2. Summed over channels. -> (H, W).
    """
    model = copy.deepcopy(task.model)  # others may use the model at the same time
    trace = _Trace(model, task.inputs)
    found = _late_layer(task, model)
    if not found.convolution:
        raise task.refused(f"needs a convolution near the end, and {task.network} has none there; use layer_gradcam.")
    layer = model.get_submodule(found.name)
    if trace.functions:
        called = ", ".join(sorted(trace.functions))
        raise task.refused(f"needs activations as modules and {task.network} calls {called}; use layer_gradcam.")
    _isolate(task, model, trace)
    values = GuidedGradCam(model, layer).attribute(task.inputs, task.target, interpolate_mode="bilinear")
    return values[0].sum(0)


# a copy that Captum's hooks suit --------------------------------------------------------------------------------------


class _Trace(TorchFunctionMode):
    """One forward pass: the layers that ran, in order, with their outputs' shapes; activations called as functions."""

    def __init__(self, model: nn.Module, inputs: Tensor):
        super().__init__()
        self.layers: list[tuple[nn.Module, torch.Size]] = []
        self.functions: set[str] = set()
        self._depth = 0
        leaves = [module for module in model.modules() if not any(True for _ in module.children())]
        handles = [leaf.register_forward_pre_hook(self._enter) for leaf in leaves]
        handles += [leaf.register_forward_hook(self._leave) for leaf in leaves]
        with torch.no_grad(), self:
            model(inputs)
        for handle in handles:  # the model is a copy: after an error nobody needs it
            handle.remove()

    def _enter(self, *_: object) -> None:
        self._depth += 1

    def _leave(self, module: nn.Module, _: object, output: Any) -> None:
        self._depth -= 1
        if isinstance(output, Tensor):
            self.layers.append((module, output.shape))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if not self._depth and name in _FUNCTIONS:
            self.functions.add(name.rstrip("_"))
        return func(*args, **(kwargs or {}))


def _late_layer(task: _Task, model: nn.Module) -> Layer:
    """The layer that Grad-CAM looks at, of a copy of the task's model."""
    layer = find_layer(model, task.inputs, task.target)
    if layer is None:
        raise task.refused(
            f"needs a layer whose numbers have places in the picture and reach the class's score, and {task.network} "
            "has none; use rise or occlusion."
        )
    if not layer.late:
        raise task.refused(
            f"needs a layer with places near the end of the network; the last of {task.network}, '{layer.name}', comes "
            f"after {layer.position:.0%} of its layers and says little about the answer; use rise or occlusion."
        )
    return layer


def _isolate(task: _Task, model: nn.Module, trace: _Trace) -> None:
    """Give each call of a non-linear layer of ``model``, a copy of the task's, a layer of its own."""
    calls = Counter(layer for layer, _ in trace.layers if type(layer) in _ACTIVATIONS + _POOLS)
    replaced = {layer: _Isolated(layer, count) for layer, count in calls.items()}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() leaves out a second name of a layer
            if child in replaced:
                setattr(parent, name, replaced[child])
    with torch.no_grad():
        same = torch.allclose(model(task.inputs), task.model(task.inputs), rtol=1e-3, atol=1e-6)
    if not same:
        raise task.refused(
            f"cannot follow {task.network}, where a layer overwrites what another one reads; set its inplace to False."
        )


class _Isolated(nn.Module):
    """A layer whose calls do not meet in Captum's hooks.

    Captum keeps one input and one output a layer, so a layer that is called twice, as ResNet's ReLUs are, must be two.
    And it replaces the gradient of the layer's input tensor, so that tensor must have no other reader.
    """

    def __init__(self, layer: nn.Module, calls: int):
        super().__init__()
        self.layers = nn.ModuleList(_with_rule(layer) for _ in range(calls))
        self._next = 0

    def forward(self, values: Tensor) -> Tensor:
        layer = self.layers[self._next]
        self._next = (self._next + 1) % len(self.layers)
        return layer(values.clone())


def _with_rule(layer: nn.Module) -> nn.Module:
    """The same function, from layers for which Captum's rules are right."""
    if isinstance(layer, nn.ReLU6):
        return _SixFromReLUs()
    if isinstance(layer, nn.MaxPool2d) and not layer.return_indices:
        return _SeparateWindows(layer)
    return copy.deepcopy(layer)


class _SixFromReLUs(nn.Module):
    """ReLU6, for which Captum has no rule: min(max(x, 0), 6) = ReLU(x) - ReLU(x - 6)."""

    def __init__(self):
        super().__init__()
        self.low, self.high = nn.ReLU(), nn.ReLU()

    def forward(self, values: Tensor) -> Tensor:
        return self.low(values.clone()) - self.high(values - 6)


class _SeparateWindows(nn.Module):
    """Max pooling with its windows laid out side by side.

    Where windows overlap, Captum's rule keeps the contribution of one of them and loses the others'.
    """

    def __init__(self, pool: nn.MaxPool2d):
        super().__init__()
        sizes = (pool.kernel_size, pool.stride, pool.padding, pool.dilation)
        self.kernel, self.stride, self.padding, self.dilation = (
            (size, size) if isinstance(size, int) else tuple(size) for size in sizes
        )
        self.ceil_mode = pool.ceil_mode
        self.pool = nn.MaxPool2d((self.kernel[0] * self.kernel[1], 1))

    def forward(self, images: Tensor) -> Tensor:
        pooled = F.max_pool2d(images, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode).shape
        padded = F.pad(images, self._margins(images, pooled), value=torch.finfo(images.dtype).min)
        windows = F.unfold(padded, self.kernel, self.dilation, stride=self.stride)
        windows = windows.view(*pooled[:2], -1, windows.shape[-1])  # (N, C, places in a window, windows)
        return self.pool(windows).view(pooled)

    def _margins(self, images: Tensor, pooled: torch.Size) -> list[int]:
        """Left, right, top, bottom: as far as the first and the last window reach beyond the picture."""
        margins = []
        for axis in (1, 0):
            last = (pooled[axis + 2] - 1) * self.stride[axis] + (self.kernel[axis] - 1) * self.dilation[axis]
            margins += [self.padding[axis], last - self.padding[axis] - images.shape[axis + 2] + 1]
        return margins
