"""Soft targets of standardised logits (Sun et al., 2024)."""

from __future__ import annotations

from torch import Tensor

from kdviz.distill.objectives.against_teacher.soft_targets import soft_target_loss
from kdviz.distill.objectives.registry import register_teacher_loss


@register_teacher_loss("logit_standardisation")
def logit_standardisation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Soft targets of z-scored logits: each row less its mean, over its standard deviation. Lower is better; >= 0.

    Sun et al. (2024), algorithms 1 and 2; the deviation is over all K classes, divided by K. The student has to match
    the order and the spacing of the teacher's logits and not their size.

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0, their base temperature, 2 in most of their runs.
    """
    return soft_target_loss(_standardised(student_logits), _standardised(teacher_logits), temperature)


def _standardised(logits: Tensor) -> Tensor:
    deviation = logits.std(1, keepdim=True, correction=0)
    return (logits - logits.mean(1, keepdim=True)) / (deviation + 1e-7)  # a constant row becomes zeros
