"""Which of the layers that ran give a network's feature maps: the last ones, and the last ones of each size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdviz.distill.objectives.registry import explanation_losses, feature_losses

_MOST_STAGES = 4


@dataclass(frozen=True, eq=False)  # compared by identity: tensors have no truth value
class TracedModule:
    """A module that ran, with its tensors. They are kept to the end of the pass: reused memory would look the same."""

    name: str
    module: nn.Module
    input: Any
    output: Any


def last_maps(before: list[TracedModule]) -> str | None:
    """The outermost module that gives the last maps, except for dropout and average pooling.

    None where tokens come after them, or the channels are last: these are not (N, C, H, W).

    Args:
        before: The modules that ran before the head, in the order in which they finished.
    """
    for call in reversed(_spatial(before)):
        return call.name if _is_maps(call) else None
    return None


def stage_maps(before: list[TracedModule]) -> tuple[str, ...]:
    """The outermost modules that give the last maps of each height and width, in their order: the ends of stages.

    The last four, since the maps of a stem are large; none where :func:`last_maps` finds none.

    Args:
        before: The modules that ran before the head, in the order in which they finished.
    """
    if last_maps(before) is None:
        return ()
    of_size = {tuple(call.output.shape[2:]): call for call in _spatial(before) if _is_maps(call) and not _pads(call)}
    ends = set(of_size.values())
    return tuple(call.name for call in before if call in ends)[-_MOST_STAGES:]


def _spatial(calls: list[TracedModule]) -> list[TracedModule]:
    """Those that give maps of more than one position, or tokens."""
    ignored = nn.Dropout | nn.Dropout2d | nn.AdaptiveAvgPool2d
    outputs = [call for call in calls if isinstance(call.output, Tensor) and not isinstance(call.module, ignored)]
    return [call for call in outputs if call.output.ndim in (3, 4) and call.output.shape[2:].numel() > 1]


def _pads(call: TracedModule) -> bool:
    """Whether it only adds a border, so that its size is no stage's."""
    return isinstance(call.module, nn.ConstantPad2d | nn.ReflectionPad2d | nn.ReplicationPad2d | nn.CircularPad2d)


def _is_maps(call: TracedModule) -> bool:
    return call.output.ndim == 4 and type(call.module) not in (nn.Linear, nn.LayerNorm)  # their channels are last


def why_no_maps(loss: str, network: nn.Module, layer: str) -> str:
    """Why a loss has no maps to compare in a network, or in its layer where one is named, and what to do instead."""
    name = type(network).__name__
    kind = explanation_losses if loss in explanation_losses else feature_losses
    losses = [loss_name for loss_name in kind if not kind[loss_name].needs_maps]
    instead = f"{', '.join(losses[:-1])} or {losses[-1]}"
    if layer:
        return f"The layer '{layer}' of '{name}' gives no spatial map for {loss}; choose another, or use {instead}."
    convolves = any(isinstance(module, nn.Conv2d) for module in network.modules())
    lacks = "no spatial map before its head" if convolves else "no convolution"
    return f"'{name}' has {lacks}, so {loss} has nothing to compare; use {instead} on its penultimate layer."
