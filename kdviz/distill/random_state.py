"""A training's random numbers apart from everybody else's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

Step = TypeVar("Step")


def with_own_random_state(steps: Iterator[Step], device: torch.device) -> Iterator[Step]:
    """The same steps, drawing from torch's generators as if nothing else did, and leaving these as they were.

    Args:
        steps: An iterator that seeds the generators before it draws.
        device: Device whose generator it uses, beside the CPU's.
    """
    devices = [device.index or 0] if device.type == "cuda" else []
    rng_states: tuple[Tensor, list[Tensor]] | None = None
    while True:
        with torch.random.fork_rng(devices):
            if rng_states is not None:
                torch.set_rng_state(rng_states[0])
                for index, state in zip(devices, rng_states[1], strict=True):
                    torch.cuda.set_rng_state(state, index)
            progress = next(steps, None)
            rng_states = torch.get_rng_state(), [torch.cuda.get_rng_state(index) for index in devices]
        if progress is None:
            return
        yield progress
