"""The direction of each class's predictions in a batch (Ham et al., 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.distill.objectives.registry import register_teacher_loss
from kdviz.distill.objectives.shapes import unit_vectors
from kdviz.distill.objectives.soft_targets import LARGEST, relative_differences


@register_teacher_loss("cosine")
def cosine_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * (1 - cosine(p_j, q_j)), mean over classes j, with the softened probabilities of j in all samples.

    Ham et al. (2023), section 3: a class's predictions for the batch are vectors, q_j of the teacher and p_j of the
    student, (N,) each, of which only the direction is compared; how probable the student makes a class as a whole is
    left to the labels. Lower is better; from 0 to T^2. The factor T^2, which the paper does not have, keeps the
    gradient's size when T grows: without limit of T the value is half the variance over the batch of the difference of
    centred logits, mean over classes. In a batch of one all vectors have the same direction. Their further proposal, a
    temperature that falls as student and teacher agree, is not part of it.

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0.
    """
    teacher_logits = teacher_logits.detach()
    p, q = (_directions(logits / temperature) for logits in (student_logits, teacher_logits))
    cosine = (p * q).sum(1)
    ordinary = min(temperature, LARGEST) ** 2 * (1 - cosine)
    # At a high T the cosine is close to 1, and 1 - cosine = sine^2 / (1 + cosine) keeps its digits: T times the sine is
    # the length of what in T (q - p) is at a right angle to p, over the length of q; both in units of p's length.
    relative, near = relative_differences(student_logits, teacher_logits, temperature)
    difference = p * relative.T
    across = difference - p * (p * difference).sum(1, keepdim=True)
    length = p + difference / temperature
    series = across.square().sum(1) / length.square().sum(1) / (1 + cosine)
    return torch.where(near, series, ordinary).mean()


def _directions(logits: Tensor) -> Tensor:
    """(N, classes) -> (classes, N): probabilities of a class in all samples, of length 1."""
    log_p = F.log_softmax(logits, dim=1).T
    return unit_vectors((log_p - log_p.detach().amax(1, keepdim=True)).exp())  # small ones, too
