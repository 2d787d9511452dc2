"""Where a layer is active (Zagoruyko & Komodakis, 2017)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.distill.objectives.registry import MAPS, register_feature_loss
from kdviz.distill.objectives.shapes import comparable


@register_feature_loss("attention_transfer", takes=(MAPS,))
def attention_transfer_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """||Q_s / ||Q_s|| - Q_t / ||Q_t||||^2, mean over samples, with Q = sum over channels of the squared features.

    Zagoruyko & Komodakis (2017), eq. 2 with p = 2 and their best map, the sum of squares. Q, flattened to (N, H * W),
    says where a layer is active; its size does not matter. It is 2 - 2 cosine(Q_s, Q_t): from 0 to 2, lower is better.

    The paper writes the distance, not squared, with a factor beta / 2; the authors' code has its square, averaged over
    the H * W positions too, with beta = 1000. Ours is the square summed over positions, so that the size of the maps
    does not weaken it: their beta is a weight of 1000 / (H * W) here, 16 at 8 x 8.

    Args:
        student_features, teacher_features: (N, C, H, W); C may differ.

    Raises:
        ModelError: These are no maps, or not of the same samples.
    """
    student, teacher = comparable(student_features, teacher_features.detach())
    if student.ndim != 4:
        raise ModelError("attention_transfer compares maps (N, C, H, W), and vectors have no positions.")
    return (_attention(student) - _attention(teacher)).square().sum(1).mean()


def _attention(maps: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H * W) of length 1; a sample without activity stays 0."""
    return F.normalize(maps.square().sum(1).flatten(1), dim=1)
