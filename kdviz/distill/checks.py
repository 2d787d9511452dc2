"""Checks of a distillation before it is trained: mistakes are refused, doubts are returned as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from kdviz.core.errors import ModelError, SettingError
from kdviz.core.texts.counted import counted
from kdviz.data import LabelledImages
from kdviz.data.doubts import Doubt, answer_doubts, normalisation_doubt, unpredicted, weighed
from kdviz.data.shortcuts.planting import PlantedShortcut, ShownTo
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.losses import label_smoothing_loss, pooled_logits, teacher_losses
from kdviz.experiment import InputSpec
from kdviz.models.networks import are_bounded, are_probabilities

if TYPE_CHECKING:
    from kdviz.distill.sources import LabelBudget, ModelSource

WEAK, STRONG = 0.1, 100.0
"""How much the teacher's gradient may differ from the labels', as a ratio.

Measured with the bundled teacher and untrained students, T from 0.5 to 64: soft targets 0.5 to 4.4, decoupled 3.6 to
15, logit_standardisation 6 to 17, dist 26 to 45; soft targets without the factor T^2: 0.07 at T = 8, 0.0007 at 64.
"""


def check_teacher(teacher: nn.Module, teacher_classes: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse a teacher whose logits would be random, whose weights would be trained, or whose classes are other ones.

    Args:
        teacher: The network.
        teacher_classes: The names of its outputs, in their order.
        classes: The names of the student's outputs.

    Raises:
        ModelError: The teacher cannot be used; the text says what to do.
    """
    if len(teacher_classes) != len(classes):
        raise ModelError(
            "The teacher has {n_teacher_classes} classes and the student {n_classes}.",
            n_teacher_classes=len(teacher_classes),
            n_classes=len(classes),
        )
    for number, (theirs, ours) in enumerate(zip(teacher_classes, classes, strict=True)):
        if theirs != ours:
            raise ModelError(
                "Class {number} is '{theirs}' for the teacher and '{ours}' for the student; both must "
                "have the same classes in the same order.",
                number=number,
                theirs=theirs,
                ours=ours,
            )
    if any(module.training for module in teacher.modules()):
        raise ModelError("The teacher is in training mode, where dropout makes its answers random; call its eval().")
    if any(parameter.requires_grad for parameter in teacher.parameters()):
        raise ModelError("The teacher's weights require gradients; call its requires_grad_(False).")


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse no seeds, and a seed that would count as evidence twice.

    Raises:
        SettingError: They are not allowed; the text says why.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise SettingError("A study needs at least one seed, and each once; got {seeds}.", seeds=list(seeds))


def check_teachers(
    config: TrainingConfig,
    teachers: Sequence[ModelSource],
    logits: Tensor | None,
    label_budget: LabelBudget,
    shortcut: PlantedShortcut | None,
) -> None:
    """Refuse teachers, or logits in their place, that the settings of an experiment do not allow.

    Raises:
        SettingError: They are not allowed; the text says why.
    """
    is_taught = shortcut is not None and shortcut.shown_to != ShownTo.STUDENTS
    if is_taught and (logits is not None or any(teacher.trained for teacher in teachers)):
        raise SettingError("A shortcut is planted into a teacher's training pictures, and this teacher is trained.")
    if shortcut is not None and config.has_own_pictures and shortcut.shown_to != ShownTo.TEACHER:
        raise SettingError(
            "A shortcut is planted into training pictures, which a transfer set takes the place of: leave --plant or "
            "--transfer-set away, or plant it for the teacher alone."
        )
    if config.has_own_pictures and (len(teachers) != 1 or label_budget.pseudo_labels is not None):
        raise SettingError(
            "A transfer set is made with one teacher, a network, and has no pseudo-labels beside its own; leave "
            "--transfer-set away, or the other."
        )
    if logits is None:
        config.check_teachers(len(teachers))
        return
    if teachers:
        raise SettingError("Either a teacher's logits are given, or teachers; not both.")
    if config.needs_teacher_network:
        raise SettingError("A teacher of which only logits are known cannot see changed images or show its features.")
    if label_budget.samples or label_budget.unlabelled:
        raise SettingError("A teacher of which only logits are known cannot label further images.")


def logits_doubts(role: str, logits: Tensor, samples: LabelledImages) -> list[Doubt]:
    """What looks wrong with a teacher's predictions: their classes, or that they are no better than chance.

    Args:
        role: Role of the teacher.
        logits: The teacher's logits of the samples, (N, classes).
        samples: Images with labels.
    """
    if tuple(logits.shape) != (len(samples), len(samples.classes)):
        return []  # such logits are refused where they are used
    labels, predicted = samples.labels.numpy(), logits.argmax(1).numpy()
    doubts = answer_doubts(role, samples.split, labels, predicted, samples.classes)
    return [*doubts, *unpredicted(samples.split, labels, [predicted], samples.classes, role)]


def teacher_doubts(
    role: str, teacher: nn.Module, logits: Tensor, samples: LabelledImages, spec: InputSpec | None
) -> list[Doubt]:
    """The same for a teacher at hand, and whether it would predict far better under another normalisation.

    Args:
        role: Role of the teacher.
        teacher: The network, in evaluation mode.
        logits: Its logits of the samples, (N, classes).
        samples: Images with labels.
        spec: Specification of its input; None for a teacher that was trained on this very input.
    """
    doubts = logits_doubts(role, logits, samples)
    if spec is None or any(doubt.kind == "order" for doubt in doubts):  # permuted classes explain the errors
        return doubts
    return weighed(doubts, input_doubts(role, teacher, samples, spec))


def input_doubts(role: str, model: nn.Module, samples: LabelledImages, spec: InputSpec) -> list[Doubt]:
    """Whether a model predicts far better under another normalisation: see
    :func:`kdviz.data.doubts.normalisation_doubt`.

    Args:
        role: Role of the model.
        model: In evaluation mode, on any device.
        samples: Images with labels.
        spec: Specification of its present input.
    """
    parameter = next(model.parameters(), None)
    device = torch.device("cpu") if parameter is None else parameter.device

    def predict(inputs: Tensor) -> Tensor:
        return model(inputs.to(device))

    present = (spec.mean, spec.std)
    return normalisation_doubt(role, samples.split, predict, samples.images, samples.labels, present)


def check_settings(config: TrainingConfig) -> Iterator[str]:
    """Yield a sentence for each setting that has no effect, or perhaps an unintended one."""
    alpha, temperature = config.schedules["alpha"], config.schedules["temperature"]
    if set(alpha.values) == {0} and not config.feature_loss:
        yield "alpha is 0: the teacher has no influence, and the KD student is the student alone."
    if set(alpha.values) == {1} and config.kd_epochs is None:
        yield "alpha is 1: the labels are not used."
    if config.kd_epochs is not None and config.kd_epochs >= config.epochs:
        epochs = counted(config.epochs, "epoch")
        yield f"kd_epochs is {config.kd_epochs}, and there is no epoch after {epochs}: the teacher is never left away."
    if config.temperature != TrainingConfig.temperature and "temperature" not in teacher_losses[config.loss].needs:
        yield f"The loss '{config.loss}' has no temperature: {config.temperature} is not used."
    for name, steps in (("alpha", alpha), ("temperature", temperature)):
        if steps.starts and steps.starts[-1] > config.epochs:
            yield f"{name} changes in epoch {steps.starts[-1]}, and the training has {counted(config.epochs, 'epoch')}."


def check_balance(
    student_logits: Tensor, teacher_logits: Tensor, labels: Tensor, config: TrainingConfig
) -> Iterator[str]:
    """Yield a sentence if the teacher pulls the student far less or far more than the labels do, before alpha.

    The two gradients are those of one batch with respect to the student's logits. A forgotten factor T^2, a weight that
    is far too high or a teacher with constant logits show here.

    Args:
        student_logits: (N, classes), before training.
        teacher_logits: (N, classes), or (teachers, N, classes).
        labels: int64 (N,).
        config: The recipe; the temperature is that of the first epoch.

    Raises:
        ModelError: The student has another number of classes than the teacher; or the teacher's scores are NaN,
            infinite or probabilities.
    """
    if student_logits.shape[1] != teacher_logits.shape[-1]:
        raise ModelError(
            "The teacher has {teacher_classes} classes and the student {student_classes}.",
            teacher_classes=teacher_logits.shape[-1],
            student_classes=student_logits.shape[1],
        )
    yield from _check_scores(teacher_logits.flatten(0, -2))
    # Each sample has another one's answer, since a student that begins as its teacher's copy has nothing to learn yet.
    student, temperature = student_logits.roll(1, 0).requires_grad_(), config.temperature_in(1)
    if teacher_logits.ndim == 3:
        teacher_logits = pooled_logits(teacher_logits, temperature, config.teacher_mixture)
    soft = teacher_losses[config.loss](student, teacher_logits, labels, temperature, config.loss_options)
    hard = label_smoothing_loss(student, labels, config.label_smoothing)
    soft_norm, hard_norm = (float(torch.autograd.grad(loss, student)[0].norm()) for loss in (soft, hard))
    if not WEAK * hard_norm <= soft_norm <= STRONG * hard_norm:
        yield (
            f"On the first batch the teacher's gradient is {soft_norm:.2g} and the labels' {hard_norm:.2g}, so that "
            "one of them hardly counts; check the temperature, the loss and its options (is the factor T^2 missing?)."
        )


def _check_scores(scores: Tensor) -> Iterator[str]:
    """Yield a sentence if a teacher's scores (N, classes) look like the outputs of a sigmoid.

    Raises:
        ModelError: They are no logits.
    """
    if not torch.isfinite(scores).all():
        raise ModelError("The teacher returned NaN or infinite scores; look at its weights and its input.")
    if are_probabilities(scores):
        raise ModelError("The teacher returns probabilities; leave its softmax away: logits are expected.")
    if are_bounded(scores):
        yield (
            "All scores of the teacher lie between 0 and 1, as after a sigmoid: if so, leave it away, since the "
            "softmax that is taken of them makes all classes nearly equal."
        )
