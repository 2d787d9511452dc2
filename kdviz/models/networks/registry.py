"""Registry of architectures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from kdviz.core.registry import Registry

LISTED = "networks"
"""What ``kdviz list`` is told to list networks."""

networks: Registry[Callable[..., nn.Module]] = Registry("network", listed=LISTED)


@dataclass(frozen=True)
class NetworkLibrary:
    """A library whose classifiers are networks, by the names ``LIBRARY/NAME``.

    Attributes:
        description: One line for the user.
        build: ``(name, classes, channels, settings) -> network`` with fresh weights.
        settings: Further arguments of its builders, and the type of each; None: ``build`` checks them.
        names: The names of its networks; None: only ``build`` knows them.
    """

    description: str
    build: Callable[[str, int, int, dict[str, Any]], nn.Module]
    settings: Mapping[str, type] | None = field(default_factory=dict)
    names: Callable[[], Sequence[str]] | None = None


libraries: Registry[NetworkLibrary] = Registry("library of networks")

ONNX = "onnx"
"""The network's name in a run whose weights are an ONNX file, which holds its own architecture."""

RENORMALISED = "@renormalised"
"""Suffix of the name of a network that renormalises its input: see :class:`Renormalised`."""
