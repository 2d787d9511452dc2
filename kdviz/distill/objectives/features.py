"""Outputs of layers as the features that losses compare, and projections between their widths."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdviz.distill.objectives.registry import MAPS


def as_features(output: Tensor, kind: str) -> Tensor:
    """The output of a layer as features: ``maps`` unchanged, ``vectors`` (N, D) averaged over positions.

    Tokens (N, T, D) and the like are flattened.
    """
    if kind == MAPS:
        return output
    return output.mean((2, 3)) if output.ndim == 4 else output.flatten(1)


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
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would change a GPU's generator for good
        projection = nn.Conv2d(*widths, kernel_size=1) if student_features.ndim == 4 else nn.Linear(*widths)
    return projection.to(student_features.device)
