"""The teacher's prediction in place of the label (Touvron et al., 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import register_teacher_loss


@register_teacher_loss("hard_distillation")
def hard_distillation_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """-log softmax(student)[argmax teacher], mean over the batch. Lower is better; >= 0.

    The teacher's prediction in place of the label (Touvron et al., 2021, eq. 3, where alpha is 0.5). No temperature.

    Args:
        student_logits, teacher_logits: (N, classes).
    """
    return F.cross_entropy(student_logits, teacher_logits.argmax(1))
