"""A network in evaluation mode for a while, or in training mode without traces in its statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards each module's former mode, since a part may have been frozen in it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def with_own_statistics(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, but batch norms that are trained take the statistics of what they see, and do not keep them.

    With kept statistics nothing holds the scale of what comes before a batch norm: its gradient has no part that the
    norm would take away, variances grow without bound, and in evaluation mode the network knows nothing any more.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    kept = [norm.track_running_stats for norm in norms]
    with evaluating(network):
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        try:
            yield
        finally:
            for norm, tracks in zip(norms, kept, strict=True):
                norm.track_running_stats = tracks
