"""Which samples a layer answers alike (Tung & Mori, 2019)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import MAPS, VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_samples


@register_feature_loss("similarity_preserving", takes=(MAPS, VECTORS))
def similarity_preserving_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """||G_t - G_s||_F^2 / N^2, where row i of G has the products of sample i with all N samples, scaled to length 1.

    Similarity-preserving distillation (SP; Tung & Mori, 2019, eq. 2 to 4): Q Q^T of the features Q, flattened to
    (N, C * H * W) or (N, D), and G its rows over their Euclidean lengths. Lower is better; from 0 to 4 / N, and to
    2 / N for features that are not negative. Neither the widths nor the sizes of maps need be equal. Turning or scaling
    all features changes nothing; a row of zeros stays zeros; in a batch of one there is nothing to compare.

    It weakens as the batch grows, since a row of N similarities has length 1. The authors' weight is 3000 at N = 128.

    Args:
        student_features, teacher_features: (N, C, H, W), or (N, D); C, H, W and D may differ.

    Raises:
        ModelError: One has maps and the other vectors, or these are not of the same samples.
    """
    check_samples(student_features, teacher_features)
    return F.mse_loss(_similarities(student_features), _similarities(teacher_features.detach()))


def _similarities(features: Tensor) -> Tensor:
    """(N, ...) -> (N, N), rows of length 1."""
    flat = features.flatten(1)
    return F.normalize(flat @ flat.T, dim=1)
