"""Features before their activation, of which not all that is negative counts (Heo et al., 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdviz.core.errors import ModelError
from kdviz.distill.objectives.features import FeatureSamples
from kdviz.distill.objectives.registry import MAPS, register_feature_loss
from kdviz.distill.objectives.shapes import check_widths, comparable


class _Regressor(nn.Module):
    """A 1 x 1 convolution with batch norm, and the mean negative response of each of the teacher's channels so far."""

    margins: Tensor
    negatives: Tensor

    def __init__(self, student_width: int, teacher_width: int):
        super().__init__()
        convolution = nn.Conv2d(student_width, teacher_width, kernel_size=1, bias=False)
        self.regressor = nn.Sequential(convolution, nn.BatchNorm2d(teacher_width))
        self.register_buffer("margins", torch.zeros(teacher_width))
        self.register_buffer("negatives", torch.zeros(teacher_width, dtype=torch.long))

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        student, teacher = comparable(student_features, teacher_features)
        self._see(teacher.detach())
        return (
            self.regressor(student),
            teacher,
            self.margins.clone(),
        )  # the loss keeps it, and the next batch changes it

    def _see(self, teacher: Tensor) -> None:
        """Take a batch into the means."""
        negative = teacher < 0
        self.negatives += negative.sum((0, 2, 3))
        deviations = (teacher - self.margins.view(1, -1, 1, 1)) * negative
        self.margins += deviations.sum((0, 2, 3)) / self.negatives.clamp(min=1)


def _build_regressor(samples: FeatureSamples) -> nn.Module:
    return _Regressor(samples.student.shape[1], samples.teacher.shape[1])


@register_feature_loss("overhaul", takes=(MAPS,), auxiliary=_build_regressor)
def overhaul_loss(student_features: Tensor, teacher_features: Tensor, margins: Tensor) -> Tensor:
    """(max(teacher, m_c) - student)^2, or 0 where student <= max(teacher, m_c) <= 0; mean over all numbers.

    The overhaul of feature distillation (OFD; Heo et al., 2019, section 3): a margin ReLU for the teacher and a partial
    distance. m_c is the mean of channel c's negative responses: a student has to be as negative as that, not as the
    teacher, and where it is more negative than a target that is not positive it is right as it is. The student's
    features go through a 1 x 1 convolution with batch norm, which is trained along and thrown away. Lower is better;
    >= 0. The paper gets m_c from the parameters of the teacher's batch norm; here it is the mean over all batches so
    far, which needs none.

    It is meant for features before a ReLU: of a ResNet of torchvision ``layer4.1.relu:input``. Behind one, m_c is 0 and
    all that is left is that the student's negative values count as 0 where the teacher has 0. The paper compares
    several layers and sums over their numbers; here it is one layer.

    Args:
        student_features, teacher_features: (N, C, H, W), the student's after the regressor.
        margins: m_c <= 0, (C,).

    Raises:
        ModelError: The widths differ, or these are no maps.
    """
    student, teacher = comparable(student_features, teacher_features.detach())
    if student.ndim != 4:
        raise ModelError("overhaul compares maps (N, C, H, W), and vectors have no positions.")
    check_widths("overhaul", student, teacher)
    target = torch.maximum(teacher, margins.view(1, -1, 1, 1))
    counts = (student > target) | (target > 0)
    return ((target - student).square() * counts).mean()
