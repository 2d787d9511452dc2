"""Times of two networks beside each other, by a clock that the test turns; nothing is timed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kdviz.compress import timing


class Timed(nn.Module):
    """A network whose calls move the clock by its own time, times how slow the machine is by then."""

    def __init__(self, clock: list[float], seconds: float, calls: list[str], name: str):
        super().__init__()
        self.clock, self.seconds, self.calls, self.name = clock, seconds, calls, name

    def forward(self, inputs: Tensor) -> Tensor:
        slowness = 1 + self.clock[0] ** 2 % 7  # other load, which comes and goes
        self.clock[0] += self.seconds * slowness
        self.calls.append(self.name)
        return inputs


def ratio(monkeypatch: pytest.MonkeyPatch, own: float, reference: float, slow: bool = False) -> tuple[float, list[str]]:
    clock, calls = [1.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    if not slow:
        monkeypatch.setattr(Timed, "forward", _steady)
    networks = [Timed(clock, own, calls, "own"), Timed(clock, reference, calls, "reference")]
    return timing.time_ratio(networks[0], networks[1], torch.zeros(1), 9), calls


def _steady(network: Timed, inputs: Tensor) -> Tensor:
    network.clock[0] += network.seconds
    network.calls.append(network.name)
    return inputs


def test_the_ratio_is_that_of_the_times(monkeypatch):
    assert ratio(monkeypatch, 0.3, 0.1)[0] == pytest.approx(3)
    assert ratio(monkeypatch, 0.1, 0.1)[0] == pytest.approx(1)


def test_both_have_turns_one_after_the_other_in_alternating_order(monkeypatch):
    threads = torch.get_num_threads()
    _ratio, calls = ratio(monkeypatch, 0.3, 0.1)
    turns = calls[4:]  # after two calls of each that find out how many fit in a turn: one
    assert turns[:8] == ["reference"] * 2 + ["own"] * 4 + ["reference"] * 2
    assert (turns.count("own"), turns.count("reference")) == (18, 18)
    assert torch.get_num_threads() == threads


def test_load_of_the_machine_that_comes_and_goes_does_not_decide(monkeypatch):
    assert ratio(monkeypatch, 0.003, 0.001, slow=True)[0] == pytest.approx(3, rel=0.1)
