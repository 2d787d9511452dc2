"""Structured pruning of networks whose layers depend on each other, as in residual networks, by torch-pruning.

Channels that are added to each other, or that a depthwise convolution takes over, go together (DepGraph, Fang et al.,
2023, arXiv:2301.12900). What is left is recorded as the shapes of its tensors, so that the network is built again by
its name, and no file holds code.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdviz.core.errors import ModelError, Sentence
from kdviz.models.narrowed import narrowed, smaller_shapes

_BATCH = 50
_TOLERANCE = 1e-3  # of the logits' largest, for the network built again


@dataclass(frozen=True)
class NarrowedNetwork:
    """A network without its least important channels.

    Attributes:
        shapes: Its setting ``shapes``.
        state: Its weights, by name.
    """

    shapes: dict[str, list[int]]
    state: dict[str, Tensor]


def pruning_problem() -> str:
    """Why channels that depend on each other cannot be pruned on this machine; empty when they can."""
    try:
        import torch_pruning  # noqa: F401  pyright: ignore[reportMissingImports]
    except ImportError:
        return Sentence('Pruning channels of this network needs torch-pruning: pip install "kdviz[prune]"')
    return ""


def prune_dependent_channels(
    network: nn.Module, build: Callable[[], nn.Module], share: float, inputs: Tensor, targets: Tensor
) -> NarrowedNetwork:
    """Leave the least important channels of every group of layers out, the same share of each.

    Importance is (sum of weight x gradient)^2 over a channel's weights in all layers of its group: the square of the
    change of the loss, to first order, if they were 0 (Molchanov et al., 2019, arXiv:1906.10771).

    Args:
        network: A network in evaluation mode; it is not changed.
        build: Builds the network as its name says, without any channels left out.
        share: Share of the channels that go, in (0, 1).
        inputs: Inputs of the network, (N, C, H, W).
        targets: Their labels, int64 (N,), or a teacher's probabilities of the classes, float (N, classes).

    Raises:
        ModelError: torch-pruning cannot prune it, or what is left could not be built again.
    """
    pruned = _pruned(copy.deepcopy(network).requires_grad_(True), share, inputs, targets)
    state = {name: tensor.detach().clone() for name, tensor in pruned.state_dict().items()}
    shapes = smaller_shapes(state, build())
    if shapes == smaller_shapes(network.state_dict(), build()):
        raise ModelError("This network has no channels that could be left out: all of them belong to its answer.")
    require_same(pruned, build, shapes, state, inputs[:2])
    return NarrowedNetwork(shapes, state)


def _pruned(network: nn.Module, share: float, inputs: Tensor, targets: Tensor) -> nn.Module:
    import torch_pruning  # pyright: ignore[reportMissingImports]

    for batch, wanted in zip(inputs.split(_BATCH), targets.split(_BATCH), strict=True):
        F.cross_entropy(network(batch), wanted, reduction="sum").backward()
    layers: list[nn.Module] = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on parameters outside of layers, which are pruned as well
            torch_pruning.pruner.BasePruner(
                network,
                inputs[:2],
                importance=torch_pruning.importance.GroupTaylorImportance(),
                pruning_ratio=share,
                ignored_layers=layers[-1:],
            ).step()
            network(inputs[:2])
    except Exception as error:  # it traces the network, which may raise anything
        raise _cannot(error) from error
    return network.requires_grad_(False)


def require_same(
    pruned: Callable[[Tensor], Tensor],
    build: Callable[[], nn.Module],
    shapes: Any,
    state: dict[str, Tensor],
    inputs: Tensor,
) -> None:
    """Check that the network that will be opened computes what the pruned one does."""
    try:
        again = narrowed(build(), "pruned", shapes).eval()
        again.load_state_dict(state)
        with torch.no_grad():
            expected, answers = pruned(inputs), again(inputs)
    except Exception as error:  # the network's own code with tensors of other shapes
        raise _cannot(error) from error
    if expected.shape != answers.shape or (expected - answers).abs().max() > _TOLERANCE * expected.abs().max():
        raise ModelError(
            "The channels of this network cannot be pruned: built again, it would answer otherwise. Single weights of "
            "any network can be: --pattern weights."
        )


def _cannot(error: Exception) -> ModelError:
    reason = str(error).strip().partition("\n")[0]
    return ModelError(
        "torch-pruning cannot prune the channels of this network ({reason}). Single weights of any network can be "
        "pruned: --pattern weights.",
        reason=reason,
    )
