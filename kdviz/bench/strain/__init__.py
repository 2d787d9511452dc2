"""The server under strain: idle connections, slow readers, uploads that stall, heavy jobs, dying workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

from kdviz.bench.app_load import SAMPLES, everybody
from kdviz.bench.app_processes import process_seconds
from kdviz.bench.app_rows import TargetRow, median, repeated_row
from kdviz.bench.app_server import Server
from kdviz.bench.app_sessions import PageRun, Session
from kdviz.bench.strain.connections import STRAINS
from kdviz.bench.strain.deaths import worker_deaths

READERS = 20
_MOST_MS = 100.0


def strain(server: Server, seconds: float, deaths: int, pause: float) -> Iterator[TargetRow]:
    """Reruns of 20 people, each once a second, while something strains the server; then a worker that dies.

    Args:
        server: A freshly started server.
        seconds: Duration of each strain.
        deaths: How often the worker is killed.
        pause: Seconds between two deaths.
    """
    yield from asyncio.run(_strains(server, seconds))
    yield from asyncio.run(worker_deaths(server, deaths, pause))


async def _strains(server: Server, seconds: float) -> list[TargetRow]:
    rows = []
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(Session(server.address, "compare")) for _ in range(READERS)]
        for sample in SAMPLES:
            await readers[0].show({"sample": sample})
            await readers[0].settle()
        for number, reader in enumerate(readers):
            await reader.show({"sample": SAMPLES[number % len(SAMPLES)]})
        for key, (text, strained) in STRAINS.items():
            before = server.memory()[0]
            async with strained(server):
                started, used = time.monotonic(), process_seconds(server.pids[0])
                runs = [run for pair in await everybody(readers, seconds) for run in pair]
                share = (process_seconds(server.pids[0]) - used) / (time.monotonic() - started)
                where = {"MB more": server.memory()[0] - before, "cores of the page server": share}
            rows.append(_row(key, f"rerun with {READERS} people and {text}", runs, where))
    return rows


def _row(key: str, text: str, runs: list[PageRun], where: dict[str, float]) -> TargetRow:
    where = {**where, "wait": 1000 * median([run.wait for run in runs])}
    return repeated_row(
        f"strain_{key}", text, [1000 * run.seconds for run in runs], _MOST_MS, "ms", judged="p95", where=where
    )
