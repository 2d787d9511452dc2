"""How long a network takes for one picture."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.compress.forms import ModelForm
from kdviz.compress.profile import _BURST_CALLS, _BURST_SECONDS, _FEWEST_ROUNDS, _MOST_ROUNDS, Settings
from kdviz.experiment import Experiment
from kdviz.models.networks import OnnxNetwork

_SMALL = 64 * 64  # pixels


def timed(
    experiment: Experiment, forms: Sequence[ModelForm], threads: int, settings: Settings, device: torch.device
) -> Iterator[float]:
    """Take times, round by round; yield the share that is done."""
    calls: list[tuple[list[float], Callable[[], Any]]] = []
    for batch in settings.batches_for(experiment):
        specs = {one.run.spec for one in forms}
        pictures = {spec: torch.rand(batch, spec.channels, *spec.size) for spec in specs}
        for one in forms:
            times = one.times.setdefault((threads, batch), [])
            calls.append((times, _call(one.network, pictures[one.run.spec], device)))
    counts = [_calls_in_a_turn(call) for _, call in calls]
    order, start, rounds = np.random.default_rng(settings.seed), time.monotonic(), 0
    while rounds < _MOST_ROUNDS:
        for place in order.permutation(len(calls)):
            times, call = calls[place]
            times.append(_turn(call, counts[place]))
        rounds += 1
        spent = (time.monotonic() - start) / settings.seconds
        yield min(0.99, max(rounds / _MOST_ROUNDS, min(spent, rounds / _FEWEST_ROUNDS)))
        if spent >= 1 and rounds >= _FEWEST_ROUNDS:
            return


def _call(network: nn.Module, pictures: Tensor, device: torch.device) -> Callable[[], Any]:
    """One call on pictures that are where it takes them."""
    if isinstance(network, OnnxNetwork):
        array = pictures.numpy()
        return lambda: network.answers(array)
    there = pictures.to(device)
    if device.type != "cuda":
        return lambda: network(there)

    def waited() -> None:
        network(there)
        torch.cuda.synchronize(device)

    return waited


@torch.inference_mode()
def _calls_in_a_turn(call: Callable[[], Any]) -> int:
    call()  # prepares memory
    start = time.perf_counter()
    call()
    spent = max(time.perf_counter() - start, 1e-9)
    return int(min(_BURST_CALLS, max(1, _BURST_SECONDS / spent)))


@torch.inference_mode()
def _turn(call: Callable[[], Any], count: int) -> float:
    """The median time of some calls in a row, in milliseconds, after one that finds its data in the caches."""
    call()
    times = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(count):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    finally:
        if collecting:
            gc.enable()
    return 1000 * float(np.median(times))
