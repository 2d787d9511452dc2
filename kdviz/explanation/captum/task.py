"""The task of a method: one picture, one class, one model. Reading this module does not import torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kdviz.core.errors import Sentence, SettingError
from kdviz.explanation.captum.requirements import model_name

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH_VALUES = 2_000_000  # input values in a forward pass
_LARGEST_BATCH = 128


@dataclass(frozen=True)
class AttributionTask:
    """What is to be explained, and how.

    Attributes:
        title: Title of the method, for messages.
        model: (N, C, H, W) to logits (N, classes), in eval mode.
        inputs: (1, C, H, W), as the model takes it; it requires a gradient.
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

    def refused(self, reason: str, /, **values: Any) -> SettingError:
        """The error for a method that does not fit.

        Args:
            reason: The rest of a sentence that begins with the method's title, with places.
            values: What fills the places.
        """
        rest = reason if isinstance(reason, Sentence) else Sentence(reason, **values)
        return SettingError(rest.within("{method} {}", method=self.title))

    @property
    def network(self) -> str:
        """Name of the model's class, quoted, for messages."""
        return f"'{model_name(self.model)}'"

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the picture."""
        return self.inputs.shape[2], self.inputs.shape[3]

    @property
    def batch_size(self) -> int:
        """Pictures in one forward pass. Random methods depend on it, so it depends on the picture's size alone."""
        return max(1, min(_LARGEST_BATCH, _BATCH_VALUES // self.inputs.numel()))
