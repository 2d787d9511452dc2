"""The loss of a training step: the labels, the teachers' logits, and their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.core.devices import fast_bf16
from kdviz.core.errors import SettingError
from kdviz.data import LabelledImages
from kdviz.distill.augment import Augment
from kdviz.distill.augment.views import view_of
from kdviz.distill.checks import check_teacher
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.explanations import Explainer, draws_of
from kdviz.distill.objectives.features import compared_layers, features_of
from kdviz.distill.objectives.layers import FeatureHook, maps_layer
from kdviz.distill.objectives.learned_temperature import LearnedTemperature
from kdviz.distill.objectives.losses import balanced_weights, distillation_loss, label_smoothing_loss
from kdviz.distill.objectives.registry import feature_losses

Normalise = Callable[[Tensor], Tensor]
ExplanationsOf = Callable[[Tensor, Tensor, int], Tensor]
"""uint8 images, their targets, epoch -> a teacher's explanations of those that are explained in it."""
_NORMALISED_BYTES = 2**29  # bytes of float32 images up to which they are normalised once and kept


def autocasts(device: torch.device, bf16: str) -> bool:
    """Whether ``bf16`` (``auto``, ``on`` or ``off``) means bfloat16 on this device."""
    return fast_bf16(device) if bf16 == "auto" else bf16 == "on"


class Objective:
    """The loss of a batch, and everything that it is computed from.

    Args:
        network: The student, on the device.
        train: The training samples.
        normalise: uint8 (N, C, H, W) -> the networks' input.
        config: The recipe.
        device: Device of the network.
        teacher_logits: (len(train), classes) or (teachers, len(train), classes), for the samples without augmentation;
            with views a list of such tensors, one a view.
        teachers: Networks that run in every step, on the very images that the student sees. They are needed where
            images are augmented or features compared; the features or explanations of the first one are compared.
        explanations: The first teacher's explanations, see :class:`kdviz.distill.storage.teacher_explanations.
            TeacherExplanations`; for a loss between explanations where the teachers do not run in every step.

    Raises:
        SettingError: The recipe needs teachers that run in every step, or their explanations, or the logits do not fit
            the samples.
        ModelError: A teacher is in training mode, or lacks the layer to compare.
    """

    def __init__(
        self,
        network: nn.Module,
        train: LabelledImages,
        normalise: Normalise,
        config: TrainingConfig,
        device: torch.device,
        teacher_logits: Tensor | Sequence[Tensor] | None = None,
        teachers: Sequence[nn.Module] = (),
        explanations: ExplanationsOf | None = None,
    ):
        self._network, self._normalise, self._config = network, normalise, config
        self._images, self.labels = train.images, train.labels.to(device)
        if device.type != "cpu":
            self._images = self._images.to(device)
        self._weights = None
        if config.class_weights == "balanced":
            self._weights = balanced_weights(train.labels, train.classes).to(device)
        self._augment = Augment(config.augment, len(train.classes))
        self._originals, self._view = self._images, 0
        # Small data sets are normalised once; the first operation of a bfloat16 pass would round them in the same way.
        fits = not self._augment.names and 4 * self._images.numel() <= _NORMALISED_BYTES
        self._normalised = None
        if fits:
            bf16 = autocasts(device, config.bf16)
            self._normalised = normalise(self._images).to(torch.bfloat16 if bf16 else torch.float32)
        self._teachers = [teacher.to(device) for teacher in teachers]
        for teacher in self._teachers:
            check_teacher(teacher, train.classes, train.classes)
        self._soft = _checked(teacher_logits, train, config, len(self._teachers))
        self._soft = [logits.to(device) for logits in self._soft]
        self.auxiliary: nn.Module | None = None
        self._penalties = own_methods(network, "penalty")
        learned = config.schedules["temperature"]
        self._temperature = LearnedTemperature(learned).to(device) if learned.is_learned and self.has_teacher else None
        self._hooks: list[FeatureHook] = []
        self._explainers: list[Explainer] = []
        self._explanations_of, self._explained = explanations, torch.empty(0)
        if config.explanation_loss is not None and self.has_teacher:
            self._compare_explanations(train)
        elif config.feature_loss and self._teachers:
            self._compare_features(train)

    @property
    def has_teacher(self) -> bool:
        return bool(self._soft or self._teachers)

    @property
    def trained_modules(self) -> nn.Module | None:
        """What is trained along with the student: the feature loss's module, a learned temperature, or both."""
        if self._temperature is None:
            return self.auxiliary
        both = {"features": self.auxiliary, "temperature": self._temperature}
        return nn.ModuleDict({name: module for name, module in both.items() if module is not None})

    def temperature_in(self, epoch: int) -> float:
        """The temperature of an epoch; of a learned one what it is now."""
        return self._config.temperature_in(epoch) if self._temperature is None else self._temperature.value

    def begin(self, epoch: int) -> None:
        """Take the view of an epoch, from 1, where there are fixed views."""
        if self._config.views:
            self._view = (epoch - 1) % self._config.views
            self._images = view_of(self._originals, self._augment, self._view)
        if self._explainers and not self._teachers and self._config.teaches_in(epoch):
            assert self._explanations_of is not None
            target = _classes_of(self._soft[self._view])
            self._explained = self._explanations_of(self._images, target, epoch).to(self.labels.device)

    def inputs(self, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The input of a batch and its labels: int64 (n,), or (n, classes) where samples are mixed.

        Args:
            index: int64 (n,), on the CPU or on the device.
            seed: Seed of the augmentation.
        """
        inputs, labels = self._inputs(index, seed)
        return (self._explainers[0].prepared(inputs) if self._explainers else inputs), labels

    def _inputs(self, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        labels = self.labels[index.to(self.labels.device)]
        if self._normalised is not None:
            return self._normalised[index.to(self._normalised.device)], labels
        pixels = self._images[index.to(self._images.device)]
        if self._augment.names and not self._config.views:
            pixels = self._augment.images(pixels, seed)
        inputs = self._normalise(pixels.to(self.labels.device))
        return self._augment.mix(inputs, labels, seed) if self._augment.mixes else (inputs, labels)

    def teacher_logits_of(self, inputs: Tensor, index: Tensor, epoch: int) -> Tensor | None:
        """The teachers' logits of a batch, (n, classes) or (teachers, n, classes); None when they are not used.

        Args:
            inputs: As returned by :meth:`inputs`.
            index: int64 (n,), on the device.
            epoch: Epoch, which decides whether they are used.
        """
        if not self.has_teacher or not self._config.teaches_in(epoch):
            return None
        return self._live_logits(inputs) if self._teachers else self._soft[self._view][..., index, :]

    def loss(
        self,
        logits: Tensor,
        inputs: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        index: Tensor,
        epoch: int,
    ) -> Tensor:
        """The loss of a batch, whose forward pass was the network's last, with the network's own penalty if it has one.

        A module of the network may have a method ``penalty`` of temperature and alpha, the latter 0 without a teacher,
        for what its training criterion has beside the logits, as a soft tree's balance of its branches.

        Args:
            logits: The student's logits, float32 (n, classes).
            inputs, labels: As returned by :meth:`inputs`.
            teacher_logits: As returned by :meth:`teacher_logits_of`.
            index: int64 (n,), the samples.
            epoch: Epoch, which decides temperature and alpha.
        """
        loss = self._loss_of_outputs(logits, inputs, labels, teacher_logits, index, epoch)
        for penalty in self._penalties:
            alpha = 0.0 if teacher_logits is None else self._config.alpha_in(epoch)
            loss = loss + penalty(self.temperature_in(epoch), alpha)
        return loss

    def _loss_of_outputs(
        self,
        logits: Tensor,
        inputs: Tensor,
        labels: Tensor,
        teacher_logits: Tensor | None,
        index: Tensor,
        epoch: int,
    ) -> Tensor:
        config = self._config
        student_outputs = self._hooks[0].take() if self._hooks else []
        if teacher_logits is None:
            return label_smoothing_loss(logits, labels, config.label_smoothing, self._weights)
        loss = distillation_loss(
            logits,
            teacher_logits,
            labels,
            temperature=config.temperature_in(epoch) if self._temperature is None else self._temperature(epoch),
            alpha=config.alpha_in(epoch),
            loss=config.loss,
            options=config.loss_options,
            label_smoothing=config.label_smoothing,
            class_weights=self._weights,
            teacher_mixture=config.teacher_mixture,
        )
        if self._explainers:
            return loss + config.feature_weight * self._explanation_loss(logits, inputs, teacher_logits, index, epoch)
        if not student_outputs:
            return loss
        return loss + config.feature_weight * self._feature_loss(student_outputs, self._hooks[1].take())

    def first_teacher_logits(self, index: Tensor) -> Tensor | None:
        """The teachers' logits of some samples without augmentation, (n, classes) or (teachers, n, classes)."""
        if self._teachers:
            return self._live_logits(
                self._normalise(self._images[index.to(self._images.device)].to(self.labels.device))
            )
        return self._soft[0][..., index.to(self.labels.device), :] if self._soft else None

    def close(self) -> None:
        """Remove the hooks from the networks."""
        for part in (*self._hooks, *self._explainers):
            part.close()

    @torch.no_grad()
    def _live_logits(self, inputs: Tensor) -> Tensor:
        logits = [teacher(inputs).float() for teacher in self._teachers]
        return logits[0] if len(logits) == 1 else torch.stack(logits)

    def _compare_features(self, train: LabelledImages) -> None:
        config, teacher = self._config, self._teachers[0]
        inputs = self._normalise(self._images[: min(2, len(train))].to(self.labels.device))
        pair, self.auxiliary = compared_layers(config, self._network, teacher, inputs)
        self._kind = pair.kind
        layers = (self._network, pair.student), (teacher, pair.teacher)
        self._hooks = [FeatureHook(network, names.split(",")) for network, names in layers]

    def _compare_explanations(self, train: LabelledImages) -> None:
        """Get ready to explain the student, and the first teacher where it runs in every step."""
        config, loss, device = self._config, self._config.explanation_loss, self.labels.device
        assert loss is not None
        if not self._teachers and self._explanations_of is None:
            raise SettingError(
                "The loss '{loss}' compares explanations: the teacher must be a network, not its logits.",
                loss=config.feature_loss,
            )
        inputs = self._normalise(self._images[: min(2, len(train))].to(device))
        layers = {self._network: config.student_layer}
        layers |= {self._teachers[0]: config.teacher_layer} if self._teachers else {}
        baseline, bf16 = baseline_of(self._normalise, self._images, device), autocasts(device, config.bf16)
        for network, layer in layers.items():
            layer = maps_layer(config.feature_loss, network, inputs, layer) if loss.takes else ""
            self._explainers.append(Explainer(loss, config.feature_options, network, baseline, layer, bf16))

    def _explanation_loss(
        self, logits: Tensor, inputs: Tensor, teacher_logits: Tensor, index: Tensor, epoch: int
    ) -> Tensor:
        loss, options = self._config.explanation_loss, self._config.feature_options
        assert loss is not None
        every, draws = loss.every(options), draws_of(index, epoch)
        rows = ((index + epoch) % every == 0).nonzero()[:, 0]
        if not len(rows):
            return logits.new_zeros(())
        target = _classes_of(teacher_logits)
        student = self._explainers[0].explain(inputs, logits, target, draws, None if every == 1 else rows)
        if self._teachers:
            teacher = self._explainers[1].explain_pictures(inputs[rows], target[rows], draws[rows])
        else:
            teacher = self._explained[index[rows] // every]
        return loss.function(student, teacher.to(student.dtype))

    def _feature_loss(self, student_outputs: Sequence[Tensor], teacher_outputs: Sequence[Tensor]) -> Tensor:
        student, teacher = (features_of(outputs, self._kind) for outputs in (student_outputs, teacher_outputs))
        loss = feature_losses[self._config.feature_loss]
        return loss(student, teacher, self._config.feature_options, self.auxiliary)


def own_methods(network: nn.Module, name: str) -> list[Callable[..., Any]]:
    """The methods of this name that modules of a network have, such as ``penalty`` and ``after_step``."""
    return [method for module in network.modules() if callable(method := getattr(module, name, None))]


def baseline_of(normalise: Normalise, images: Tensor, device: torch.device) -> Tensor:
    """Black as a network takes it, (C, 1, 1): what a removed pixel becomes."""
    return normalise(torch.zeros_like(images[:1, :, :1, :1]).to(device))[0].float()


def _classes_of(teacher_logits: Tensor) -> Tensor:
    """The classes that the first teacher says, int64 (n,)."""
    return (teacher_logits[0] if teacher_logits.ndim == 3 else teacher_logits).argmax(1)


def _checked(
    teacher_logits: Tensor | Sequence[Tensor] | None, train: LabelledImages, config: TrainingConfig, teachers: int
) -> list[Tensor]:
    """The logits of each view, a single one without views; empty where teachers run in every step, or are absent."""
    if teachers:
        config.check_teachers(teachers)
        return []
    if teacher_logits is None:
        return []
    views = [teacher_logits] if isinstance(teacher_logits, Tensor) else list(teacher_logits)
    for logits in views:
        _check_logits(logits, train, config)
    if config.needs_live_teacher:
        reason = (
            f"the feature loss '{config.feature_loss}'" if config.feature_loss else f"augmentation '{config.augment}'"
        )
        raise SettingError(
            "With {reason} the teacher has to answer in every step: it must be a network, not its logits.",
            reason=reason,
        )
    if len(views) != max(1, config.seen_views) or (config.views and isinstance(teacher_logits, Tensor)):
        raise SettingError(
            "The teacher's logits are needed for each of the {count} views that are seen, as a list of tensors.",
            count=config.seen_views,
        )
    return views


def _check_logits(logits: Tensor, train: LabelledImages, config: TrainingConfig) -> None:
    shape = (len(train), len(train.classes))
    if logits.ndim not in (2, 3) or logits.shape[-2:] != shape:
        raise SettingError(
            "The teacher's logits have shape {shape}, but {n_train} training samples of {n_classes} "
            "classes need {expected}, or such a table for each of several teachers.",
            shape=tuple(logits.shape),
            n_train=len(train),
            n_classes=len(train.classes),
            expected=shape,
        )
    config.check_teachers(len(logits) if logits.ndim == 3 else 1)
