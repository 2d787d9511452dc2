"""Quality of predictions, and similarity of the predictions of two models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import binomtest
from torch import Tensor

_VALUES = 2**22  # logits that are worked on at a time, beside a class's column of all samples
_COLUMNS = 2**24  # probabilities of some classes of all samples


class Rows(Protocol):
    """Logits (N, classes) of which rows can be read: a tensor, or a file that is larger than memory."""

    @property
    def shape(self) -> torch.Size: ...
    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> Tensor: ...


def _blocks(logits: Rows) -> Iterator[tuple[slice, Tensor]]:
    """Blocks of rows, with their numbers."""
    size = max(1, _VALUES // max(1, logits.shape[1]))
    for start in range(0, len(logits), size):
        part = slice(start, min(start + size, len(logits)))
        yield part, logits[part]


def predicted_classes(logits: Rows) -> Tensor:
    """The class with the largest logit of each row, int64 (N,)."""
    return torch.cat([torch.empty(0, dtype=torch.int64), *(block.argmax(1) for _, block in _blocks(logits))])


def classification_metrics(logits: Rows, labels: Tensor) -> dict[str, float]:
    """``accuracy``, ``f1``, ``auc`` (higher is better), ``loss`` (mean cross-entropy) and ``ece`` (lower).

    ``f1`` is the mean of the classes' F1 scores, and ``auc`` that of the areas under their ROC curves, each class
    against the rest; neither is dominated by a class with most of the samples. ``auc`` is NaN unless every class has
    samples.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
    """
    predicted = predicted_classes(logits)
    loss = sum(float(F.cross_entropy(block, labels[part], reduction="sum")) for part, block in _blocks(logits))
    return {
        "accuracy": float((predicted == labels).float().mean()),
        "loss": loss / len(logits) if len(logits) else float("nan"),
        "ece": expected_calibration_error(logits, labels),
        "f1": _macro_f1(predicted, labels, logits.shape[1]),
        "auc": _macro_auc(logits, labels),
    }


def _macro_f1(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Mean F1 score of the classes that occur among labels or predictions."""
    hits = torch.bincount(labels[predicted == labels], minlength=classes)
    total = torch.bincount(labels, minlength=classes) + torch.bincount(predicted, minlength=classes)
    return float((2 * hits[total > 0] / total[total > 0]).mean())


def _macro_auc(logits: Rows, labels: Tensor) -> float:
    """Mean area under the ROC curve of each class against the rest; NaN unless every class has samples and others."""
    classes, count = logits.shape[1], len(logits)
    label_counts = torch.bincount(labels, minlength=classes)
    if not bool((label_counts > 0).all()) or classes < 2:
        return float("nan")
    known, areas = labels.numpy(), []
    size = max(1, _COLUMNS // count)
    for start in range(0, classes, size):
        columns = np.empty((min(size, classes - start), count), np.float32)
        for part, block in _blocks(logits):
            columns[:, part] = block.softmax(1)[:, start : start + size].T.numpy()
        areas += [_area(column, known == start + offset) for offset, column in enumerate(columns)]
    return float(np.mean(areas))


def _area(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Area under the ROC curve: how often a positive's score is above a negative's, ties counted as half."""
    positives, negatives = scores[is_positive], np.sort(scores[~is_positive])
    below = np.searchsorted(negatives, positives, "left").sum() + np.searchsorted(negatives, positives, "right").sum()
    return float(below) / (2 * len(positives) * len(negatives))


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


def divergence_from_teacher(teacher_logits: Rows, logits: Rows) -> float:
    """Mean KL(teacher || student) of the probabilities, in nats. >= 0, and 0 when both are equal (lower is closer).

    Args:
        teacher_logits, logits: (N, classes).
    """
    total = 0.0
    for part, block in _blocks(logits):
        student, teacher = F.log_softmax(block.double(), 1), F.log_softmax(teacher_logits[part].double(), 1)
        total += float(F.kl_div(student, teacher, reduction="sum", log_target=True))
    return total / len(logits) if len(logits) else float("nan")


def expected_calibration_error(logits: Rows, labels: Tensor, bins: int = 15) -> float:
    """Mean gap between confidence and accuracy over equal-width bins of confidence (Guo et al., 2017, eq. 3).

    In [0, 1]; 0 is perfectly calibrated. Defined as sum over bins of |B| / N * |accuracy(B) - confidence(B)|. As in
    torchmetrics, a bin includes its lower end, and confidences of exactly 1 have one to themselves.
    """
    if not len(logits):
        return float("nan")
    maxima = [block.softmax(1).max(1) for _, block in _blocks(logits)]
    confidence, predicted = torch.cat([part.values for part in maxima]), torch.cat([part.indices for part in maxima])
    bin_of = torch.bucketize(confidence, torch.linspace(0, 1, bins + 1), right=True)
    gaps = torch.bincount(bin_of, (predicted == labels).double() - confidence.double(), minlength=bins + 2)
    return float(gaps.abs().sum()) / len(logits)


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
