"""How samples lie to each other (Park et al., 2019)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.distill.objectives.registry import VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import comparable


@register_feature_loss("relational", takes=(VECTORS,))
def relational_loss(
    student_features: Tensor, teacher_features: Tensor, *, distance_weight: float = 25.0, angle_weight: float = 50.0
) -> Tensor:
    """distance_weight * mean_ij h(d_ij) + angle_weight * mean_ijk h(a_ijk): how samples lie to each other.

    Relational distillation (Park et al., 2019, section 3.2). d_ij is the distance of samples i and j, over the mean
    distance in the batch; a_ijk the cosine of the angle at i between j and k; h Huber's loss (delta 1) of the
    student's from the teacher's. Means run over all N^2 pairs and N^3 triples, as in the authors' code, where a sample
    with itself counts as 0. Lower is better; >= 0. Turning, shifting or scaling all features changes nothing; in a
    batch of one there is nothing to compare, and in one of two no angle. Memory and time grow with N^3.

    Args:
        student_features, teacher_features: (N, D); D may differ.
        distance_weight, angle_weight: >= 0; the authors' code has 25 and 50 for classification, 1 and 2 for embeddings.

    Raises:
        ModelError: These are no vectors, or not of the same samples.
    """
    student, teacher = comparable(student_features, teacher_features.detach())
    if student.ndim != 2:
        raise ModelError("relational compares vectors (N, D); average maps over their positions first.")
    relations = zip(_relations(student), _relations(teacher), strict=True)
    distance, angle = (
        F.smooth_l1_loss(student_relation, teacher_relation) for student_relation, teacher_relation in relations
    )
    return distance_weight * distance + angle_weight * angle


def _relations(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) -> distances over their mean, (N, N), and cosines of the angles at i between j and k, (N, N, N).

    Cosines come from inner products, which need no (N, N, D) of differences. Samples closer than 1e-4 of the mean
    distance have no direction that float32 could tell: their angles count as 0.
    """
    centred = vectors - vectors.mean(0)  # the inner products of far away vectors would lose digits
    distance = torch.cdist(centred, centred, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distance.sum() / max(distance.numel() - len(distance), 1)  # of the pairs of two
    mean = mean.clamp(min=1e-12)  # equal samples have no distance at all
    distance, centred = distance / mean, centred / mean
    products = centred @ centred.T
    squares = products.diagonal()[:, None, None]
    along = products[None] - products[:, :, None] - products[:, None, :] + squares  # (j - i) . (k - i) at [i, j, k]
    apart = distance > 1e-4
    inverse = torch.where(apart, 1 / distance.where(apart, 1), 0)
    return distance, along * inverse[:, :, None] * inverse[:, None, :]
