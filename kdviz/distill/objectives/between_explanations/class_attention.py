"""Where a network's last maps speak for each of the classes (Guo et al., 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import ModelError, SettingError
from kdviz.distill.objectives.explained import Explained
from kdviz.distill.objectives.registry import MAPS, register_explanation_loss
from kdviz.distill.objectives.shapes import comparable


def explain(explained: Explained, *, side: float = 2.0) -> Tensor:
    """Class activation maps of all classes, (n, classes, side, side) (Zhou et al., 2016): sum_k w_ck A_k.

    Raises:
        ModelError: The head does not weigh the channels of the maps, as it does after an average over positions.
    """
    maps, head = explained.maps, explained.head
    assert maps is not None
    if head is None or head.shape[1] != maps.shape[1]:
        raise ModelError(
            "class_attention needs a network whose head weighs the {channels} channels of its last maps; use grad_cam.",
            channels=maps.shape[1],
        )
    height, width = (min(int(side), length) for length in maps.shape[2:])
    pooled = F.adaptive_avg_pool2d(maps, (height, width))
    return torch.einsum("nkhw,ck->nchw", pooled, head if explained.learns else head.detach())


def check(*, side: float) -> None:
    """Raise where the side of the maps is no whole number from 1."""
    if side < 1 or side != int(side):
        raise SettingError("side must be a whole number from 1, got {side:g}.", side=side)


@register_explanation_loss("class_attention", explain, takes=(MAPS,), check=check, methods=("layer_gradcam",))
def class_attention_loss(student_explanation: Tensor, teacher_explanation: Tensor) -> Tensor:
    """||C_s / ||C_s|| - C_t / ||C_t||||^2 of the class activation maps, mean over samples and classes.

    Class attention transfer, CAT-KD (Guo et al., 2023, section 3): the maps of all classes, averaged down to ``side`` x
    ``side`` (the authors have 2) and of length 1. From 0 to 4, lower is better. The authors' code has the mean over
    positions, too, so that their weight is a weight of theirs over side^2 here.

    Args:
        student_explanation, teacher_explanation: (n, classes, h, w).
    """
    student, teacher = comparable(student_explanation, teacher_explanation)
    student, teacher = (F.normalize(maps.flatten(2), dim=2) for maps in (student, teacher))
    return (student - teacher).square().sum(2).mean()
