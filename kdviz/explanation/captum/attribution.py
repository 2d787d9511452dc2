"""Captum's attribution methods behind one call: one picture, one class, a map with its standard error.

Occlusion and KernelSHAP perturb the picture and explain the class's probability, as RISE does. The gradient
methods explain the class's logit, as their papers do: where a probability is near 0 or 1 its gradient vanishes.
Captum computes; this module chooses layers and samples, leaves the model unchanged, and says why a method does not fit.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from kdviz.core.errors import KdvizError, Sentence, SettingError
from kdviz.explanation.captum.requirements import needs_gradients
from kdviz.explanation.captum.task import AttributionTask
from kdviz.explanation.methods import methods

_WHOLE = "{method} {}"  # a method, and why it does not fit


class Attribution(NamedTuple):
    """The result of a method for one picture.

    Attributes:
        map: float32 (H, W).
        standard_error: float32 (H, W): standard error of the map; zero for a method without randomness.
        halves: float32 (2, H, W), two independent estimates; the map itself, twice, for a method without randomness.
    """

    map: Tensor
    standard_error: Tensor
    halves: Tensor


def attribute(
    name: str, model: nn.Module, inputs: Tensor, baseline: Tensor, target: int, settings: Mapping[str, Any]
) -> Attribution:
    """The map of one class on one picture.

    The model and the random state are left unchanged: methods that need hooks work on a copy.

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
    method = methods[name]
    if method.compute is None:
        raise SettingError("{title} is no method of one picture at a time; use kdviz.explain.", title=method.title)
    reason = incompatibility(name, model)
    if reason is not None:
        raise SettingError(reason)
    with torch.inference_mode(False), torch.enable_grad(), _quiet_captum():
        images = inputs.detach().clone().requires_grad_()
        base = baseline.detach().clone().to(images).expand_as(images)
        task = AttributionTask(method.title, model, images, base, target, settings)
        try:
            if method.explains == "logit":
                _require_gradients(task)
            result = method.compute(task).detach().float()
        except KdvizError:
            raise
        except Exception as error:
            first_line = str(error).strip().partition("\n")[0]
            raise task.refused(
                "failed on {network}: {reason}", network=task.network, reason=first_line or type(error).__name__
            ) from error
    if not torch.isfinite(result).all():
        raise task.refused("gave NaN or infinite values on {network}.", network=task.network)
    return _from_repeats(result) if result.ndim == 3 else _deterministic(result)


def incompatibility(name: str, model: nn.Module) -> Sentence | None:
    """Why a method does not fit a model and what to do, in one sentence; None when it fits.

    Only the model's layers are examined. What shows only in a forward pass, such as an activation that is called as a
    function, is found by :func:`attribute`.

    Args:
        name: A method in ``methods``.
        model: (N, C, H, W) to logits (N, classes).

    Raises:
        UnknownNameError: No such method.
    """
    method = methods[name]
    if method.explains == "logit" and not getattr(model, "differentiable", True):
        return needs_gradients(model).within(_WHOLE, method=method.title)
    reason = method.incompatibility(model) if method.incompatibility else None
    if not reason:
        return None
    part = reason if isinstance(reason, Sentence) else Sentence(reason)  # a plugin may say it as a plain text
    return part.within(_WHOLE, method=method.title)


def _require_gradients(task: AttributionTask) -> None:
    if not task.model(task.inputs).requires_grad:
        raise task.refused(needs_gradients(task.model))


def _deterministic(result: Tensor) -> Attribution:
    return Attribution(result, torch.zeros_like(result), result.expand(2, -1, -1).clone())


def _from_repeats(repeats: Tensor) -> Attribution:
    """Mean, standard error and halves of independent repeats (n, H, W).

    The standard error is scaled by the quantile of Student's t over that of the normal distribution, so that
    map +- 1.96 standard errors is a 95 % interval.
    """
    count = len(repeats)
    t_factor = stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975)
    error = repeats.std(0) * float(t_factor / np.sqrt(count))
    return Attribution(repeats.mean(0), error, torch.stack([repeats[0::2].mean(0), repeats[1::2].mean(0)]))


@contextmanager
def _quiet_captum() -> Iterator[None]:
    """Silence Captum's warning that it sets hooks: it removes them, and they are on a copy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Setting (forward, )?backward hooks", category=UserWarning)
        yield
