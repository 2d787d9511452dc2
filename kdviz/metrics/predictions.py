"""Quality of predictions, and similarity of the predictions of two models."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor


def classification_metrics(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """``accuracy``, ``f1``, ``auc`` (higher is better), ``loss`` (mean cross-entropy) and ``ece`` (lower).

    ``f1`` is the mean of the classes' F1 scores, and ``auc`` that of the areas under their ROC curves, each class
    against the rest; neither is dominated by a class with most of the samples. ``auc`` is NaN unless every class has
    samples.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
    """
    from torchmetrics.functional.classification import multiclass_auroc, multiclass_f1_score

    classes = logits.shape[1]
    complete = len(labels.unique()) == classes
    return {
        "accuracy": float((logits.argmax(1) == labels).float().mean()),
        "loss": float(F.cross_entropy(logits, labels)),
        "ece": expected_calibration_error(logits, labels),
        "f1": float(multiclass_f1_score(logits, labels, classes, average="macro")),
        "auc": float(multiclass_auroc(logits.softmax(1), labels, classes)) if complete else float("nan"),
    }


def class_accuracy(logits: Tensor, labels: Tensor) -> list[float | None]:
    """Recall of each class, classes in order; None without samples.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
    """
    correct = logits.argmax(1) == labels
    counts = torch.bincount(labels, minlength=logits.shape[1])
    hits = torch.bincount(labels[correct], minlength=logits.shape[1])
    return [hit / count if count else None for hit, count in zip(hits.tolist(), counts.tolist(), strict=True)]


def divergence_from_teacher(teacher_logits: Tensor, logits: Tensor) -> float:
    """Mean KL(teacher || student) of the probabilities, in nats. >= 0, and 0 when both are equal (lower is closer).

    Args:
        teacher_logits, logits: (N, classes).
    """
    student, teacher = F.log_softmax(logits.double(), 1), F.log_softmax(teacher_logits.double(), 1)
    return float(F.kl_div(student, teacher, reduction="batchmean", log_target=True))


def expected_calibration_error(logits: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence (Guo et al., 2017, eq. 3).

    In [0, 1]; 0 is perfectly calibrated. Defined as sum over bins of |B| / N * |accuracy(B) - confidence(B)|.
    """
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(multiclass_calibration_error(logits.softmax(1), labels, logits.shape[1], n_bins=bins, norm="l1"))


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test of two classifiers on the same samples.

    Attributes:
        fixed: Samples that the first gets wrong and the second right.
        broke: Samples that the first gets right and the second wrong.
        p_value: p-value of the hypothesis that both have the same accuracy: two-sided binomial test of fixed
            against broke (Dietterich, 1998). 1 when they never differ.
    """

    fixed: int
    broke: int
    p_value: float


def mcnemar(first_correct: np.ndarray, second_correct: np.ndarray) -> McNemar:
    """Compare two classifiers by which samples, bool (N,), each gets right."""
    fixed = int((~first_correct & second_correct).sum())
    broke = int((first_correct & ~second_correct).sum())
    p_value = float(binomtest(fixed, fixed + broke).pvalue) if fixed + broke else 1.0
    return McNemar(fixed, broke, p_value)


def inherited_errors(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray) -> float:
    """Share of the teacher's errors that the student repeats with the same wrong class; NaN without errors.

    Args:
        teacher, student: Predicted classes, (N,).
        labels: Ground truth, (N,).
    """
    wrong = teacher != labels
    return float((student[wrong] == teacher[wrong]).mean()) if wrong.any() else float("nan")
