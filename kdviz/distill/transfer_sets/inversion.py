"""Losses that make a generator draw pictures which a teacher takes for its own training pictures.

All are means over a batch, to be minimised, and take the teacher's answers to generated pictures. Their total is that
of DAFL (Chen et al., 2019, "Data-Free Learning of Student Networks", section 3.2), to which the disagreement of
teacher and student is added, as in adversarial data-free distillation (Micaelli & Storkey, 2019, section 3.1; Fang et
al., 2019, section 3.2).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def one_hot_loss(logits: Tensor) -> Tensor:
    """CE(softmax(logits), argmax(logits)): the teacher is sure of every picture. >= 0.

    Args:
        logits: The teacher's, (N, classes).
    """
    return F.cross_entropy(logits, logits.argmax(1))


def activation_loss(features: Tensor) -> Tensor:
    """-mean |features|: training pictures excite what comes before the head more than others do. <= 0.

    The mean over features in place of the 1-norm, so that a weight does not depend on their number.

    Args:
        features: What the teacher's head takes, (N, features).
    """
    return -features.abs().mean()


def information_entropy_loss(logits: Tensor) -> Tensor:
    """sum_k p_k log p_k of the mean prediction p: all classes come equally often. From -log(classes) to 0.

    Args:
        logits: The teacher's, (N, classes).
    """
    mean = logits.softmax(1).mean(0)
    return (mean * mean.clamp_min(1e-12).log()).sum()


def disagreement(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """|student - teacher|, the mean over pictures and classes: what the generator seeks and the student avoids. >= 0.

    The distance of Fang et al. (2019): unlike the Kullback-Leibler divergence of Micaelli and Storkey (2019) its
    gradient does not vanish where the teacher is sure.

    Args:
        student_logits, teacher_logits: (N, classes).
    """
    return (student_logits - teacher_logits).abs().mean()
