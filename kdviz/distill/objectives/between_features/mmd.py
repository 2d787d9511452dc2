"""Sets of vectors, compared by their kernel means (Huang & Wang, 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.distill.objectives.registry import MAPS, VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_widths, comparable


def _check_degree(degree: float, **_others: float) -> None:
    if degree not in (1, 2):
        raise SettingError("The option degree of the loss 'mmd' must be 1 or 2, got {degree:g}.", degree=degree)


@register_feature_loss("mmd", takes=(MAPS, VECTORS), equal_widths=(VECTORS,), check=_check_degree)
def mmd_loss(student_features: Tensor, teacher_features: Tensor, *, degree: float = 2.0, offset: float = 0.0) -> Tensor:
    """Mean k(s, s') + mean k(t, t') - 2 mean k(s, t), with k(x, y) = (x . y + offset)^degree. Lower is better; >= 0.

    The squared maximum mean discrepancy between two sets of vectors of length 1, over all pairs (Huang & Wang, 2017,
    neuron selectivity transfer, whose polynomial kernel has degree 2 and offset 0).
    With maps a set has the channels of one sample, each flattened, and the result is the mean over samples. With
    vectors it has the samples of the batch: which of them is which does not matter then. At most 2 at the defaults,
    up to rounding. Degree 1 compares no more than the means of the sets.

    Args:
        student_features, teacher_features: (N, C, H, W), where C may differ, or (N, D) of equal D.
        degree: 1 or 2.
        offset: >= 0; of no effect at degree 1.

    Raises:
        ModelError: The vectors' widths differ, or one has maps and the other vectors.
        SettingError: Another degree.
    """
    _check_degree(degree)
    student, teacher = (_as_sets(features) for features in comparable(student_features, teacher_features.detach()))
    check_widths("mmd", student.mT, teacher.mT)
    within = _mean_kernel(student, student, degree, offset) + _mean_kernel(teacher, teacher, degree, offset)
    return (within - 2 * _mean_kernel(student, teacher, degree, offset)).mean()


def _as_sets(features: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, H * W), or (N, D) -> (1, N, D): sets, their members, numbers of a member; of length 1."""
    return F.normalize(features.flatten(2) if features.ndim == 4 else features[None], dim=2)


def _mean_kernel(first: Tensor, second: Tensor, degree: float, offset: float) -> Tensor:
    """The mean of (x . y + offset)^degree over all pairs: (sets, members, numbers) twice -> (sets,)."""
    linear = (first.mean(1) * second.mean(1)).sum(1)
    if degree == 1:
        return linear + offset
    return _mean_squared_product(first, second) + 2 * offset * linear + offset**2


def _mean_squared_product(first: Tensor, second: Tensor) -> Tensor:
    """The mean of (x . y)^2 over all pairs, the cheaper way.

    It is also the inner product of the second moments, numbers by numbers, which are smaller than the table of pairs
    where maps are small and channels many: 49 x 49 against 1280 x 1280.
    """
    if first.shape[2] > min(first.shape[1], second.shape[1]):
        return (first @ second.mT).square().mean((1, 2))
    moments = [vectors.mT @ vectors / vectors.shape[1] for vectors in (first, second)]
    return (moments[0] * moments[1]).sum((1, 2))
