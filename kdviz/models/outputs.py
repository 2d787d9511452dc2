"""Logits from whatever a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def logits_of(output: Any) -> Any:
    """The logits in the output of a network.

    They are the output itself if it is a tensor, the ``logits`` of a dataclass or mapping, or the first tensor of a
    tuple (Inception's auxiliary logits come after it). Anything else is returned unchanged.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        values = list(output.values())
        return output.get("logits", output.get("out", values[0] if len(values) == 1 else output))
    if getattr(output, "logits", None) is not None:
        return output.logits
    if isinstance(output, tuple) and output and isinstance(output[0], Tensor):
        return output[0]
    return output


class TensorOutput(nn.Module):
    """Wrapper that returns only the logits of a network that returns them in a tuple, mapping or dataclass."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.differentiable = bool(getattr(network, "differentiable", True))

    def forward(self, images: Tensor) -> Tensor:
        return logits_of(self.network(images))
