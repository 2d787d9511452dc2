"""Training one network on images in memory. It yields its progress and never prints."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import ModelError
from kdviz.data import LabelledImages
from kdviz.distill.checks import check_balance, check_settings
from kdviz.distill.config import TrainingConfig
from kdviz.distill.objectives.objective import ExplanationsOf, Normalise, Objective, own_methods
from kdviz.distill.optimisation import learning_rate_schedules, optimizers
from kdviz.distill.prediction import autocast, batch_logits
from kdviz.distill.random_state import with_own_random_state

_PICTURES_TO_FIT = 5_000  # at most, taken evenly: those of a folder are sorted by class


@dataclass(frozen=True)
class TrainingProgress:
    """Progress of a training. Values that are measured at the end of an epoch are None before it.

    Attributes:
        epoch: Epoch, from 1.
        step, steps: Batches done in this epoch, and their total.
        loss: Mean training loss of the epoch; None before its end, so that training does not wait for a GPU.
        validation_accuracy: Accuracy on the validation split, in [0, 1].
        seconds: Seconds since the training began.
        warnings: What looks wrong with the training, one sentence each, in its first progress; see
            :mod:`kdviz.distill.checks`.
        accuracy: Accuracy on the training samples as they were seen during the epoch, in [0, 1].
        validation_loss: Mean cross entropy on the validation split.
        temperature, alpha: Their values in this epoch; None without a teacher.
        seconds_of_epoch: Duration of this epoch.
        labelled_by_teacher: Whether the teacher's answers are the labels, as on a transfer set: ``accuracy`` and
            ``validation_accuracy`` are then the agreement with the teacher.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float | None = None
    validation_accuracy: float | None = None
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    accuracy: float | None = None
    validation_loss: float | None = None
    temperature: float | None = None
    alpha: float | None = None
    seconds_of_epoch: float = 0.0
    labelled_by_teacher: bool = False

    @property
    def ends_epoch(self) -> bool:
        return self.validation_accuracy is not None


class Checkpoint(Protocol):
    """Storage for the state of a training, so that it can be continued after an interruption."""

    def load(self) -> dict[str, Any] | None:
        """The last state that was saved, or None."""
        ...

    def save(self, state: dict[str, Any]) -> None:
        """Replace it; a state holds tensors, numbers, texts, and lists and dicts of them."""
        ...


def fit(
    network: nn.Module,
    train: LabelledImages,
    validation: LabelledImages,
    normalise: Normalise,
    config: TrainingConfig,
    teacher_logits: Tensor | Sequence[Tensor] | None = None,
    *,
    teachers: Sequence[nn.Module] = (),
    explanations: ExplanationsOf | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[TrainingProgress]:
    """Train ``network`` in place, and leave it in evaluation mode with the best epoch's weights.

    The best epoch is the one with the highest accuracy on ``validation``, the first of equal ones. Only parameters that
    require gradients are trained; a frozen module stays in evaluation mode, so that its batch norm does not drift.

    The state is saved once the progress of an epoch's end has been consumed, and training continues from there when
    this is called again: it first yields the ends of the epochs that were done before. Randomness in an epoch depends
    on the seed and the epoch alone, so that an interrupted training ends with the same weights.

    Args:
        network: (N, C, H, W) -> logits (N, classes). Its device becomes that of ``config``.
        train, validation: Samples with labels.
        normalise: uint8 (N, C, H, W) -> the network's input.
        config: The recipe.
        teacher_logits: (len(train), classes), computed once, or (teachers, len(train), classes) for several; with
            views a list of such tensors, one a view; None trains on the labels alone.
        teachers: In place of the logits: networks that run in every step, at the cost of a forward pass each. They are
            needed for augmentation and feature losses.
        explanations: A teacher's explanations, for a loss between explanations with logits; see :class:`Objective`.
        checkpoint: Where to continue from.

    Raises:
        ModelError: The loss is no longer finite, or the network's classes are not the teacher's.
        SettingError: The teacher's logits do not fit the training samples, or a class to be weighted has no sample.
    """
    device = choose_device(config.device)
    prepare_network(network, train, normalise, device)
    objective = Objective(network, train, normalise, config, device, teacher_logits, teachers, explanations)
    steps = _steps(network, train, validation, normalise, config, device, objective, checkpoint)
    try:
        yield from with_own_random_state(steps, device)
    finally:
        objective.close()


def prepare_network(network: nn.Module, train: LabelledImages, normalise: Normalise, device: torch.device) -> None:
    """Move a network to the device, and let it set what it takes from the pictures first, such as a whitening."""
    network.to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fit_to = getattr(network, "fit_to", None)
    if fit_to is not None:
        step = -(-len(train) // _PICTURES_TO_FIT)
        fit_to(normalise(train.images[::step].to(device)))


def _steps(
    network: nn.Module,
    train: LabelledImages,
    validation: LabelledImages,
    normalise: Normalise,
    config: TrainingConfig,
    device: torch.device,
    objective: Objective,
    checkpoint: Checkpoint | None,
) -> Iterator[TrainingProgress]:
    warnings = _doubts(network, train, normalise, config, objective) if objective.has_teacher else ()
    training = _Training(network, objective.trained_modules, config, device)
    if checkpoint is not None:
        yield from training.resume(checkpoint)
    for epoch in range(training.epoch + 1, config.epochs + 1):
        training.begin(epoch)
        objective.begin(epoch)
        total, correct = torch.zeros((), device=device), torch.zeros((), dtype=torch.long, device=device)
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(_epoch_seed(config.seed, epoch)))
        batches = _batches(order.to(device), config.batch_size)
        steps = len(batches)
        for step, batch in enumerate(batches, 1):
            inputs, labels = objective.inputs(batch, _epoch_seed(config.seed, epoch) * 10_007 + step)
            with autocast(device, config.bf16):
                logits = _forward(network, inputs).float()
                teacher_logits = objective.teacher_logits_of(inputs, batch, epoch)
            loss = objective.loss(logits, inputs, labels, teacher_logits, batch, epoch)
            training.step(loss, (step - 0.5) / steps)
            total += loss.detach() * len(batch)
            correct += (logits.detach().argmax(1) == objective.labels[batch]).sum()
            yield TrainingProgress(epoch, config.epochs, step, steps, None, None, training.seconds, warnings)
            warnings = ()
        mean_loss = float(total) / len(train)
        if not torch.isfinite(total):
            raise ModelError(
                "The loss became {mean_loss} in epoch {epoch}; try a lower learning rate.",
                mean_loss=mean_loss,
                epoch=epoch,
            )
        validation_logits = batch_logits(network, validation, normalise, device, config.bf16)
        distils = objective.has_teacher and config.teaches_in(epoch)
        yield training.ended(
            TrainingProgress(
                epoch,
                config.epochs,
                steps,
                steps,
                mean_loss,
                float((validation_logits.argmax(1) == validation.labels).float().mean()),
                accuracy=int(correct) / len(train),
                validation_loss=float(F.cross_entropy(validation_logits, validation.labels)),
                temperature=objective.temperature_in(epoch) if distils else None,
                alpha=config.alpha_in(epoch) if distils else None,
                labelled_by_teacher=objective.has_teacher and config.has_own_pictures,
            )
        )
        if checkpoint is not None:
            checkpoint.save(training.state())
    training.finish()


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of ``size``; a last single sample joins the batch before it: a batch norm needs two."""
    batches = list(order.split(size))
    if len(batches) > 1 and len(batches[-1]) == 1 < size:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _forward(network: nn.Module, inputs: Tensor) -> Tensor:
    """The logits of a batch of a training.

    Raises:
        ModelError: The network returns no logits, or cannot take a batch of this size.
    """
    try:
        logits = network(inputs)
    except ValueError as error:
        raise ModelError(
            "'{name}' cannot learn from a batch of {n_inputs}: {error}.",
            name=type(network).__name__,
            n_inputs=len(inputs),
            error=error,
        ) from error
    if not isinstance(logits, Tensor):
        kind = type(logits).__name__
        raise ModelError(
            "'{name}' gives {kind} while it is trained, no logits; choose another network.",
            name=type(network).__name__,
            kind=kind,
        )
    return logits


def _epoch_seed(seed: int, epoch: int) -> int:
    return seed * 100_003 + epoch


class _Training:
    """The state that changes from step to step, and is saved to continue the training later."""

    def __init__(self, network: nn.Module, auxiliary: nn.Module | None, config: TrainingConfig, device: torch.device):
        self.network, self.auxiliary, self.config = network, auxiliary, config
        self._device = device
        parameters = [weight for weight in network.parameters() if weight.requires_grad]
        parameters += list(auxiliary.parameters()) if auxiliary is not None else []
        if not parameters:
            raise ModelError("The network has no weights to train; unfreeze some.")
        # A fused step is one kernel for all weights; "mps" has none.
        fused = device.type in ("cpu", "cuda")
        self.optimizer = optimizers[config.optimizer](parameters, config, fused)
        self._after_step = own_methods(network, "after_step")
        self.epoch = 0
        self.best_accuracy = -1.0
        self.best_state: dict[str, Tensor] | None = None
        self.history: list[dict[str, Any]] = []
        self._start = self._start_of_epoch = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._start

    def begin(self, epoch: int) -> None:
        self.epoch, self._start_of_epoch = epoch, time.monotonic()
        self.network.train()
        for module in self.network.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        self._seed(_epoch_seed(self.config.seed, epoch))

    def _seed(self, seed: int) -> None:
        """Seed dropout; ``torch.manual_seed`` would seed other GPUs, too."""
        torch.default_generator.manual_seed(seed)
        if self._device.type == "cuda":
            with torch.cuda.device(self._device):
                torch.cuda.manual_seed(seed)
        elif self._device.type == "mps":
            torch.mps.manual_seed(seed)

    def step(self, loss: Tensor, part: float) -> None:
        """One step of the optimiser, at this part of the epoch, in (0, 1), and then those of the network's own modules.

        A module may have a method ``after_step`` that takes the learning rate, such as a proximal step.
        """
        position = (self.epoch - 1 + part) / self.config.epochs
        rate = self.config.learning_rate * learning_rate_schedules[self.config.learning_rate_schedule](position)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        for after_step in self._after_step:
            after_step(rate)

    def ended(self, progress: TrainingProgress) -> TrainingProgress:
        """Record an epoch's end, and return its progress with its times."""
        if progress.validation_accuracy is not None and progress.validation_accuracy > self.best_accuracy:
            self.best_accuracy = progress.validation_accuracy
            self.best_state = copy.deepcopy(self.network.state_dict())
        seconds_of_epoch = time.monotonic() - self._start_of_epoch
        record = {**asdict(progress), "seconds": self.seconds, "seconds_of_epoch": seconds_of_epoch, "warnings": []}
        self.history.append(record)
        return _as_progress(record)

    def state(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "auxiliary": None if self.auxiliary is None else self.auxiliary.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_accuracy": self.best_accuracy,
            "best_state": self.best_state,
            "history": self.history,
        }

    def resume(self, checkpoint: Checkpoint) -> Iterator[TrainingProgress]:
        state = checkpoint.load()
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        if self.auxiliary is not None:
            # Trainings that began before losses had other modules have "projection".
            self.auxiliary.load_state_dict(state["auxiliary"] if "auxiliary" in state else state["projection"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.history = state["epoch"], state["history"]
        self.best_accuracy, self.best_state = state["best_accuracy"], state["best_state"]
        self._start -= self.history[-1]["seconds"]
        # More epochs may be asked for now than when the training began.
        yield from (_as_progress({**record, "epochs": self.config.epochs}) for record in self.history)

    def finish(self) -> None:
        if self.best_state is not None:
            self.network.load_state_dict(self.best_state)
        self.network.eval()


def _as_progress(record: dict[str, Any]) -> TrainingProgress:
    return TrainingProgress(**{**record, "warnings": tuple(record["warnings"])})


def _doubts(
    network: nn.Module, train: LabelledImages, normalise: Normalise, config: TrainingConfig, objective: Objective
) -> tuple[str, ...]:
    """What looks wrong, from the settings and the first samples; the network is left as it is."""
    first = torch.arange(min(config.batch_size, len(train)))
    soft = objective.first_teacher_logits(first)
    assert soft is not None
    logits = batch_logits(network, train.take(first), normalise, soft.device, "off").to(soft)
    labels = train.labels[first].to(soft.device)
    return (*check_settings(config), *check_balance(logits, soft, labels, config))
