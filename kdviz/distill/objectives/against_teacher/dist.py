"""Correlations in place of divergences (Huang et al., 2022)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import register_teacher_loss
from kdviz.distill.objectives.soft_targets import deviations


@register_teacher_loss("dist")
def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """inter_weight * mean_i d(row i) + intra_weight * mean_j d(column j), where d = 1 - Pearson correlation.

    Huang et al. (2022), section 3: between teacher and student, a row has one sample's softened probabilities of all
    classes, a column one class's in all samples of the batch. Lower is better; from 0 to twice the sum of the weights.
    What does not vary, a column in a batch of one for instance, counts as uncorrelated. There is no T^2 here: a
    correlation does not shrink when T grows. (The authors' code has it, and most often T = 1.)

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0; the paper mostly has 1.
        inter_weight, intra_weight: >= 0; their beta and gamma.
    """
    # T (classes p - 1) has the correlations of p in rows and columns, and keeps its digits at a high T.
    student, teacher = deviations(student_logits, temperature), deviations(teacher_logits.detach(), temperature)
    inter, intra = _pearson_distance(student, teacher), _pearson_distance(student.T, teacher.T)
    return inter_weight * inter + intra_weight * intra


def _pearson_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - the mean over rows of Pearson's correlation: (rows, values) twice -> ()."""
    first, second = (values - values.mean(1, keepdim=True) for values in (first, second))
    return 1 - F.cosine_similarity(first, second, dim=1).mean()
