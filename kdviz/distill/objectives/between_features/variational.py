"""What a layer tells of the teacher's (Ahn et al., 2019)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.distill.objectives.features import FeatureSamples
from kdviz.distill.objectives.registry import MAPS, VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_widths, comparable

_LEAST_VARIANCE, _FIRST_VARIANCE = 1e-5, 5.0  # as in the authors' code


class _Gaussian(nn.Module):
    """The distribution of the teacher's features, given the student's: a network for the mean, a variance a channel."""

    def __init__(self, mean: nn.Module, teacher_width: int):
        super().__init__()
        self.mean = mean
        first = math.log(math.expm1(_FIRST_VARIANCE - _LEAST_VARIANCE))  # the inverse of softplus
        self.raw_variance = nn.Parameter(torch.full((teacher_width,), first))

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        student, teacher = comparable(student_features, teacher_features)
        return self.mean(student), teacher, F.softplus(self.raw_variance) + _LEAST_VARIANCE


def _build_gaussian(samples: FeatureSamples) -> nn.Module:
    """The mean by three 1 x 1 convolutions with ReLU between for maps, by a linear layer for vectors."""
    student, teacher = samples.student.shape[1], samples.teacher.shape[1]
    if samples.teacher.ndim == 2:
        return _Gaussian(nn.Linear(student, teacher), teacher)
    widths = ((student, teacher), (teacher, teacher), (teacher, teacher))
    first, second, third = (nn.Conv2d(*each, kernel_size=1) for each in widths)
    return _Gaussian(nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), third), teacher)


@register_feature_loss("variational", takes=(MAPS, VECTORS), auxiliary=_build_gaussian)
def variational_loss(mean: Tensor, teacher_features: Tensor, variance: Tensor) -> Tensor:
    """Mean of (log variance_c + (teacher - mean)^2 / variance_c) / 2 over samples, channels c and positions, in nats.

    Variational information distillation (VID; Ahn et al., 2019, eq. 5 and 6): minus the logarithm of a Gaussian density
    of the teacher's features, without its constant log(2 pi) / 2. The entropy of the teacher's features less the whole
    of it bounds the information that the student's have of them from below. The mean is a network of the student's
    features, three 1 x 1 convolutions for maps and a linear layer for vectors; the variance of a channel is softplus of
    a number, plus 1e-5. Both are trained along with the student and thrown away. Lower is better; at least -5.76, which
    is log(1e-5) / 2, and it may be below 0. The paper sums over channels and positions; the authors' code takes the
    mean.

    Args:
        mean, teacher_features: (N, C, H, W), or (N, C) for vectors.
        variance: (C,), above 0.

    Raises:
        ModelError: The widths differ, or one has maps and the other vectors.
    """
    mean, teacher = comparable(mean, teacher_features.detach())
    check_widths("variational", mean, teacher)
    variance = variance.view(1, -1, *[1] * (teacher.ndim - 2))
    return (variance.log() + (teacher - mean).square() / variance).mean() / 2
