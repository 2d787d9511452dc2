"""Checks of the images, baselines and scores of RISE."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.rise.estimators import estimators
from kdviz.rise.settings import MINIMUM_MASKS


def unwrap_tuple(value: Any) -> Any:
    """The only element of a tuple; any other value unchanged.

    Raises:
        SettingError: The tuple has not exactly one element.
    """
    if not isinstance(value, tuple):
        return value
    if len(value) != 1:
        raise SettingError("RISE takes one tensor of images, got a tuple of {count}.", count=len(value))
    return value[0]


def check_images(inputs: Tensor) -> None:
    """Refuse anything but a batch of finite float images (N, C, H, W).

    Raises:
        SettingError: ``inputs`` is of another type or shape, or has NaN or infinite values.
    """
    if not isinstance(inputs, Tensor):
        raise SettingError("RISE takes a tensor of images, got {name}.", name=type(inputs).__name__)
    if inputs.ndim != 4 or not len(inputs) or not inputs.is_floating_point():
        raise SettingError(
            "RISE takes float images of shape (N, C, H, W), got {dtype} of shape {shape}.",
            dtype=inputs.dtype,
            shape=tuple(inputs.shape),
        )
    if not torch.isfinite(inputs).all():
        raise SettingError("The image has NaN or infinite values.")


def check_settings(n_masks: int, estimator: str, chunk_size: int | None) -> None:
    """Refuse settings that are invalid for a stream of scores.

    Raises:
        SettingError: ``n_masks`` or ``chunk_size`` is too small.
        UnknownNameError: There is no such estimator.
    """
    if n_masks < MINIMUM_MASKS:
        raise SettingError(
            "RISE needs at least {minimum_masks} masks, got {n_masks}.", minimum_masks=MINIMUM_MASKS, n_masks=n_masks
        )
    if chunk_size is not None and chunk_size < 1:
        raise SettingError("chunk_size must be at least 1, got {chunk_size}.", chunk_size=chunk_size)
    _ = estimators[estimator]


def expand_baseline(inputs: Tensor, baselines: float | Tensor | None) -> Tensor:
    """The baseline of each image, in the shape of ``inputs``; 0 without one.

    Raises:
        SettingError: The baseline does not broadcast to the images.
    """
    value = torch.as_tensor(0.0 if baselines is None else baselines, dtype=inputs.dtype, device=inputs.device)
    try:
        return value.expand_as(inputs)
    except RuntimeError as error:
        raise SettingError(
            "A baseline of shape {baseline} does not fit images of shape {images}.",
            baseline=tuple(value.shape),
            images=tuple(inputs.shape),
        ) from error


def check_finite(scores: Mapping[str, Tensor], start: int, stop: int) -> None:
    """Refuse NaN and infinity in the scores of masks start to stop - 1.

    Args:
        scores: Name of a model -> its scores, (N, n, ...).
        start, stop: Range of the masks to check.

    Raises:
        ModelError: A model returned such scores.
    """
    for name, values in scores.items():
        chunk = values[:, start:stop]
        # NaN or infinity carries over to the sum; very large scores may overflow it, and are then checked one by one.
        if not isfinite(float(chunk.sum())) and not torch.isfinite(chunk).all():
            raise ModelError("The model '{name}' returned NaN or infinite scores; it cannot be explained.", name=name)
