"""Targets, as in Captum: which score of an image is explained."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from kdviz.core.errors import TargetError

Target = int | tuple[int, ...] | Tensor | Sequence[int] | Sequence[tuple[int, ...]] | None


def select_scores(scores: Tensor, target: Target) -> Tensor:
    """The scores of each image's target.

    Args:
        scores: Scores of N images under n masks, (N, n, ...).
        target: One target for all images, or one for each; None for a model with one output per image.

    Returns:
        Scores of the targets, (N, n).

    Raises:
        TargetError: The target does not fit the images or the model's output.
    """
    shape = tuple(scores.shape[2:])
    images = len(scores)
    if target is None:
        if scores[0, 0].numel() != 1:
            raise TargetError("The model returns {shape} scores an image; say which one with target.", shape=shape)
        return scores.flatten(1)
    indices = _target_indices(target, images)
    for index in indices:
        if len(index) != len(shape) or any(not -side <= i < side for i, side in zip(index, shape, strict=True)):
            shown = index[0] if len(index) == 1 else index
            wanted = f"a number from 0 to {shape[0] - 1}" if len(shape) == 1 else f"a place in {shape}"
            raise TargetError(
                "The target {shown} does not exist; this model's output needs {wanted}.", shown=shown, wanted=wanted
            )
    return torch.stack([scores[(image, slice(None), *index)] for image, index in enumerate(indices)])


def _target_indices(target: Any, images: int) -> list[tuple[int, ...]]:
    """The index of each image's target in the model's output."""
    if hasattr(target, "tolist"):  # a tensor, or NumPy's number or array
        target = target.tolist()
    targets = target if isinstance(target, list) else [target]
    if len(targets) == 1:
        targets = targets * images
    if len(targets) != images:
        raise TargetError("{n_targets} targets do not fit {images} images.", n_targets=len(targets), images=images)
    indices = [tuple(target) if isinstance(target, (list, tuple)) else (target,) for target in targets]
    if not all(isinstance(number, Integral) for index in indices for number in index):
        raise TargetError("A target is a whole number, or a tuple of them, got {target}.", target=repr(target))
    return indices
