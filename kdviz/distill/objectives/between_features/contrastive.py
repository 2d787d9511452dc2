"""Which of the teacher's vectors belongs to which of the student's (Tian et al., 2020)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.distill.objectives.features import FeatureSamples
from kdviz.distill.objectives.registry import VECTORS, register_feature_loss
from kdviz.distill.objectives.shapes import check_samples, check_widths, other_samples, unit_vectors

_EMBEDDED = 128  # numbers of an embedding, as in the paper


class _Embeddings(nn.Module):
    """A linear layer for each network's features, whose outputs have length 1."""

    def __init__(self, student_width: int, teacher_width: int):
        super().__init__()
        self.student, self.teacher = nn.Linear(student_width, _EMBEDDED), nn.Linear(teacher_width, _EMBEDDED)

    def forward(self, student_features: Tensor, teacher_features: Tensor) -> tuple[Tensor, Tensor]:
        return unit_vectors(self.student(student_features)), unit_vectors(self.teacher(teacher_features))


def _build_embeddings(samples: FeatureSamples) -> nn.Module:
    return _Embeddings(samples.student.shape[1], samples.teacher.shape[1])


def _check_temperature(temperature: float) -> None:
    if temperature == 0:
        raise SettingError("The option temperature of the loss 'contrastive' must be above 0.")


@register_feature_loss("contrastive", takes=(VECTORS,), check=_check_temperature, auxiliary=_build_embeddings)
def contrastive_loss(student_embeddings: Tensor, teacher_embeddings: Tensor, *, temperature: float = 0.07) -> Tensor:
    """-mean_i [log h_ii + sum_j log(1 - h_ij)], j != i: whether samples i of the student and j of the teacher are one.

    Contrastive representation distillation (CRD; Tian et al., 2020, section 3.1), with the other N = n - 1 samples of
    the batch as negatives instead of 16,384 from a memory bank. h_ij is the probability that s_i and t_j come from one
    sample, where one pair in N + 1 does. By Bayes' rule it is r / (r + N) with r = p(s, t) / (p(s) p(t)), which the
    paper models by exp(s . t / tau) up to a constant (M in its N / M, the number of training samples, which its code
    corrects by a factor from the first batch). Over pairs of different samples, which are drawn from p(s) p(t), r has
    mean 1, so that the constant need not be guessed: r_ij is exp(s_i . t_j / tau) over the mean of exp(s_k . t_l / tau)
    over all k != l in the batch. The negatives of a student's and those of a teacher's sample, which the authors' code
    draws apart, are the same pairs here. They include samples of the same class, since labels play no part.

    s and t are linear embeddings of both networks' features into 128 numbers, of length 1, trained along with the
    student and thrown away. Lower is better; > 0, in nats. Up to the error of the mean over the batch, log(n - 1) less
    the loss bounds the mutual information of student and teacher from below. Embeddings that tell nothing have
    n log n - (n - 1) log(n - 1), some log(n) + 1; in a batch of one there is nothing to tell apart.

    Args:
        student_embeddings, teacher_embeddings: (n, 128), of length 1.
        temperature: tau > 0; 0.07 in the authors' code. Unlike that of soft targets, a lower one tells finer.

    Raises:
        ModelError: These are no vectors of one width, or not of the same samples.
        SettingError: tau is 0.
    """
    _check_temperature(temperature)
    check_samples(student_embeddings, teacher_embeddings)
    if student_embeddings.ndim != 2:
        raise ModelError("contrastive compares vectors (N, D); average maps over their positions first.")
    check_widths("contrastive", student_embeddings, teacher_embeddings)
    similarities = student_embeddings @ teacher_embeddings.T / temperature
    count = len(similarities)
    if count == 1:
        return 0 * similarities.sum()
    positives, negatives = similarities.diagonal(), other_samples(similarities)
    # h = sigmoid(log r - log N), where N cancels one factor of the mean's n (n - 1) pairs.
    offset = torch.logsumexp(negatives.flatten(), 0) - math.log(count)
    return F.softplus(offset - positives).mean() + F.softplus(negatives - offset).sum(1).mean()
