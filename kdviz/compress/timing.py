"""How long a network takes for one picture."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.compress.forms import ModelForm
from kdviz.experiment import Experiment
from kdviz.models.networks import OnnxNetwork

_SMALL = 64 * 64  # pixels
_BURST_SECONDS, _BURST_CALLS = 0.01, 40  # a model's turn: as many calls as fit, at least one


_FEWEST_ROUNDS, _MOST_ROUNDS = 9, 60


@dataclass(frozen=True)
class Settings:
    """How a profile is made.

    Attributes:
        threads: Numbers of CPU threads to measure with.
        batches: Pictures in a call; empty: one, and as many as suit throughput.
        seconds: About how long the measuring of times takes, for each number of threads.
        device: Where PyTorch runs; ONNX Runtime always runs on the CPU, and is left out for another device.
        seed: Of the order of turns.
    """

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = ()
    seconds: float = 30.0
    device: str = "cpu"
    seed: int = 0

    def batches_for(self, experiment: Experiment) -> tuple[int, ...]:
        height, width = experiment.input.size
        return self.batches or (1, 256 if height * width <= _SMALL else 8)


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
