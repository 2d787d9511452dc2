"""Every stage of the teacher from the student's stages up to it (Chen et al., 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.core.errors import ModelError
from kdviz.distill.objectives.features import FeatureSamples
from kdviz.distill.objectives.registry import STAGES, register_feature_loss
from kdviz.distill.objectives.shapes import check_widths, comparable

_WIDEST = 512  # channels in which stages are fused, as in the authors' code
_SIDES = (4, 2, 1)  # heights and widths to which maps are averaged


class _Fusion(nn.Module):
    """Attention based fusion: a stage's maps and what comes from the stage behind it, each where its weight is high."""

    def __init__(self, student_width: int, teacher_width: int, fused: int, *, is_last: bool):
        super().__init__()
        self.entry = nn.Sequential(nn.Conv2d(student_width, fused, 1, bias=False), nn.BatchNorm2d(fused))
        self.attention = None if is_last else nn.Sequential(nn.Conv2d(2 * fused, 2, 1), nn.Sigmoid())
        exit_ = nn.Conv2d(fused, teacher_width, 3, padding=1, bias=False)
        self.exit = nn.Sequential(exit_, nn.BatchNorm2d(teacher_width))

    def forward(self, maps: Tensor, behind: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """What is compared, of the teacher's ``size``, and what goes on to the stage before, of the maps' own."""
        fused = self.entry(maps)
        if self.attention is not None and behind is not None:
            behind = F.interpolate(behind, fused.shape[2:], mode="nearest")
            weights = self.attention(torch.cat([fused, behind], dim=1))
            fused = fused * weights[:, :1] + behind * weights[:, 1:]
        compared = F.interpolate(fused, size, mode="nearest") if fused.shape[2:] != size else fused
        return self.exit(compared), fused


class _Review(nn.Module):
    """The student's stages, from the last to the first, each fused with those behind it."""

    def __init__(self, widths: list[tuple[int, int]]):
        super().__init__()
        fused = min(_WIDEST, widths[-1][0])
        last = len(widths) - 1
        self.stages = nn.ModuleList(_Fusion(*pair, fused, is_last=number == last) for number, pair in enumerate(widths))

    def forward(
        self, student_features: tuple[Tensor, ...], teacher_features: tuple[Tensor, ...]
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        compared, behind = [], None
        for fusion, maps, teacher in reversed(list(zip(self.stages, student_features, teacher_features, strict=True))):
            output, behind = fusion(maps, behind, teacher.shape[2:])
            compared.append(output)
        return tuple(reversed(compared)), teacher_features


def _build_review(samples: FeatureSamples) -> nn.Module:
    return _Review([(student.shape[1], teacher.shape[1]) for student, teacher in samples.stages])


@register_feature_loss("review", takes=(STAGES,), auxiliary=_build_review)
def review_loss(student_features: tuple[Tensor, ...], teacher_features: tuple[Tensor, ...]) -> Tensor:
    """Sum over stages of the mean squared difference at several sizes: its own, 4 x 4, 2 x 2 and 1 x 1.

    Knowledge review (ReviewKD; Chen et al., 2021, section 3). Each stage of the student is fused with all stages behind
    it, by weights between 0 and 1 for each position, and is compared with the teacher's stage: these modules, 1 x 1
    and 3 x 3 convolutions with batch norm, are trained along and thrown away. The hierarchical context loss of a stage
    compares the maps and their averages over 4 x 4, 2 x 2 and 1 x 1 regions, as far as these are smaller; the weights
    are 1, 1/2, 1/4 and 1/8 in this order, over their sum. Lower is better; >= 0.

    Stages end with the last maps of each size; both networks' last ones are compared, as many as both have, four at
    most. The paper also compares the averages before the head. Other layers are named with commas between
    (``--teacher-layer layer2,layer3``), as many of both networks.

    Args:
        student_features, teacher_features: As many maps (N, C, H, W) of the student, after the fusion, and the teacher.

    Raises:
        ModelError: Their number or a width differs.
    """
    if len(student_features) != len(teacher_features):
        raise ModelError(
            "review compares as many stages of both networks, got {student} and {teacher}.",
            student=len(student_features),
            teacher=len(teacher_features),
        )
    pairs = zip(student_features, teacher_features, strict=True)
    return torch.stack([_hierarchical_context(student, teacher.detach()) for student, teacher in pairs]).sum()


def _hierarchical_context(student: Tensor, teacher: Tensor) -> Tensor:
    student, teacher = comparable(student, teacher)
    check_widths("review", student, teacher)
    sizes = [None, *(side for side in _SIDES if side < min(teacher.shape[2:]))]
    weights = [0.5**number for number in range(len(sizes))]
    terms = [weight * _distance(student, teacher, side) for weight, side in zip(weights, sizes, strict=True)]
    return torch.stack(terms).sum() / sum(weights)


def _distance(student: Tensor, teacher: Tensor, side: int | None) -> Tensor:
    """Mean squared difference of the maps, averaged to ``side`` x ``side`` unless that is None."""
    if side is None:
        return F.mse_loss(student, teacher)
    return F.mse_loss(F.adaptive_avg_pool2d(student, side), F.adaptive_avg_pool2d(teacher, side))
