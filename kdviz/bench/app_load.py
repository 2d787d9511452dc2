"""The load of many people: the time of a page's run while all of them use it, and the memory."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from kdviz.bench.app_rows import TargetRow, median, percentile, repeated_row, single_row, slope
from kdviz.bench.app_server import Server
from kdviz.bench.app_sessions import PageRun, Session

SESSIONS = 25
KEPT = 128  # results that the server caches: until then memory may grow
SAMPLES = tuple(range(8))  # whose maps are in the cache
_LONG = {"masks": 16_000, "baseline2": "grey"}
_MOST_GB = 1.3
_MOST_GROWTH = 1.0  # MB in 100 computations: 128 MB in an hour of 25 people would go unnoticed for a day
_HOUR = 3600.0


@dataclass(frozen=True)
class Load:
    """Measurements of 25 sessions.

    Attributes:
        again: Runs of an unchanged page.
        others: Runs that showed another sample, whose maps were cached.
        alone: Runs of both kinds, before the job began.
        memory: Megabytes of the server's processes at the end, and how they were counted.
        pss: Megabytes by the kernel's proportional count.
    """

    again: list[PageRun]
    others: list[PageRun]
    alone: list[PageRun]
    memory: tuple[float, str]
    pss: float


def many_sessions(server: Server, seconds: float) -> Iterator[TargetRow]:
    """Runs of a page with 25 sessions and one job; memory with all of them open.

    Args:
        server: A freshly started server.
        seconds: Duration for which every session reruns once a second.
    """
    load = asyncio.run(_load(server, seconds))
    runs = load.again + load.others
    where = {
        "wait": median([run.wait for run in runs]) * 1000,
        "run and answer": median([run.seconds - run.wait for run in runs]) * 1000,
        "p95 of the wait": percentile([run.wait for run in runs], 95) * 1000,
        "p95 of the rest": percentile([run.seconds - run.wait for run in runs], 95) * 1000,
        "p95 unchanged": percentile([run.seconds for run in load.again], 95) * 1000,
        "p95 another sample": percentile([run.seconds for run in load.others], 95) * 1000,
        "p95 without the job": percentile([run.seconds for run in load.alone], 95) * 1000,
        "kB an answer": median([run.size for run in runs]) / 1000,
    }
    text = f"rerun of Compare, {SESSIONS} sessions once a second, one job running"
    yield repeated_row("rerun", text, [run.seconds * 1000 for run in runs], 100, "ms", judged="p95", where=where)
    amount, how = load.memory
    text = f"server memory with {SESSIONS} sessions ({how})"
    yield single_row("memory", text, amount / 1000, _MOST_GB, "GB", counted=how, pss_gb=load.pss / 1000)


async def _load(server: Server, seconds: float) -> Load:
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(Session(server.address, "compare")) for _ in range(SESSIONS)]
        for sample in SAMPLES:
            await sessions[0].show({"sample": sample})
            await sessions[0].settle()
        for number, session in enumerate(sessions):
            await session.show({"sample": SAMPLES[number % len(SAMPLES)]})
        alone = [run for pair in await everybody(sessions, seconds / 3) for run in pair]
        async with one_job(server):
            both = await everybody(sessions, seconds)
        return Load([again for again, _ in both], [other for _, other in both], alone, server.memory(), server.pss())


async def everybody(sessions: Sequence[Session], seconds: float) -> list[tuple[PageRun, PageRun]]:
    """Every session runs its page once a second, unchanged and with another sample in turn."""
    limit = time.monotonic() + seconds

    async def use(number: int, session: Session) -> list[tuple[PageRun, PageRun]]:
        await asyncio.sleep(number / len(sessions))
        pairs, sample = [], number
        while time.monotonic() < limit or not pairs:
            again = await _each_second(session, sample)
            sample += 1
            pairs.append((again, await _each_second(session, sample)))
        return pairs

    used = await asyncio.gather(*(use(number, session) for number, session in enumerate(sessions)))
    return [pair for session_pairs in used for pair in session_pairs]


async def _each_second(session: Session, sample: int) -> PageRun:
    run = await session.show({"sample": SAMPLES[sample % len(SAMPLES)]})
    await asyncio.sleep(max(0.0, 1 - run.seconds))
    return run


@asynccontextmanager
async def one_job(server: Server, first_seed: int = 5000) -> AsyncIterator[None]:
    """A session that computes without end, and watches as a browser does."""

    async def compute(session: Session) -> None:
        seed = first_seed
        while True:
            seed += 1
            await session.show({**_LONG, "seed": seed})
            await session.settle(math.inf)

    async with Session(server.address, "compare") as session:
        task = asyncio.create_task(compute(session))
        await asyncio.sleep(1)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


# growth ---------------------------------------------------------------------------------------------------------------


def growth(server: Server, computations: int, masks: int, hour: bool) -> Iterator[TargetRow]:
    """Memory while one computation follows another, each of a new picture or new masks.

    Args:
        server: A freshly started server.
        computations: Number of computations to measure, after as many as fill the server's cache.
        masks: Number of masks of each.
        hour: Continue for an hour instead.
    """
    end = time.monotonic() + _HOUR
    unfinished: Callable[[int], bool] = (
        (lambda _: time.monotonic() < end) if hour else (lambda count: count < computations)
    )
    start = time.monotonic()
    done, amounts = asyncio.run(_compute(server, masks, unfinished))
    fit = slope(done, amounts)
    growth, error = 100 * fit.value, 100 * fit.error
    lower_bound = growth - 2 * error  # two standard errors below the estimate
    text = f"growth of the server's memory in 100 computations ({growth:+.2f} ± {2 * error:.2f} MB); at least"
    details: dict[str, Any] = {
        "mb_per_100": growth,
        "standard_error": error,
        "computations": done[-1] if done else 0,
        "masks": masks,
        "seconds": time.monotonic() - start,
        "first_mb": amounts[0] if amounts else math.nan,
        "last_mb": amounts[-1] if amounts else math.nan,
        "megabytes": amounts,
    }
    yield single_row("memory_growth", text, lower_bound, _MOST_GROWTH, "MB", **details)


async def _compute(server: Server, masks: int, unfinished: Callable[[int], bool]) -> tuple[list[float], list[float]]:
    """Numbers of computations, and the megabytes after them."""
    done: list[float] = []
    amounts: list[float] = []
    async with Session(server.address, "compare") as session:
        count = -(KEPT + 22)
        while count < 0 or unfinished(count):
            await session.show({"sample": (7 * count) % 5000, "masks": masks, "seed": 9000 + count % 997})
            await session.settle()
            count += 1
            if count >= 0 and count % 5 == 0:
                done.append(count)
                amounts.append(server.memory()[0])
    return done, amounts
