"""The batch size that is fastest on a device, found while the work is done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import torch

from kdviz.core.errors import ModelError


@dataclass
class BatchSize:
    """Finds the fastest batch size while the work is done: sizes are doubled for as long as that makes it faster.

    Attributes:
        current: What to use now.
        most: Never more than this.
        settled: Whether nothing is tried any more.
    """

    current: int
    most: int
    settled: bool = False
    _seconds: list[float] = field(default_factory=list)
    _best: tuple[float, int] = (float("inf"), 0)
    _doubted: bool = False

    def record(self, images: int, seconds: float) -> None:
        """A batch of ``current`` images took so long; the first one of a size only warms up and does not count."""
        if self.settled or images != self.current:
            return
        self._seconds.append(seconds / images)
        if len(self._seconds) < 3:
            return
        each = min(self._seconds[1:])
        self._seconds.clear()
        if each > 0.97 * self._best[0] and self._best[1]:
            # Other work on the machine can make a size look slow once; hardly twice.
            if self._doubted:
                self.current, self.settled = self._best[1], True
            self._doubted = True
            return
        self._best, self._doubted = (each, self.current), False
        if 2 * self.current > self.most:
            self.settled = True
        else:
            self.current *= 2

    def halve(self) -> None:
        """Out of memory: never again as many.

        Raises:
            ModelError: Not even one image fits.
        """
        if self.current == 1:
            raise ModelError("The device's memory is too small for one masked image.")
        self.current = self.most = max(1, self.current // 2)
        self.settled = True


def seconds_now(device: torch.device) -> float:
    """A clock that has waited for what the device still does."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
