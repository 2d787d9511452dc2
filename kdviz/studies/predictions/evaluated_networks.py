"""The networks of an evaluation: as they are given, or as faster copies whose logits differ by rounding."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kdviz.experiment import Run
from kdviz.models.inputs import AdaptedNetwork
from kdviz.rise.engine import Prepared, prepare

_PROBES = 4  # pictures on which a copy is compared with its network


class EvaluatedNetworks:
    """Each model's network on a device, from its own input to the experiment's classes.

    Args:
        runs: Role -> run with a model.
        device: Device of the networks.
        fast: Whether to run copies in float32 with batch norms folded into convolutions and activations fused into
            them, where those give the same logits up to rounding; see :func:`kdviz.rise.engine.prepare`.
    """

    def __init__(self, runs: Mapping[str, Run], device: torch.device, fast: bool = False):
        self._runs, self.device, self._fast = runs, device, fast
        self._copies: dict[str, Prepared] = {}

    def logits(self, role: str, inputs: Tensor) -> Tensor:
        """Logits (n, classes of the experiment), float32 on the CPU, for the network's own inputs (n, c, h, w)."""
        order = self._runs[role].class_order
        inputs = inputs.to(self.device)
        with torch.inference_mode():
            logits = (self._from_copy if self._fast else self._as_given)(role, inputs).float().cpu()
        return (logits if order is None else logits[:, list(order)]).clone()

    def _as_given(self, role: str, inputs: Tensor) -> Tensor:
        return self._network(role)(_channels_last(inputs, inputs.shape[1] > 1))

    def _from_copy(self, role: str, inputs: Tensor) -> Tensor:
        if role not in self._copies:  # once: to ask for it again compares all weights with earlier ones
            self._copies[role] = prepare(self._network(role), inputs[:_PROBES], "float32")
        copy = self._copies[role]
        return copy.forward(_channels_last(inputs, copy.channels_last))

    def _network(self, role: str) -> nn.Module:
        """The network without its adaptation to the experiment's input."""
        model = self._runs[role].on(self.device)
        return model.network if isinstance(model, AdaptedNetwork) else model


def _channels_last(inputs: Tensor, wanted: bool) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last) if wanted else inputs
