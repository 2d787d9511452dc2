"""A training run, and its identity: a hash of everything that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from kdviz.data import LabelledImages
from kdviz.distill.config import TEACHER_SETTINGS, TrainingConfig, recorded_name
from kdviz.distill.objectives.losses import teacher_losses
from kdviz.experiment import InputSpec

_ALWAYS = ("epochs", "batch_size", "learning_rate", "seed")


_NEVER = ("device",)  # the device is no part of the identity


@dataclass(frozen=True)
class TrainingRun:
    """One training of a study.

    Attributes:
        role: ``teacher``, ``kd_student`` or ``student``.
        network: Name of the network.
        config: The recipe.
        data: The fingerprint of the data.
        spec: Specification of the network's input.
        teacher: For a KD student: the name of its teacher's logits in the store, as :func:`teacher_key` gives it.
        snapshots: Epochs after which the weights are stored, and the logits of a network stopped there.
        teacher_network: Name of the teacher's network, where the recipe needs a teacher that runs in every step; its
            weights are in the store, beside its logits.
        start: The name in the store of the weights that it begins with; empty: fresh ones, from the seed.
        widths: Widths of the network's layers, where it is not built in its own; see
            :func:`~kdviz.models.networks.library.has_widths`.

    A run with snapshots and without a teacher can be prolonged: more epochs and other snapshots are the same run, and
    epochs and snapshots that exist are not computed again.
    """

    role: str
    network: str
    config: TrainingConfig
    data: str
    spec: InputSpec
    teacher: str = ""
    snapshots: tuple[int, ...] = ()
    teacher_network: str = ""
    start: str = ""
    widths: tuple[int, ...] = ()

    @property
    def network_settings(self) -> dict[str, Any]:
        """Settings that its network is built with."""
        return {"widths": list(self.widths)} if self.widths else {}

    @cached_property
    def identity(self) -> str:
        """A hash of everything that decides the result, and nothing else.

        Settings with their default are left out, so that a setting added later changes no identity; so are those of
        distillation when there is no teacher.
        """
        inputs: dict[str, Any] = {
            "network": self.network,
            "data": self.data,
            "input": self.spec.to_json(),
            "teacher": self.teacher,
            "snapshots": bool(self.snapshots) if self.can_be_prolonged else self.snapshots,
            "settings": self._settings(),
        }
        if self.start:
            inputs["start"] = self.start
        if self.widths:
            inputs["widths"] = self.widths
        text = json.dumps(inputs, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def can_be_prolonged(self) -> bool:
        return bool(self.snapshots) and not self.teacher  # the schedules of a distillation depend on its length

    def _settings(self) -> dict[str, Any]:
        default = TrainingConfig()
        always = _ALWAYS + (("temperature", "alpha", "loss") if self.teacher else ())
        never = (*_NEVER, *(() if self.teacher else TEACHER_SETTINGS), *(("epochs",) if self.can_be_prolonged else ()))
        settings = {}
        for setting in fields(self.config):
            value = _canonical(getattr(self.config, setting.name), getattr(default, setting.name))
            if setting.name == "loss_options":  # options with the loss's defaults do not count
                defaults = teacher_losses[self.config.loss].options
                value = {name: number for name, number in value.items() if number != defaults[name]}
            name = recorded_name(setting.name)
            if name not in never and (name in always or value != getattr(default, setting.name)):
                settings[name] = value
        return settings


def _canonical(value: Any, default: Any) -> Any:
    """One form for equal values: 4 and 4.0, where numbers need not be whole."""
    if isinstance(value, Mapping):
        return {name: float(number) for name, number in value.items()}
    if isinstance(default, tuple):
        return tuple(float(number) for number in value)
    return float(value) if isinstance(default, float) and isinstance(value, int) else value


def data_fingerprint(splits: Mapping[str, LabelledImages]) -> str:
    """Fingerprint of all splits together; see :attr:`kdviz.data.LabelledImages.fingerprint`."""
    parts = "".join(f"{name}:{samples.fingerprint};" for name, samples in sorted(splits.items()))
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def teacher_key(identity: str, epoch: int | None = None) -> str:
    """The name in the store of a teacher's logits for the training samples.

    Args:
        identity: Identity of the run that trained it, or the start of its weights' SHA-256.
        epoch: Epoch after which it was stopped; None: its best.
    """
    return f"{identity}/logits-train.npy" if epoch is None else f"{identity}/logits-train-{epoch:04d}.npy"
