"""Timing of forward passes."""

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
_BURST_SECONDS, _BURST_CALLS = 0.01, 40  # the turn of a model: as many calls as fit, at least one


_FEWEST_ROUNDS, _MOST_ROUNDS = 9, 60


@dataclass(frozen=True)
class Settings:
    """Settings of a profile.

    Attributes:
        threads: Numbers of CPU threads to measure with.
        batches: Pictures in a call; empty: one, and a batch for throughput.
        seconds: Approximate duration of the timing, for each number of threads.
        device: Device of PyTorch; ONNX Runtime always runs on the CPU, and is left out for another device.
        seed: Seed of the order of turns.
    """

    threads: tuple[int, ...] = (1,)
    batches: tuple[int, ...] = ()
    seconds: float = 30.0
    device: str = "cpu"
    seed: int = 0

    def batches_for(self, experiment: Experiment) -> tuple[int, ...]:
        height, width = experiment.input.size
        return self.batches or (1, 256 if height * width <= _SMALL else 8)


def time_forms(
    experiment: Experiment, forms: Sequence[ModelForm], threads: int, settings: Settings, device: torch.device
) -> Iterator[float]:
    """Time all forms, round by round; yield the share that is done."""
    calls: list[tuple[list[float], Callable[[], Any]]] = []
    for batch in settings.batches_for(experiment):
        specs = {form.run.spec for form in forms}
        pictures = {spec: torch.rand(batch, spec.channels, *spec.size) for spec in specs}
        for form in forms:
            times = form.times.setdefault((threads, batch), [])
            calls.append((times, _call(form.network, pictures[form.run.spec], device)))
    counts = [_calls_per_turn(call) for _, call in calls]
    order, start, rounds = np.random.default_rng(settings.seed), time.monotonic(), 0
    while rounds < _MOST_ROUNDS:
        for index in order.permutation(len(calls)):
            times, call = calls[index]
            times.append(_turn(call, counts[index]))
        rounds += 1
        spent = (time.monotonic() - start) / settings.seconds
        yield min(0.99, max(rounds / _MOST_ROUNDS, min(spent, rounds / _FEWEST_ROUNDS)))
        if spent >= 1 and rounds >= _FEWEST_ROUNDS:
            return


def time_ratio(network: nn.Module, reference: nn.Module, inputs: Tensor, rounds: int = 25) -> float:
    """The time of a network's forward pass over that of another one, both on the CPU with one thread.

    In each round both have their turn, one right after the other and in alternating order, so that other load of the
    machine slows both down; the median of the rounds' ratios is what is left of it.

    Args:
        network, reference: Networks in evaluation mode.
        inputs: Inputs of both, (N, C, H, W).
        rounds: Number of rounds, odd.
    """
    threads_before = torch.get_num_threads()
    calls = [_call(each, inputs, inputs.device) for each in (network, reference)]
    ratios = []
    try:
        torch.set_num_threads(1)
        counts = [_calls_per_turn(call) for call in calls]
        for number in range(rounds):
            times = [0.0, 0.0]
            for index in (0, 1) if number % 2 else (1, 0):
                times[index] = _turn(calls[index], counts[index])
            ratios.append(times[0] / times[1])
    finally:
        torch.set_num_threads(threads_before)
    return float(np.median(ratios))


def _call(network: nn.Module, pictures: Tensor, device: torch.device) -> Callable[[], Any]:
    """A call of the network on pictures that are on its device."""
    if isinstance(network, OnnxNetwork):
        array = pictures.numpy()
        return lambda: network.answers(array)
    inputs = pictures.to(device)
    if device.type != "cuda":
        return lambda: network(inputs)

    def synchronised() -> None:
        network(inputs)
        torch.cuda.synchronize(device)

    return synchronised


@torch.inference_mode()
def _calls_per_turn(call: Callable[[], Any]) -> int:
    call()  # allocates memory
    start = time.perf_counter()
    call()
    spent = max(time.perf_counter() - start, 1e-9)
    return int(min(_BURST_CALLS, max(1, _BURST_SECONDS / spent)))


@torch.inference_mode()
def _turn(call: Callable[[], Any], count: int) -> float:
    """The median time of consecutive calls, in milliseconds, after one call that fills the caches."""
    call()
    times = []
    gc_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(count):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    finally:
        if gc_enabled:
            gc.enable()
    return 1000 * float(np.median(times))
