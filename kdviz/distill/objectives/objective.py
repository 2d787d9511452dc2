"""The loss of a training step: the labels, the teachers' logits, and their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdviz.core.devices import fast_bf16
from kdviz.core.errors import SettingError
from kdviz.data import LabelledImages
from kdviz.distill.augment import Augment
from kdviz.distill.augment.views import view_of
from kdviz.distill.checks import check_teacher
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.features import compared_layers, features_of
from kdviz.distill.objectives.layers import FeatureHook
from kdviz.distill.objectives.losses import balanced_weights, distillation_loss, label_smoothing_loss
from kdviz.distill.objectives.registry import feature_losses

Normalise = Callable[[Tensor], Tensor]
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
            images are augmented or features compared; the features of the first one are compared.

    Raises:
        SettingError: The recipe needs teachers that run in every step, or the logits do not fit the samples.
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
        self._hooks: list[FeatureHook] = []
        if config.feature_loss and self._teachers:
            self._compare_features(train)

    @property
    def has_teacher(self) -> bool:
        return bool(self._soft or self._teachers)

    def begin(self, epoch: int) -> None:
        """Take the view of an epoch, from 1, where there are fixed views."""
        if not self._config.views:
            return
        self._view = (epoch - 1) % self._config.views
        self._images = view_of(self._originals, self._augment, self._view)

    def inputs(self, index: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """The input of a batch and its labels: int64 (n,), or (n, classes) where samples are mixed.

        Args:
            index: int64 (n,), on the CPU or on the device.
            seed: Seed of the augmentation.
        """
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

    def loss(self, logits: Tensor, labels: Tensor, teacher_logits: Tensor | None, epoch: int) -> Tensor:
        """The loss of a batch, whose forward pass was the network's last.

        Args:
            logits: The student's logits, float32 (n, classes).
            labels: As returned by :meth:`inputs`.
            teacher_logits: As returned by :meth:`teacher_logits_of`.
            epoch: Epoch, which decides temperature and alpha.
        """
        config = self._config
        student_outputs = self._hooks[0].take() if self._hooks else []
        if teacher_logits is None:
            return label_smoothing_loss(logits, labels, config.label_smoothing, self._weights)
        loss = distillation_loss(
            logits,
            teacher_logits,
            labels,
            temperature=config.temperature_in(epoch),
            alpha=config.alpha_in(epoch),
            loss=config.loss,
            options=config.loss_options,
            label_smoothing=config.label_smoothing,
            class_weights=self._weights,
            teacher_mixture=config.teacher_mixture,
        )
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
        for hook in self._hooks:
            hook.close()

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

    def _feature_loss(self, student_outputs: Sequence[Tensor], teacher_outputs: Sequence[Tensor]) -> Tensor:
        student, teacher = (features_of(outputs, self._kind) for outputs in (student_outputs, teacher_outputs))
        loss = feature_losses[self._config.feature_loss]
        return loss(student, teacher, self._config.feature_options, self.auxiliary)


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


def freeze(network: nn.Module, trainable: str, head: str) -> None:
    """Decide which parameters are trained.

    Args:
        network: Its parameters' ``requires_grad`` is set.
        trainable: ``all``, ``head``, or the number of :func:`stages` before the head that are trained too. A norm by
            itself is not counted: it goes with the stage before it.
        head: The name of the head.

    Raises:
        SettingError: ``trainable`` is none of these.
    """
    if trainable != "all" and trainable != "head" and not trainable.isdecimal():
        raise SettingError("trainable must be all, head or a number of stages, got '{trainable}'.", trainable=trainable)
    network.requires_grad_(trainable == "all")
    if trainable == "all":
        return
    network.get_submodule(head).requires_grad_(True)
    count = 0 if trainable == "head" else int(trainable)
    for name in reversed(stages(network, head)):
        if not count:
            break
        stage = network.get_submodule(name).requires_grad_(True)
        count -= any(parameter.ndim > 1 for parameter in stage.parameters())


def stages(network: nn.Module, head: str) -> list[str]:
    """The parts of a network before its head, by name and in order: the blocks of its first lists of blocks.

    A part that is a list (``features`` of MobileNetV2, ``stages`` of ResNetV2) counts as its items, and a part that
    holds the head counts as what comes before the head in it.
    """
    names = []
    for name, child in network.named_children():
        if head == name:
            continue
        if head.startswith(f"{name}."):
            names += [f"{name}.{inner}" for inner in stages(child, head.removeprefix(f"{name}."))]
            continue
        is_list = isinstance(child, (nn.Sequential, nn.ModuleList))
        names += [f"{name}.{number}" for number, _ in child.named_children()] if is_list else [name]
    return [name for name in names if any(True for _ in network.get_submodule(name).parameters())]
