"""A worker that dies again and again: the time until somebody has maps again."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress

from kdviz.bench.app_rows import TargetRow, repeated_row, single_row
from kdviz.bench.app_server import Server
from kdviz.bench.app_sessions import Session
from kdviz.core.errors import KdvizError

_LOST = b"The process that computes ended unexpectedly"
_TRIES = 5
_LONGEST = 15.0  # seconds: a worker that is not forked loads torch again


class _Person(Session):
    """Reads whether a computation was lost with its worker."""

    async def __aenter__(self) -> _Person:
        await super().__aenter__()
        return self

    lost = False

    def _receive(self, message: bytes) -> None:
        self.lost = self.lost or _LOST in message
        super()._receive(message)

    async def maps(self, query: dict[str, int]) -> int:
        """Ask for maps until they come, as somebody does who is asked to try again; how often they were lost."""
        for tries in range(_TRIES):
            self.lost = False
            await self.show({**query, "seed": query["seed"] + 1000 * tries})
            await self.settle()
            if not self.lost:
                return tries
        raise KdvizError("No maps come after the worker was killed.")


async def worker_deaths(server: Server, deaths: int, pause: float) -> list[TargetRow]:
    """Kill the worker while a computation is under way, and ask for another one: the time until its maps are there."""
    values, lost = [], 0
    async with _Person(server.address, "compare") as session:
        for number in range(deaths):
            await session.show({"sample": 11, "masks": 16_000, "seed": 700_000 + number})
            await asyncio.sleep(pause)
            with suppress(ProcessLookupError):
                os.kill(server.worker, signal.SIGKILL)
            started = time.perf_counter()
            lost += await session.maps({"sample": 12 + number, "masks": 100, "seed": 800_000 + number})
            values.append(time.perf_counter() - started)
    text = f"maps after the worker was killed, {deaths} times"
    return [
        repeated_row("strain_deaths", text, values, _LONGEST, "s", judged="worst"),
        single_row("strain_lost", "computations after it that had to be asked for again", lost, deaths, ""),
    ]
