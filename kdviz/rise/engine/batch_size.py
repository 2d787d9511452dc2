"""The batch size that is fastest on a device, found while it runs."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from kdviz.core.errors import ModelError


@dataclass
class BatchSize:
    """Search for the fastest batch size during a run: sizes are doubled for as long as that makes it faster.

    Attributes:
        current: Size to use now.
        limit: Largest size to try.
        settled: Whether the search has ended.
    """

    current: int
    limit: int
    settled: bool = False
    _seconds: list[float] = field(default_factory=list)
    _best: tuple[float, int] = (float("inf"), 0)
    _slow_once: bool = False

    def record(self, images: int, seconds: float) -> None:
        """Record the time of a batch of ``current`` images; the first batch of a size is a warm-up."""
        if self.settled or images != self.current:
            return
        self._seconds.append(seconds / images)
        if len(self._seconds) < 3:
            return
        seconds_per_image = min(self._seconds[1:])
        self._seconds.clear()
        if seconds_per_image > 0.97 * self._best[0] and self._best[1]:
            # Other load on the machine can make a size look slow once, but hardly twice.
            if self._slow_once:
                self.current, self.settled = self._best[1], True
            self._slow_once = True
            return
        self._best, self._slow_once = (seconds_per_image, self.current), False
        if 2 * self.current > self.limit:
            self.settled = True
        else:
            self.current *= 2

    def halve(self) -> None:
        """Halve the size after an out-of-memory error, and never use more again.

        Raises:
            ModelError: Not even one image fits.
        """
        if self.current == 1:
            raise ModelError("The device's memory is too small for one masked image.")
        self.current = self.limit = max(1, self.current // 2)
        self.settled = True


def seconds_now(device: torch.device) -> float:
    """The time in seconds, after waiting for pending work of the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
