"""Soft targets (Hinton et al., 2015)."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.objectives.registry import register_teacher_loss
from kdviz.distill.objectives.soft_targets import divergence


@register_teacher_loss("soft_targets")
def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch. Lower is better; >= 0.

    The factor T^2 keeps the gradient's size when T changes (Hinton et al., 2015, section 2.1). The sum runs
    over the classes and the mean over samples (``batchmean``): a mean over both would weaken it by the
    number of classes. The teacher's logits get no gradient. Without limit of T it is the mean over samples of
    sum_k (z_k - v_k)^2 / (2 classes), with logits z and v of which each row's mean was subtracted (eq. 4); float32 is
    right to some 1e-6 of the value at any T (see :mod:`kdviz.distill.objectives.soft_targets`).

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0.
    """
    return divergence(student_logits, teacher_logits.detach(), temperature)[0].mean()
