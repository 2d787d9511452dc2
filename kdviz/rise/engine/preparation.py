"""Copies of a model that are faster and give the same scores.

On CPUs: batch norms folded into convolutions, activations fused into them (oneDNN), channels last, bfloat16 where the
processor computes it faster. On CUDA: folded, channels last, half precision, and CUDA graphs for small models. The copy
is compared with the original before it is used; where it cannot be made or differs, the original is used.
"""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.devices import fast_bf16
from kdviz.core.errors import ModelError, SettingError
from kdviz.rise.engine.comparison import float_scores, same_scores
from kdviz.rise.engine.cuda_graphs import GraphedModel
from kdviz.rise.engine.onednn import fuse_for_onednn
from kdviz.rise.settings import PRECISIONS

Forward = Callable[..., Tensor]
_log = logging.getLogger(__name__)
_SMALL_MODEL = 20_000_000  # parameters: below, a GPU may wait for launches and not for arithmetic


@dataclass(frozen=True, eq=False)
class Prepared:
    """A way to run a model.

    Attributes:
        forward: (N, C, H, W) in ``dtype`` and memory layout to scores float32.
        dtype: Data type of the images.
        channels_last: Whether the images' memory layout is channels last.
        precision: ``float32``, ``bfloat16`` or ``float16``.
    """

    forward: Forward
    dtype: torch.dtype
    channels_last: bool
    precision: str


def as_given(forward: Forward) -> Prepared:
    """An unchanged callable, on float32 inputs."""
    return Prepared(forward, torch.float32, False, "float32")


def prepare(forward: Forward, images: Tensor, precision: str = "auto") -> Prepared:
    """The fastest way to run a model with the same scores; remembered for as long as the model lives unchanged.

    Args:
        forward: An ``nn.Module`` of one input is prepared; any other callable is taken as given.
        images: (n, C, H, W) float32, on the device: pictures of the kind that it will see, under different masks.
        precision: ``auto``, or a forced precision.

    Raises:
        SettingError: No such precision.
        ModelError: The model is in training mode.
    """
    if precision not in PRECISIONS:
        raise SettingError(
            "precision must be one of {precisions}, got '{precision}'.",
            precisions=", ".join(PRECISIONS),
            precision=precision,
        )
    if not isinstance(forward, nn.Module):
        return as_given(forward)
    check_evaluation_mode(forward)
    if not getattr(forward, "differentiable", True) or images.device.type not in ("cpu", "cuda"):
        return as_given(forward)
    if torch.equal(images[1:], images[:-1]):  # a picture that is its own baseline: nothing to compare copies on
        return _original(forward, precision)
    key = (precision, images.device, tuple(images.shape[1:]), torch.get_num_threads(), _state(forward))
    copies = _prepared.setdefault(forward, {})
    prepared = copies.get(key)
    if prepared is None and key not in copies:
        copies.clear()  # the model has changed, or is used in another way: one copy is enough
        prepared = copies[key] = _best_copy(forward, images, precision)
    return prepared or _original(forward, precision)  # not copies[key]: another thread may have cleared it


# Values must not refer to their model, or it would never be freed: None means that there is no copy.
_prepared: weakref.WeakKeyDictionary[nn.Module, dict[Any, Prepared | None]] = weakref.WeakKeyDictionary()


def check_evaluation_mode(model: nn.Module) -> None:
    """Raise a ModelError if dropout or batch statistics would change the scores from call to call."""
    for name, module in model.named_modules():
        random = isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0
        if module.training and (random or isinstance(module, nn.modules.batchnorm._BatchNorm)):
            raise ModelError(
                "The model is in training mode ({kind} '{module}' changes its output from call to "
                "call); call model.eval() first.",
                kind=type(module).__name__,
                module=name,
            )


def _state(model: nn.Module) -> tuple[Any, ...]:
    """A key that changes with the weights: addresses, versions and norms (for changes of ``.data``)."""
    tensors = [*model.parameters(), *model.buffers()]
    with torch.no_grad():
        floating = [tensor.detach() for tensor in tensors if tensor.is_floating_point()]
        norms = torch.stack([tensor.norm().float() for tensor in floating]).tolist() if floating else []
    versions = [(tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in tensors]
    return (*versions, *norms)


def _best_copy(model: nn.Module, images: Tensor, precision: str) -> Prepared | None:
    """The fastest copy that gives the same scores; None without one."""
    try:
        with torch.inference_mode():
            expected = float_scores(model(images))
    except torch.OutOfMemoryError:
        raise
    except Exception:  # running the original will raise it with its message
        return None
    for name in _candidates(images.device, precision):
        try:
            candidate, scores = _try_copy(model, images, name)
            if same_scores(expected, scores, name):
                return candidate
            # A forced precision may round more than auto allows, but must be the same computation.
            acceptable = precision == name != "float32" and bool(torch.isfinite(scores).all())
            if acceptable and same_scores(expected, _try_copy(model, images, "float32")[1], "float32"):
                return candidate
        except Exception as error:  # not every model can be traced, and the exception depends on the model
            _log.info("no %s copy of %s: %s", name, type(model).__name__, error)
    return None


def _try_copy(model: nn.Module, images: Tensor, precision: str) -> tuple[Prepared, Tensor]:
    """Make a copy and compute its scores."""
    prepared = _converted(model, images, precision)
    with torch.inference_mode():
        return prepared, float_scores(prepared.forward(_cast(images, prepared)))


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


def _cast(images: Tensor, prepared: Prepared) -> Tensor:
    memory_format = torch.channels_last if prepared.channels_last else torch.contiguous_format
    return images.to(prepared.dtype).contiguous(memory_format=memory_format)


def _converted(model: nn.Module, images: Tensor, precision: str) -> Prepared:
    dtype = getattr(torch, precision)
    traced = _traced(model)
    converted = traced.to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if images.device.type == "cpu":
        with torch.inference_mode():
            converted = fuse_for_onednn(converted)
        return Prepared(_as_float(converted), dtype, True, precision)
    small = sum(parameter.numel() for parameter in model.parameters()) < _SMALL_MODEL
    forward = GraphedModel(converted) if small else converted
    return Prepared(_as_float(forward), dtype, True, precision)


def _as_float(forward: Forward) -> Forward:
    return lambda images: forward(images).float()


def _traced(model: nn.Module) -> nn.Module:
    """A copy with batch norms folded into the convolutions before them; a plain copy where it cannot be traced."""
    try:
        from torch.fx.experimental.optimization import fuse  # experimental: later versions of torch may lack it

        return fuse(copy.deepcopy(model), inplace=True)  # it traces the copy
    except Exception as error:  # control flow that depends on values, among other reasons
        _log.info("%s is not traced: %s", type(model).__name__, error)
        return copy.deepcopy(model)
