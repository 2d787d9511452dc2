"""What a method is to explain: one picture, one class, one model. Reading this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import SettingError
from kdviz.explanation.captum.requirements import model_name

if TYPE_CHECKING:
    from torch import Tensor, nn

_VALUES_AT_ONCE = 2_000_000  # of the pictures in one pass
_MOST_AT_ONCE = 128


@dataclass(frozen=True)
class AttributionTask:
    """What is to be explained.

    Attributes:
        title: Title of the method, for messages.
        model: (N, C, H, W) to logits (N, classes), in eval mode.
        inputs: (1, C, H, W), as the model takes it; it takes a gradient.
        baseline: (1, C, H, W), what a removed pixel becomes.
        target: Index of the class.
        settings: All settings of the method.
    """

    title: str
    model: nn.Module
    inputs: Tensor
    baseline: Tensor
    target: int
    settings: Mapping[str, Any]

    def probabilities(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to float32 (N, classes)."""
        return self.model(images).float().softmax(1)

    def refused(self, reason: str) -> SettingError:
        """The error that says why the method does not fit: ``reason`` is the rest of a sentence that begins with it."""
        return SettingError(f"{self.title} {reason}")

    @property
    def network(self) -> str:
        """Name of the model's class, quoted, for messages."""
        return f"'{model_name(self.model)}'"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.inputs.shape[2], self.inputs.shape[3]

    @property
    def at_once(self) -> int:
        """Pictures in one pass. Random methods depend on it, so it depends on nothing but the picture's size."""
        return max(1, min(_MOST_AT_ONCE, _VALUES_AT_ONCE // self.inputs.numel()))
