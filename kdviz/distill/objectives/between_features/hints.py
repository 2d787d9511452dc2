"""A layer's features themselves (Romero et al., 2015)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import MAPS, VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_widths, comparable


@register_feature_loss("hints", takes=(MAPS, VECTORS), equal_widths=(MAPS, VECTORS))
def hints_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """(student - teacher)^2, mean over all numbers. Lower is better; >= 0.

    FitNets (Romero et al., 2015, eq. 3, which has half the sum of a sample). Their regressor, that makes the student's
    features as wide as the teacher's, is trained along with the student and thrown away afterwards.

    Args:
        student_features, teacher_features: (N, C, H, W), or (N, D), of equal C or D.

    Raises:
        ModelError: The widths differ, or one has maps and the other vectors.
    """
    student, teacher = comparable(student_features, teacher_features.detach())
    check_widths("hints", student, teacher)
    return F.mse_loss(student, teacher)
