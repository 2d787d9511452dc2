"""A measured figure, and the machine it was measured on."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from kdviz.compress.forms import processor_name


@dataclass(frozen=True)
class Measurement:
    """A measured figure.

    Attributes:
        key: Key in the JSON document.
        text: Description for people.
        value: The figure.
        unit: ``x`` for a ratio, or a unit.
        details: Values that it was computed from.
    """

    key: str
    text: str
    value: float
    unit: str
    details: Mapping[str, Any] = field(default_factory=dict)


def about(device: torch.device) -> dict[str, Any]:
    """Details of the machine, so that figures can be compared."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "time": time.strftime("%F")}
