"""Decoupled knowledge distillation (Zhao et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import register_teacher_loss
from kdviz.distill.objectives.soft_targets import divergence, label_divergence


@register_teacher_loss("decoupled")
def decoupled_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Tensor:
    """T^2 * (target_weight * TCKD + other_weight * NCKD), mean over the batch. Lower is better; >= 0.

    Zhao et al. (2022), eq. 7, whose alpha and beta are the two weights. TCKD is the divergence KL(teacher || student)
    between label and not label; NCKD that among the other classes, normalised to sum to 1. Soft targets are
    TCKD + (1 - p) NCKD with the teacher's probability p of the label (eq. 6), so that a confident teacher says little
    about the other classes; here its weight does not depend on confidence.

    Args:
        student_logits, teacher_logits: (N, classes).
        labels: int64 (N,).
        temperature: T > 0.
        target_weight, other_weight: >= 0; the paper has 1 and, by teacher and student, 0.5 to 10.
    """
    is_label = F.one_hot(labels, student_logits.shape[1]).bool()
    student, teacher = (
        _SplitLogits.of(logits, is_label, temperature) for logits in (student_logits, teacher_logits.detach())
    )
    non_target, mean_difference = divergence(student.others, teacher.others, temperature)
    # log sum_k exp(teacher_k / T) minus that of the student, over the other classes, times T, by the definition of KL.
    not_label = mean_difference - non_target / temperature
    difference = torch.stack([teacher.label - student.label, not_label], 1)
    target = label_divergence(student.log_p, teacher.log_p, difference, temperature)
    return (target_weight * target + other_weight * non_target).mean()


@dataclass(frozen=True)
class _SplitLogits:
    """Logits of the label, (N,), and of the others, (N, classes - 1); log probabilities of label and not label."""

    label: Tensor
    others: Tensor
    log_p: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, logits: Tensor, is_label: Tensor, temperature: float) -> _SplitLogits:
        log_p = F.log_softmax(logits / temperature, dim=1)
        others = ~is_label
        not_label = log_p[others].view(len(log_p), -1).logsumexp(1)
        return cls(logits[is_label], logits[others].view(len(log_p), -1), (log_p[is_label], not_label))
