"""Outputs of layers as the features that losses compare, and the modules that are trained between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from kdviz.distill.objectives.registry import MAPS, FeatureLoss


@dataclass(frozen=True, eq=False)  # compared by identity: tensors have no truth value
class FeatureSamples:
    """What an auxiliary module is built from: two samples and their features, and the frozen teacher.

    Attributes:
        student, teacher: Features, (2, C, H, W) or (2, D), for their shapes.
        teacher_network: The teacher, in evaluation mode.
        inputs: The samples as both networks take them, (2, C, H, W).
    """

    student: Tensor
    teacher: Tensor
    teacher_network: nn.Module
    inputs: Tensor


def as_features(output: Tensor, kind: str) -> Tensor:
    """The output of a layer as features: ``maps`` unchanged, ``vectors`` (N, D) averaged over positions.

    Tokens (N, T, D) and the like are flattened.
    """
    if kind == MAPS:
        return output
    return output.mean((2, 3)) if output.ndim == 4 else output.flatten(1)


def build_auxiliary(loss: FeatureLoss, samples: FeatureSamples, seed: int) -> nn.Module | None:
    """The module that is trained along with the student for a loss between layers, untrained, and then thrown away.

    Args:
        loss: The loss: its own module is built, or a projection where it needs one.
        samples: Two samples with their features.
        seed: Seed of its weights, which depend on nothing else.

    Returns:
        The module, float32, in training mode, on the device of the student's features; None where there is none.
    """
    if loss.auxiliary is not None:
        return _seeded(partial(loss.auxiliary, samples), seed).to(samples.student.device)
    if loss.needs_projection(samples.student, samples.teacher):
        return build_projection(samples.student, samples.teacher, seed)
    return None


def build_projection(student_features: Tensor, teacher_features: Tensor, seed: int) -> nn.Module:
    """A linear map from the student's width to the teacher's, untrained: FitNets' regressor.

    Maps get a 1 x 1 convolution, vectors a linear layer. It is trained along with the student and then thrown away.

    Args:
        student_features, teacher_features: (N, C, H, W) or (N, D), for their shapes and the device.
        seed: Seed of its weights, which depend on nothing else.

    Returns:
        The projection, float32, on the device of the student's features.
    """
    widths = student_features.shape[1], teacher_features.shape[1]
    layer = partial(nn.Conv2d, kernel_size=1) if student_features.ndim == 4 else nn.Linear
    return _seeded(lambda: layer(*widths), seed).to(student_features.device)


def _seeded(build: Callable[[], nn.Module], seed: int) -> nn.Module:
    """What ``build`` gives when torch's generator has this seed; the generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would change a GPU's generator for good
        return build()
