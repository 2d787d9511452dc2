"""Losses as pure functions of logits, and the sum that a student's training minimises.

A student minimises (1 - alpha) * CE(labels) + alpha * (a loss against its teacher). That sum is written once, in
:func:`distillation_loss`; the losses against a teacher are the files of
:mod:`kdviz.distill.objectives.against_teacher` and know nothing of alpha. Each is a mean over the batch that keeps its
gradient's size when T changes, and lower is better. A teacher's logits get no gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.moved import renamed_arguments
from kdviz.distill.objectives.against_teacher.soft_targets import soft_target_loss
from kdviz.distill.objectives.registry import TeacherLoss, explanation_losses, feature_losses, losses, teacher_losses
from kdviz.distill.objectives.soft_targets import mean_logits

__all__ = [
    "TeacherLoss",
    "balanced_weights",
    "check_distillation",
    "check_known_options",
    "check_options",
    "cross_entropy",
    "distillation_loss",
    "label_smoothing_loss",
    "losses",
    "pooled_logits",
    "several_teachers_loss",
    "soft_target_loss",
    "teacher_losses",
]

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 1e-3, 1e4
"""Beyond them float32 has no digits left: at 10,000 the probabilities of two networks differ in the last four of seven,
and the factor T^2 enlarges what rounding leaves."""

# They are among all losses, too.
teacher_losses.import_built_in()
feature_losses.import_built_in()
explanation_losses.import_built_in()

# against the labels ---------------------------------------------------------------------------------------------------


@losses.register("cross_entropy")
def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """-log softmax(logits)[label], mean over the batch. Lower is better; >= 0.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
        class_weights: (classes,); the mean is then weighted by the weights of the labels.
    """
    return F.cross_entropy(logits, labels, class_weights)


@losses.register("label_smoothing")
def label_smoothing_loss(
    logits: Tensor, labels: Tensor, smoothing: float = 0.1, class_weights: Tensor | None = None
) -> Tensor:
    """-sum_k q_k log softmax(logits)_k with q = (1 - e) one_hot(label) + e / classes, mean over the batch.

    Szegedy et al. (2016), section 7. Lower is better; at least the entropy of q, and cross entropy at e = 0.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
        smoothing: e in [0, 1).
        class_weights: (classes,); w_k multiplies class k's part, and the sum is divided by that of the labels' weights.
    """
    return F.cross_entropy(logits, labels, class_weights, label_smoothing=smoothing)


def balanced_weights(labels: Tensor, classes: Sequence[str]) -> Tensor:
    """N / (classes * count_k), float32 (classes,): equal total weight of all classes (King & Zeng, 2001, section 4).

    Args:
        labels: int64 (N,).
        classes: Names of the classes.

    Raises:
        SettingError: A class has no sample.
    """
    counts = torch.bincount(labels, minlength=len(classes))
    if not counts.all():
        missing = classes[int(counts.argmin())]
        raise SettingError(
            "class_weights 'balanced' need samples of every class, but '{missing}' has none.", missing=missing
        )
    return len(labels) / (len(classes) * counts.float())


# several teachers -----------------------------------------------------------------------------------------------------


def pooled_logits(teacher_logits: Tensor, temperature: float, weights: Sequence[float] = ()) -> Tensor:
    """Logits whose softened probabilities are the teachers' weighted mean: T * log(classes * sum_k w_k q_k).

    q_k = softmax(teacher_k / T). So any loss against one teacher works with several. You et al. (2017), section 3, with
    equal weights. The factor of the number of classes is a constant that softmax ignores: without it float32 would have
    no digits left for the differences at a high T.

    Args:
        teacher_logits: (teachers, N, classes).
        temperature: T > 0.
        weights: One per teacher, > 0; normalised to sum to 1. Empty: equal weights.

    Returns:
        (N, classes).
    """
    mixture = torch.tensor(
        weights or [1.0] * len(teacher_logits), dtype=teacher_logits.dtype, device=teacher_logits.device
    )
    log_weights = (mixture / mixture.sum()).log()[:, None, None]
    return mean_logits(teacher_logits, temperature, log_weights)


@losses.register("several_teachers")
def several_teachers_loss(
    student_logits: Tensor, teacher_logits: Tensor, temperature: float, weights: Sequence[float] = ()
) -> Tensor:
    """T^2 * KL(weighted mean of softmax(teacher_k / T) || softmax(student / T)). Lower is better; >= 0.

    Soft targets of several teachers (You et al., 2017, section 3). A training with several teachers pools them
    in this way for every loss.

    Args:
        student_logits: (N, classes).
        teacher_logits: (teachers, N, classes).
        temperature: T > 0.
        weights: As in :func:`pooled_logits`.
    """
    return soft_target_loss(student_logits, pooled_logits(teacher_logits, temperature, weights), temperature)


# both -----------------------------------------------------------------------------------------------------------------


@losses.register("distillation")
@renamed_arguments(teacher_mix="teacher_mixture")
def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    *,
    temperature: float = 4.0,
    alpha: float = 0.5,
    loss: str = "soft_targets",
    options: Mapping[str, float] | None = None,
    label_smoothing: float = 0.0,
    class_weights: Tensor | None = None,
    teacher_mixture: Sequence[float] = (),
) -> Tensor:
    """(1 - alpha) * CE(labels) + alpha * (a loss against the teacher); with soft targets, Hinton et al. (2015).

    Args:
        student_logits: (N, classes).
        teacher_logits: (N, classes), or (teachers, N, classes) for several.
        labels: int64 (N,).
        temperature: T > 0; softens both distributions.
        alpha: In [0, 1]; 0 is training without a teacher, 1 without labels.
        loss: A name in ``teacher_losses``.
        options: Keyword arguments of that loss.
        label_smoothing, class_weights: Settings of the cross entropy; see :func:`label_smoothing_loss`.
        teacher_mixture: Weights of several teachers; see :func:`pooled_logits`.
    """
    pooled = pooled_logits(teacher_logits, temperature, teacher_mixture) if teacher_logits.ndim == 3 else teacher_logits
    soft = teacher_losses[loss](student_logits, pooled, labels, temperature, options or {})
    return (1 - alpha) * label_smoothing_loss(student_logits, labels, label_smoothing, class_weights) + alpha * soft


def check_distillation(temperature: float, alpha: float) -> None:
    """Raise :class:`SettingError` when T or alpha is outside its range."""
    if not LOWEST_TEMPERATURE <= temperature <= HIGHEST_TEMPERATURE:
        raise SettingError(
            "The temperature must be between {lowest:g} and {highest:g}, got {temperature:g}.",
            lowest=LOWEST_TEMPERATURE,
            highest=HIGHEST_TEMPERATURE,
            temperature=temperature,
        )
    if not 0 <= alpha <= 1:
        raise SettingError("alpha must be between 0 (labels only) and 1 (teacher only), got {alpha:g}.", alpha=alpha)


def check_options(loss: str, options: Mapping[str, float]) -> None:
    """Raise when there is no such loss against a teacher, it has no such option, or a value is outside its range."""
    check_known_options(loss, options, teacher_losses[loss].options)


def check_known_options(loss: str, options: Mapping[str, float], defaults: Mapping[str, float]) -> None:
    """Raise :class:`SettingError` when an option is not among ``defaults``, or a value is outside its range."""
    for name, value in options.items():
        if name not in defaults:
            has = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise SettingError("The loss '{loss}' has no option '{name}'; {has}.", loss=loss, name=name, has=has)
        if not 0 <= value < math.inf:
            raise SettingError(
                "The option {name} of the loss '{loss}' must be at least 0 and finite, got {value:g}.",
                name=name,
                loss=loss,
                value=value,
            )
