"""Registry of architectures."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from kdviz.core.registry import Registry

networks: Registry[Callable[..., nn.Module]] = Registry("network")

ONNX = "onnx"
"""The network's name in a run whose weights are an ONNX file, which holds its own architecture."""

RENORMALISED = "@renormalised"
"""Suffix of the name of a network that renormalises its input: see :class:`Renormalised`."""
