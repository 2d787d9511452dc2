"""Losses as pure functions of logits, and what a student's training minimises.

A student minimises (1 - alpha) * CE(labels) + alpha * (a loss against its teacher). That sum is written once, in
:func:`distillation_loss`; the losses against a teacher are in ``teacher_losses`` and know nothing of alpha.
Each is a mean over the batch that keeps its gradient's size when T changes, and lower is better. A teacher's logits
get no gradient.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kdviz.core.errors import SettingError
from kdviz.core.registry import Registry
from kdviz.distill.objectives.soft_targets import deviations, divergence, label_divergence, mean_logits

losses: Registry[Callable[..., Tensor]] = Registry("loss")


@dataclass(frozen=True)
class TeacherLoss:
    """A loss between a student's and a teacher's logits, (N, classes) each, as a training uses it.

    Attributes:
        function: The pure function: student_logits, teacher_logits, then what it needs, then its options.
        needs: Which of ``labels`` and ``temperature`` it takes.
        options: Its further settings and their defaults.
    """

    function: Callable[..., Tensor]
    needs: tuple[str, ...]
    options: Mapping[str, float]

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor,
        labels: Tensor,
        temperature: float,
        options: Mapping[str, float],
    ) -> Tensor:
        given = {"labels": labels, "temperature": temperature}
        needed = {name: given[name] for name in self.needs}
        return self.function(student_logits, teacher_logits, **needed, **options)


teacher_losses: Registry[TeacherLoss] = Registry("distillation loss")


def _against_teacher(name: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss that a student can be distilled with; its keyword-only parameters are its options."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        parameters = list(inspect.signature(function).parameters.values())[2:]
        options = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
        needs = tuple(one.name for one in parameters if one.name not in options)
        teacher_losses.add(name, TeacherLoss(function, needs, options))
        return losses.add(name, function)

    return register


# against the labels ---------------------------------------------------------------------------------------------------


@losses.register("cross_entropy")
def cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """-log softmax(logits)[label], mean over the batch. Lower is better; >= 0.

    Args:
        logits: (N, classes).
        labels: int64 (N,).
        class_weights: (classes,); the mean is then weighted by each label's weight.
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
    """N / (classes * count_k), float32 (classes,): every class weighs the same in sum (King & Zeng, 2001, section 4).

    Args:
        labels: int64 (N,).
        classes: Their names.

    Raises:
        SettingError: A class has no sample.
    """
    counts = torch.bincount(labels, minlength=len(classes))
    if not counts.all():
        missing = classes[int(counts.argmin())]
        raise SettingError(f"class_weights 'balanced' need samples of every class, but '{missing}' has none.")
    return len(labels) / (len(classes) * counts.float())


# against a teacher ----------------------------------------------------------------------------------------------------


@_against_teacher("soft_targets")
def soft_target_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(softmax(teacher / T) || softmax(student / T)), mean over the batch. Lower is better; >= 0.

    The factor T^2 keeps the gradient's size when T changes (Hinton et al., 2015, section 2.1). The sum runs
    over the classes and the mean over samples (``batchmean``): a mean over both would weaken it by the
    number of classes. The teacher's logits get no gradient. Without limit of T it is the mean over samples of
    sum_k (z_k - v_k)^2 / (2 classes), with logits z and v of which each row's mean was subtracted (eq. 4); float32 is
    right to some 1e-6 of the value at any T (see :mod:`kdviz.distill.objectives.soft_targets`).

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0.
    """
    return divergence(student_logits, teacher_logits.detach(), temperature)[0].mean()


@_against_teacher("hard_distillation")
def hard_distillation_loss(student_logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """-log softmax(student)[argmax teacher], mean over the batch. Lower is better; >= 0.

    The teacher's answer in place of the label (Touvron et al., 2021, eq. 3, where alpha is 0.5). No temperature.

    Args:
        student_logits, teacher_logits: (N, classes).
    """
    return F.cross_entropy(student_logits, teacher_logits.argmax(1))


@_against_teacher("decoupled")
def decoupled_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Tensor:
    """T^2 * (target_weight * TCKD + other_weight * NCKD), mean over the batch. Lower is better; >= 0.

    Zhao et al. (2022), eq. 7, whose alpha and beta are the two weights. TCKD is the divergence KL(teacher || student)
    between label and not label; NCKD that among the other classes, made to sum to 1. Soft targets are
    TCKD + (1 - p) NCKD with the teacher's probability p of the label (eq. 6), so that a sure teacher says little about
    the other classes; here it says as much as any.

    Args:
        student_logits, teacher_logits: (N, classes).
        labels: int64 (N,).
        temperature: T > 0.
        target_weight, other_weight: >= 0; the paper has 1 and, by teacher and student, 0.5 to 10.
    """
    is_label = F.one_hot(labels, student_logits.shape[1]).bool()
    student, teacher = (_Parted.of(one, is_label, temperature) for one in (student_logits, teacher_logits.detach()))
    others, mean = divergence(student.others, teacher.others, temperature)
    # log sum_k exp(teacher_k / T) less that of the student, over the others, times T: by the definition of KL.
    not_label = mean - others / temperature
    difference = torch.stack([teacher.label - student.label, not_label], 1)
    target = label_divergence(student.log_p, teacher.log_p, difference, temperature)
    return (target_weight * target + other_weight * others).mean()


@dataclass(frozen=True)
class _Parted:
    """Logits of the label, (N,), and of the others, (N, classes - 1); log probabilities of label and not label."""

    label: Tensor
    others: Tensor
    log_p: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, logits: Tensor, is_label: Tensor, temperature: float) -> _Parted:
        log_p = F.log_softmax(logits / temperature, dim=1)
        others = ~is_label
        not_label = log_p[others].view(len(log_p), -1).logsumexp(1)
        return cls(logits[is_label], logits[others].view(len(log_p), -1), (log_p[is_label], not_label))


@_against_teacher("logit_standardisation")
def logit_standardisation_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Soft targets of z-scored logits: each row less its mean, over its standard deviation. Lower is better; >= 0.

    Sun et al. (2024), algorithms 1 and 2; the deviation is over all K classes, divided by K. The student has to match
    the order and the spacing of the teacher's logits and not their size.

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0, their base temperature, 2 in most of their runs.
    """
    return soft_target_loss(_standardised(student_logits), _standardised(teacher_logits), temperature)


def _standardised(logits: Tensor) -> Tensor:
    deviation = logits.std(1, keepdim=True, correction=0)
    return (logits - logits.mean(1, keepdim=True)) / (deviation + 1e-7)  # a constant row becomes zeros


@_against_teacher("dist")
def dist_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float,
    *,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """inter_weight * mean_i d(row i) + intra_weight * mean_j d(column j), where d = 1 - Pearson correlation.

    Huang et al. (2022), section 3: between teacher and student, a row has one sample's softened probabilities of all
    classes, a column one class's in all samples of the batch. Lower is better; from 0 to twice the sum of the weights.
    What does not vary, a column in a batch of one for instance, counts as uncorrelated. There is no T^2 here: a
    correlation does not shrink when T grows. (The authors' code has it, and most often T = 1.)

    Args:
        student_logits, teacher_logits: (N, classes).
        temperature: T > 0; the paper mostly has 1.
        inter_weight, intra_weight: >= 0; their beta and gamma.
    """
    # T (classes p - 1): each row's correlations are those of p, each column's too, and p's digits are kept.
    student, teacher = deviations(student_logits, temperature), deviations(teacher_logits.detach(), temperature)
    inter, intra = _pearson_distance(student, teacher), _pearson_distance(student.T, teacher.T)
    return inter_weight * inter + intra_weight * intra


def _pearson_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - the mean over rows of Pearson's correlation: (rows, values) twice -> ()."""
    first, second = (one - one.mean(1, keepdim=True) for one in (first, second))
    return 1 - F.cosine_similarity(first, second, dim=1).mean()


# several teachers -----------------------------------------------------------------------------------------------------


def pooled_logits(teacher_logits: Tensor, temperature: float, weights: Sequence[float] = ()) -> Tensor:
    """Logits whose softened probabilities are the teachers' weighted mean: T * log(classes * sum_k w_k q_k).

    q_k = softmax(teacher_k / T). So any loss against one teacher takes several. You et al. (2017), section 3, with
    equal weights. The number of classes is only a constant that softmax does not see: without it float32 would have no
    digits left for the differences where T is high.

    Args:
        teacher_logits: (teachers, N, classes).
        temperature: T > 0.
        weights: One a teacher, > 0; made to sum to 1. None given: equal.

    Returns:
        (N, classes).
    """
    given = torch.tensor(
        weights or [1.0] * len(teacher_logits), dtype=teacher_logits.dtype, device=teacher_logits.device
    )
    log_weights = (given / given.sum()).log()[:, None, None]
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
    teacher_mix: Sequence[float] = (),
) -> Tensor:
    """(1 - alpha) * CE(labels) + alpha * (a loss against the teacher); with soft targets, Hinton et al. (2015).

    Args:
        student_logits: (N, classes).
        teacher_logits: (N, classes), or (teachers, N, classes) of several.
        labels: int64 (N,).
        temperature: T > 0; softens both distributions.
        alpha: In [0, 1]; 0 is training without a teacher, 1 without labels.
        loss: A name in ``teacher_losses``.
        options: Of that loss.
        label_smoothing, class_weights: Of the cross entropy; see :func:`label_smoothing_loss`.
        teacher_mix: Of several teachers; see :func:`pooled_logits`.
    """
    one = pooled_logits(teacher_logits, temperature, teacher_mix) if teacher_logits.ndim == 3 else teacher_logits
    soft = teacher_losses[loss](student_logits, one, labels, temperature, options or {})
    return (1 - alpha) * label_smoothing_loss(student_logits, labels, label_smoothing, class_weights) + alpha * soft


def check_distillation(temperature: float, alpha: float) -> None:
    """Raise :class:`SettingError` when T or alpha is outside its range."""
    if not 0 < temperature < float("inf"):
        raise SettingError(f"The temperature must be above 0 and finite, got {temperature:g}.")
    if not 0 <= alpha <= 1:
        raise SettingError(f"alpha must be between 0 (labels only) and 1 (teacher only), got {alpha:g}.")


def check_options(loss: str, options: Mapping[str, float]) -> None:
    """Raise when there is no such loss against a teacher, it has no such option, or a value is outside its range."""
    check_known_options(loss, options, teacher_losses[loss].options)


def check_known_options(loss: str, options: Mapping[str, float], known: Mapping[str, float]) -> None:
    """Raise :class:`SettingError` when an option is not among ``known``, or a value is outside its range."""
    for name, value in options.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise SettingError(f"The loss '{loss}' has no option '{name}'; {has}.")
        if not 0 <= value < math.inf:
            raise SettingError(f"The option {name} of the loss '{loss}' must be at least 0 and finite, got {value:g}.")
