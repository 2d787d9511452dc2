"""How likely each sample is the neighbour of another (Passalis & Tefas, 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import ModelError
from kdviz.distill.objectives.registry import VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_samples, other_samples, unit_vectors

_LEAST = 1e-7  # of the kernel: opposite vectors have 0, whose logarithm is not finite


@register_feature_loss("probabilistic_transfer", takes=(VECTORS,))
def probabilistic_transfer_loss(student_features: Tensor, teacher_features: Tensor) -> Tensor:
    """Mean over samples i of sum_j p_ij log(p_ij / q_ij), j != i: of how likely j is a neighbour of i, in nats.

    Probabilistic knowledge transfer (PKT; Passalis & Tefas, 2018, section 3, with the cosine kernel). p_ij =
    K(i, j) / sum_k K(i, k) over k != i of the teacher's vectors, K = (1 + cosine) / 2, and q_ij the student's. Lower is
    better; >= 0. The widths may differ. Turning all vectors, or scaling any one, changes nothing; in a batch of one or
    two there is nothing to compare. K is at least 1e-7.

    The paper sums over samples. The authors' code keeps j = i and divides by N^2: their weight of 30,000 is 30,000 / N
    here, 470 at 64 samples.

    Args:
        student_features, teacher_features: (N, D); D may differ.

    Raises:
        ModelError: These are no vectors, or not of the same samples.
    """
    check_samples(student_features, teacher_features)
    if student_features.ndim != 2:
        raise ModelError("probabilistic_transfer compares vectors (N, D); average maps over their positions first.")
    log_q, log_p = _log_neighbours(student_features), _log_neighbours(teacher_features.detach())
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def _log_neighbours(vectors: Tensor) -> Tensor:
    """(N, D) -> (N, N - 1): log probabilities of the other samples, whose exponentials sum to 1 in each row."""
    unit = unit_vectors(vectors)
    kernel = ((1 + other_samples(unit @ unit.T)) / 2).clamp(min=_LEAST)
    return F.log_softmax(kernel.log(), dim=1)
