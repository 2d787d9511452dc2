"""The values of a study of losses: a loss against the teacher, and a loss between layers where one is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kdviz.distill.objectives.registry import feature_losses, teacher_losses

if TYPE_CHECKING:
    from kdviz.distill import TrainingConfig

DEFAULT_LOSS = "soft_targets"
"""The loss against the teacher beside which a loss between layers stands where none is named."""

_FEATURE_LOSS = re.compile(r"(?:(?P<weight>\d+(?:\.\d+)?)\s+)?(?P<name>\w+)")


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
        weight = "" if self.feature_weight == 1 else f"{self.feature_weight:g} "
        return f"{self.loss} + {weight}{self.feature_loss}"

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
    """The names of all losses against a teacher, the softened targets of Hinton et al. (2015) first."""
    return tuple(sorted(teacher_losses, key=lambda name: (name != DEFAULT_LOSS, name)))


def parse_loss(text: str) -> LossValue:
    """The value of a text: ``dist``, ``hints`` (beside the softened targets), or ``dist + 10 hints``.

    Raises:
        TypeError, ValueError: This is no text, or not of this form.
        UnknownNameError: There is no loss of this name.
    """
    if not isinstance(text, str):
        raise TypeError(f"{text!r} is no loss's name")
    loss, plus, feature = (part.strip() for part in text.partition("+"))
    match = _FEATURE_LOSS.fullmatch(feature if plus else loss)
    if match is None:
        raise ValueError(f"'{text}' is no loss")
    if not plus and match["name"] not in feature_losses:
        _ = teacher_losses[loss]
        return LossValue(loss)
    _ = feature_losses[match["name"]]
    if plus:
        _ = teacher_losses[loss]
    return LossValue(loss if plus else DEFAULT_LOSS, match["name"], float(match["weight"] or 1))


def loss_text(config: TrainingConfig | Mapping[str, Any]) -> str:
    """The losses of a recipe, as the value of a study of losses that they are."""
    settings = config if isinstance(config, Mapping) else config.to_json()
    return str(LossValue(settings["loss"], settings.get("feature_loss", ""), settings.get("feature_weight", 1.0)))
