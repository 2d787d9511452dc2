"""Shapes and types of the features that a loss between layers compares: maps, (N, C, H, W), or vectors, (N, D)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import ModelError


def at_least_float32(features: Tensor) -> Tensor:
    """float64 unchanged, any other type as float32, of any shape."""
    return features if features.dtype == torch.float64 else features.float()


def comparable(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors unchanged, maps averaged down to the smaller height and width (adaptive average pooling).

    Args:
        student, teacher: (N, C, H, W) of any C, H and W, or (N, D) of any D.

    Raises:
        ModelError: One has maps and the other vectors, or these are not of the same samples.
    """
    check_samples(student, teacher)
    if student.ndim == 2:
        return student, teacher
    size = min(student.shape[2], teacher.shape[2]), min(student.shape[3], teacher.shape[3])
    return _pooled(student, size), _pooled(teacher, size)


def check_samples(student: Tensor, teacher: Tensor) -> None:
    """Raise :class:`ModelError` unless both are maps (N, C, H, W) or both vectors (N, D), of one N."""
    if student.ndim != teacher.ndim or student.ndim not in (2, 4) or len(student) != len(teacher):
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ModelError(
            "Features must both be maps (N, C, H, W) or both vectors (N, D) of one N, got {shapes}.", shapes=shapes
        )


def _pooled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if maps.shape[2:] == size else F.adaptive_avg_pool2d(maps, size)


def check_widths(loss: str, student: Tensor, teacher: Tensor) -> None:
    """Raise :class:`ModelError` when the second dimensions, the numbers of channels or lengths of vectors, differ.

    Args:
        loss: Name of the loss, for the message.
        student, teacher: Features, (N, width, ...).
    """
    if student.shape[1] != teacher.shape[1]:
        raise ModelError(
            "{loss} compares features of equal width, got the student's {student_width} and the teacher's "
            "{teacher_width}; project the student's with build_projection first.",
            loss=loss,
            student_width=student.shape[1],
            teacher_width=teacher.shape[1],
        )


def unlikeness(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of two explanations, (n, ...) each, mean over samples; one of length 0 counts 1."""
    student, teacher = unit_vectors(student.flatten(1)), unit_vectors(teacher.detach().flatten(1))
    return 1 - (student * teacher).sum(1).mean()


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors of length 1, (..., D); one of zeros stays as it is.

    ``F.normalize`` would give that one a gradient of some 1e12, by its eps.
    """
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1.0)


def other_samples(pairs: Tensor) -> Tensor:
    """A table of all pairs of samples, (N, N), without those of a sample with itself: (N, N - 1)."""
    count = len(pairs)
    return pairs.flatten()[1:].view(count - 1, count + 1)[:, :-1].reshape(count, count - 1)
