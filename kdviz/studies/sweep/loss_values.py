"""The values of a study of losses: a loss against the teacher, and a loss between layers where one is named."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import SettingError, UnknownNameError
from kdviz.distill.objectives.registry import explanation_losses, feature_losses, losses, network_loss, teacher_losses

if TYPE_CHECKING:
    from kdviz.distill import TrainingConfig

DEFAULT_LOSS = "soft_targets"
"""The loss against the teacher beside which a loss between layers stands where none is named."""

_VALUE = re.compile(
    r"(?:(?P<loss>[^\s+0-9.][^\s+]*)\s*\+\s*)?"
    r"(?:(?P<weight>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s+)?"
    r"(?P<name>[^\s+]+)"
)


@dataclass(frozen=True)
class LossValue:
    """A value of a study of losses, written ``dist`` or ``soft_targets + 10 attention_transfer``.

    Attributes:
        loss: Loss against the teacher.
        feature_loss: Loss between layers, added to it; empty for none.
        feature_weight: Weight of the loss between layers.
    """

    loss: str
    feature_loss: str = ""
    feature_weight: float = 1.0

    def __str__(self) -> str:
        if not self.feature_loss:
            return self.loss
        weight = repr(float(self.feature_weight)).removesuffix(".0")  # every digit: the text is read again
        return f"{self.loss} + {'' if weight == '1' else f'{weight} '}{self.feature_loss}"

    def applied_to(self, config: TrainingConfig) -> TrainingConfig:
        """A recipe with these losses in place of its own; options of a loss that it no longer has are left away."""
        changes: dict[str, Any] = {"loss": self.loss, "feature_loss": self.feature_loss}
        changes["feature_weight"] = self.feature_weight
        if self.loss != config.loss:
            changes["loss_options"] = {}
        if self.feature_loss != config.feature_loss:
            changes |= {"feature_options": {}, "student_layer": "", "teacher_layer": ""}
        return replace(config, **changes)


def default_losses() -> tuple[str, ...]:
    """The names of all losses against a teacher, the softened targets of Hinton et al. (2015) first.

    Without the one that equals these unless it is told which classes are old.
    """
    names = [name for name in teacher_losses if name != "without_forgetting"]
    return tuple(sorted(names, key=lambda name: (name != DEFAULT_LOSS, name)))


def parse_loss(text: str) -> LossValue:
    """The value of a text: ``dist``, ``hints`` (beside the softened targets), or ``dist + 10 hints``.

    Raises:
        TypeError: This is no text.
        SettingError: It is not of this form, or its weight is not finite.
        UnknownNameError: There is no loss of this name.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no loss's name")
    match = _VALUE.fullmatch(text.strip())
    if match is None or not math.isfinite(float(match["weight"] or 1)):
        raise SettingError(
            "'{text}' is no value of a study of losses; write a loss against the teacher, one between layers, or "
            "both, such as dist, hints, or dist + 10 hints.",
            text=text,
        )
    loss, weight, name = match["loss"], match["weight"], match["name"]
    if loss is None and weight is None:
        if name in teacher_losses:
            return LossValue(name)
        if name not in feature_losses and name not in explanation_losses:
            raise UnknownNameError("loss", name, [*teacher_losses, *feature_losses, *explanation_losses], losses.listed)
    _ = network_loss(name), teacher_losses[loss or DEFAULT_LOSS]
    return LossValue(loss or DEFAULT_LOSS, name, float(weight or 1))


def short_loss(value: str) -> str:
    """A value without the softened targets that a loss stands beside.

    >>> short_loss("soft_targets + 20 rise_maps")
    '+ 20 rise_maps'
    """
    return value.removeprefix(f"{DEFAULT_LOSS} ")


def trained_on_maps_of(method: str, values: Iterable[Any]) -> list[str]:
    """The values of a study of losses that are trained on maps of this method of :func:`kdviz.explain`.

    Args:
        method: Name of the method.
        values: Values of any study; only texts that name a loss count.
    """
    trained = []
    for value in values:
        try:
            loss = explanation_losses.get(parse_loss(value).feature_loss)
        except (TypeError, SettingError, UnknownNameError):  # a number, or a loss of a plugin that is not here
            continue
        if loss is not None and method in loss.methods:
            trained.append(str(value))
    return trained


def check_losses_used(config: TrainingConfig, values: Iterable[str]) -> None:
    """Refuse a recipe with settings of losses that no value of a study of losses has: nothing would come of them.

    Raises:
        SettingError: A loss between layers, its weight, or options of a loss are in no value.
    """
    parsed = [parse_loss(value) for value in values]
    between = config.feature_loss, config.feature_weight
    if config.feature_loss and between not in {(value.feature_loss, value.feature_weight) for value in parsed}:
        own = LossValue(config.loss, *between)
        raise SettingError("No value of this study has the loss between layers of '{own}'; name it there.", own=own)
    if config.loss_options and config.loss not in {value.loss for value in parsed}:
        raise SettingError(
            "These are options of the loss '{loss}', and no value of this study has it; name it there.",
            loss=config.loss,
        )


def loss_text(config: TrainingConfig | Mapping[str, Any]) -> str:
    """The losses of a recipe, as the value of a study of losses that they are."""
    settings = config if isinstance(config, Mapping) else config.to_json()
    return str(LossValue(settings["loss"], settings.get("feature_loss", ""), settings.get("feature_weight", 1.0)))
