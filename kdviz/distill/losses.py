"""Losses as pure functions of logits."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from kdviz.errors import SettingError
from kdviz.registry import Registry

losses: Registry[Callable[..., Tensor]] = Registry("loss")


@losses.register("cross_entropy")
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits)[label], mean over the batch. Lower is better; >= 0.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
    """
    return F.cross_entropy(logits, labels)


@losses.register("soft_targets")
def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch. Lower is better; >= 0.

    The factor T^2 keeps the gradient's size when T changes (Hinton et al., 2015, section 2.1). The sum runs
    over the classes and the mean over samples (``batchmean``): a mean over both would weaken it by the
    number of classes. The teacher's logits get no gradient.

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0.
    """
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.detach() / temperature, dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


@losses.register("distillation")
def distillation_loss(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, *, temperature: float = 4.0, alpha: float = 0.5
) -> Tensor:
    """(1 - alpha) * CE(labels) + alpha * T^2 * KL(teacher_T || student_T) (Hinton et al., 2015).

    Args:
        student_logits, teacher_logits: (N, classes).
        labels: int64 (N,).
        temperature: T > 0; softens both distributions.
        alpha: In [0, 1]; 0 is training without a teacher, 1 without labels.
    """
    soft = soft_target_loss(student_logits, teacher_logits, temperature)
    return (1 - alpha) * F.cross_entropy(student_logits, labels) + alpha * soft


def check_distillation(temperature: float, alpha: float) -> None:
    """Raise :class:`SettingError` when T or alpha is outside its range."""
    if not 0 < temperature < float("inf"):
        raise SettingError(f"The temperature must be above 0 and finite, got {temperature:g}.")
    if not 0 <= alpha <= 1:
        raise SettingError(f"alpha must be between 0 (labels only) and 1 (teacher only), got {alpha:g}.")
