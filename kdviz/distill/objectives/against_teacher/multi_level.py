"""Predictions, samples and classes at several temperatures (Jin et al., 2023)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import register_teacher_loss
from kdviz.distill.objectives.soft_targets import divergence

_TEMPERATURES = (0.5, 0.75, 1.0, 1.25, 1.5)  # of T: the paper's 2, 3, 4, 5 and 6 at T = 4


@register_teacher_loss("multi_level")
def multi_level_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    instance_weight: float = 1.0,
    batch_weight: float = 1.0,
    class_weight: float = 1.0,
) -> Tensor:
    """Sum over five temperatures of soft targets, ||Q Q^T - P P^T||^2 / N^2 and ||Q^T Q - P^T P||^2 / (classes N^2).

    Multi-level logit distillation (MLKD; Jin et al., 2023, section 3). P and Q are the softened probabilities of
    student and teacher, (N, classes), at T / 2, 3 T / 4, T, 5 T / 4 and 3 T / 2: 2 to 6 at T = 4, as in the authors'
    code. Instance level: :func:`soft_target_loss`. Batch level: how alike samples are, in mean over all N^2 pairs.
    Class level: how classes go together, in mean over samples. Lower is better; >= 0. The last two have no factor T^2
    and vanish as T grows.

    The paper divides the squared norms by N and by the number of classes alone, which would make the result depend on
    the size of the batch; its code takes the mean over the entries, too. In these units the code's weights are 1 / N
    and N^2 / classes^2. The code also leaves out what the teacher is less sure of than usual; here nothing is left out.

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0, the middle one of the temperatures.
        instance_weight, batch_weight, class_weight: Of the three levels, >= 0.
    """
    total = student_logits.new_zeros(())
    for share in _TEMPERATURES:
        instance, batch, classes = _levels(student_logits, teacher_logits.detach(), share * temperature)
        total = total + instance_weight * instance + batch_weight * batch + class_weight * classes
    return total


def _levels(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """The terms of the instances, the batch and the classes at one temperature, () each."""
    samples, classes = student.shape
    p, q = F.softmax(student / temperature, dim=1), F.softmax(teacher / temperature, dim=1)
    between_classes = (p.T @ p - q.T @ q).div(samples).square().sum() / classes
    return divergence(student, teacher, temperature)[0].mean(), F.mse_loss(p @ p.T, q @ q.T), between_classes
