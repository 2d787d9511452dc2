"""Training one network on images in memory. It yields its progress and never prints."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdviz.datasets import LabelledImages
from kdviz.distill.check import check_balance, check_settings
from kdviz.distill.config import TrainingConfig
from kdviz.distill.losses import balanced_weights, distillation_loss, label_smoothing_loss
from kdviz.errors import ModelError, SettingError
from kdviz.networks import choose_device, fast_bf16

Normalise = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Progress:
    """Where training is. ``validation_accuracy`` is set at the end of an epoch, else None.

    Attributes:
        epoch: From 1.
        step, steps: Batches done in this epoch, and how many there are.
        loss: Mean training loss of the epoch; None before its end, so that a GPU is not waited for.
        validation_accuracy: In [0, 1].
        seconds: Since training began.
        warnings: In the first of a training: what looks wrong with it, a sentence each; see :mod:`kdviz.distill.check`.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    validation_accuracy: float | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def autocast(device: torch.device, bf16: str) -> AbstractContextManager[Any]:
    """The autocast of ``bf16`` (``auto``, ``on`` or ``off``) on this device."""
    enabled = fast_bf16(device) if bf16 == "auto" else bf16 == "on"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)


def fit(
    network: nn.Module,
    train: LabelledImages,
    validation: LabelledImages,
    normalise: Normalise,
    config: TrainingConfig,
    teacher_logits: Tensor | None = None,
) -> Iterator[Progress]:
    """Train ``network`` in place, and leave it in evaluation mode with the best epoch's weights.

    The best epoch is the one with the highest accuracy on ``validation``, the first of several.

    Args:
        network: (N, C, H, W) -> logits (N, classes). Its device becomes that of ``config``.
        train, validation: Samples.
        normalise: uint8 (N, C, H, W) -> the network's input.
        config: The recipe.
        teacher_logits: (len(train), classes), computed once, or (teachers, len(train), classes) of several; None
            trains on the labels alone.

    Raises:
        ModelError: The loss is no longer finite, or the network's classes are not the teacher's.
        SettingError: The teacher's logits do not fit the training samples, or a class that should be weighted has none.
    """
    _check_teacher_logits(teacher_logits, train, config)
    device = choose_device(config.device)
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = train.images.to(device), train.labels.to(device)
    weights = balanced_weights(train.labels, train.classes).to(device) if config.class_weights == "balanced" else None
    soft = None if teacher_logits is None else teacher_logits.to(device)
    warnings = () if soft is None else _doubts(network, train, normalise, config, soft)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    order = torch.Generator().manual_seed(config.seed)
    torch.manual_seed(config.seed)  # dropout
    steps = -(-len(train) // config.batch_size)
    best_accuracy, best_state = -1.0, None
    start = time.monotonic()
    for epoch in range(1, config.epochs + 1):
        network.train()
        total = torch.zeros((), device=device)
        for step, index in enumerate(torch.randperm(len(train), generator=order).split(config.batch_size), 1):
            index = index.to(device)
            with autocast(device, config.bf16):
                logits = network(normalise(images[index])).float()
            loss = _loss(logits, labels[index], None if soft is None else soft[..., index, :], config, weights, epoch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(index)
            yield Progress(epoch, config.epochs, step, steps, None, None, time.monotonic() - start, warnings)
            warnings = ()
        mean_loss = float(total) / len(train)
        if not torch.isfinite(total):
            raise ModelError(f"The loss became {mean_loss} in epoch {epoch}; try a lower learning rate.")
        accuracy = float(
            (_logits(network, validation, normalise, device, config.bf16).argmax(1) == validation.labels).float().mean()
        )
        if accuracy > best_accuracy:
            best_accuracy, best_state = accuracy, copy.deepcopy(network.state_dict())
        yield Progress(epoch, config.epochs, steps, steps, mean_loss, accuracy, time.monotonic() - start)
    if best_state is not None:
        network.load_state_dict(best_state)
    network.eval()


def _check_teacher_logits(teacher_logits: Tensor | None, train: LabelledImages, config: TrainingConfig) -> None:
    if teacher_logits is None:
        return
    wanted = (len(train), len(train.classes))
    if teacher_logits.ndim not in (2, 3) or teacher_logits.shape[-2:] != wanted:
        raise SettingError(
            f"The teacher's logits have shape {tuple(teacher_logits.shape)}, but {len(train)} training samples of "
            f"{len(train.classes)} classes need {wanted}, or such a table for each of several teachers."
        )
    config.check_teachers(len(teacher_logits) if teacher_logits.ndim == 3 else 1)


def _doubts(
    network: nn.Module, train: LabelledImages, normalise: Normalise, config: TrainingConfig, soft: Tensor
) -> tuple[str, ...]:
    """What looks wrong, from the settings and the first samples; the network is left as it is."""
    first = torch.arange(min(config.batch_size, len(train)))
    batch = train.take(first)
    logits = _logits(network, batch, normalise, soft.device, "off").to(soft)
    labels = batch.labels.to(soft.device)
    return (*check_settings(config), *check_balance(logits, soft[..., first.to(soft.device), :], labels, config))


def _loss(
    logits: Tensor, labels: Tensor, soft: Tensor | None, config: TrainingConfig, weights: Tensor | None, epoch: int
) -> Tensor:
    if soft is None or not config.teaches_in(epoch):
        return label_smoothing_loss(logits, labels, config.label_smoothing, weights)
    return distillation_loss(
        logits,
        soft,
        labels,
        temperature=config.temperature_in(epoch),
        alpha=config.alpha_in(epoch),
        loss=config.loss,
        options=config.loss_options,
        label_smoothing=config.label_smoothing,
        class_weights=weights,
        teacher_weights=config.teacher_weights,
    )


def predict_logits(
    network: nn.Module, samples: LabelledImages, normalise: Normalise, *, device: str = "auto", bf16: str = "off"
) -> Tensor:
    """Logits of every sample, float32 (N, classes) on the CPU: evaluation mode, no gradient.

    float32 by default: what is reported must not depend on the machine's bfloat16.
    """
    where = choose_device(device)
    return _logits(network.to(where), samples, normalise, where, bf16)


@torch.inference_mode()
def _logits(
    network: nn.Module, samples: LabelledImages, normalise: Normalise, device: torch.device, bf16: str
) -> Tensor:
    was_training = network.training
    network.eval()
    with autocast(device, bf16):
        parts = [network(normalise(part.to(device))).float().cpu() for part in samples.images.split(500)]
    network.train(was_training)
    return torch.cat(parts).clone()
