"""People who come, look at pages, let maps be computed, and go again: what they wait for, and the server's memory.

Most of them are sessions without a browser; a few have one, since only a browser loads scripts, fonts and pictures,
keeps an address and closes a tab.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from kdviz.bench.app_browser import FLAGS, chromium_path
from kdviz.bench.app_load import SAMPLES
from kdviz.bench.app_rows import TargetRow, repeated_row, single_row, slope
from kdviz.bench.app_server import Server
from kdviz.bench.app_sessions import Session
from kdviz.core.errors import KdvizError

PEOPLE, BROWSERS = 25, 3
_VISITS = 8  # after which a person leaves, and another one comes
_COMPUTES = 0.2  # share of the views of Compare whose maps nobody has had
_MASKS = 1000
_PATIENCE = 240.0  # seconds after which a person gives a page up
_WARM = 1 / 4  # share of the time in which caches may fill
_SAMPLING = 10.0  # seconds between two looks at the memory
_RERUN_MS = 100.0
_MAPS = "canvas.k-map"
_HEADING = "[data-testid=stMain] h1"
_PAGES: dict[str, tuple[dict[str, Any], ...]] = {
    "mistakes": ({"group": "any_wrong"}, {"group": "all", "page": 3}, {"group": "all", "class": 4}, {}),
    "temperature": ({}, {"study": "loss"}, {"study": "transfer-set"}),
    "attention": ({}, {"study": "loss"}),
    "shortcuts": ({}, {"condition": "patch"}),
    "cost": ({}, {"experiment": "cifar10"}),
}
"""Page -> views of it that people look at in turn."""


@dataclass
class _Log:
    """What was measured: seconds of runs and of pages in a browser, and (seconds, megabytes) of the memory."""

    reruns: list[float] = field(default_factory=list)
    maps: list[float] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    memory: list[tuple[float, float]] = field(default_factory=list)
    people: int = 0
    given_up: int = 0


def crowd(server: Server, seconds: float, pause: float, browsers: int = BROWSERS) -> Iterator[TargetRow]:
    """Rows of 25 people at a time who use the server for a while.

    Args:
        server: A freshly started server.
        seconds: For how long.
        pause: Mean of the seconds that a person looks at a view before asking for the next one.
        browsers: How many of them have a browser.

    Raises:
        KdvizError: The browser ended.
    """
    log = asyncio.run(_use(server, seconds, pause, browsers))
    among = {"people": log.people, "minutes": seconds / 60}
    text = f"{PEOPLE} people for {seconds:.0f} s, {browsers} in browsers: "
    reruns = [1000 * duration for duration in log.reruns]
    yield repeated_row("crowd_rerun", text + "a page's rerun", reruns, _RERUN_MS, "ms", judged="p95", where=among)
    yield repeated_row("crowd_maps", text + "maps that nobody had before", log.maps, math.inf, where=among)
    yield repeated_row("crowd_load", text + "a page is loaded and drawn in a browser", log.loads, math.inf, where=among)
    yield single_row("crowd_given_up", text + "views that never came", log.given_up, 0, "")
    yield _growth(text, log.memory, seconds)


def _growth(text: str, memory: list[tuple[float, float]], seconds: float) -> TargetRow:
    """The growth in an hour that is certain: two standard errors below the estimate, once caches had time to fill."""
    later = [(when, amount) for when, amount in memory if when >= _WARM * seconds]
    fit = slope([when / 3600 for when, _ in later], [amount for _, amount in later])
    text += f"the memory grows by {fit.value:+.0f} ± {2 * fit.error:.0f} MB an hour; at least"
    details = {"mb_per_hour": fit.value, "standard_error": fit.error, "memory": memory}
    return single_row("crowd_growth", text, fit.value - 2 * fit.error, 0.0, "MB", **details)


async def _use(server: Server, seconds: float, pause: float, browsers: int) -> _Log:
    async with Session(server.address, "compare") as first:  # the server loads torch for the first one
        await first.show({"sample": SAMPLES[0]})
        await first.settle()
    log, end = _Log(), time.monotonic() + seconds
    people = [_sessions(server, number, pause, end, log) for number in range(PEOPLE - browsers)]
    people += [_browsers(server, number, pause, end, log) for number in range(browsers)]
    await asyncio.gather(_watch(server, end, log), *people)
    return log


async def _watch(server: Server, end: float, log: _Log) -> None:
    start = time.monotonic()
    while time.monotonic() < end:
        with suppress(OSError):  # a process ended while it was counted
            amount = await asyncio.to_thread(lambda: server.memory()[0])
            log.memory.append((time.monotonic() - start, amount))
        await asyncio.sleep(_SAMPLING)


# without a browser ----------------------------------------------------------------------------------------------------


async def _sessions(server: Server, number: int, pause: float, end: float, log: _Log) -> None:
    """One person after another, half of them on Compare, until the end."""
    chance, pages = random.Random(number), list(_PAGES)
    while time.monotonic() < end:
        page = pages[number // 2 % len(pages)] if number % 2 else "compare"
        log.people += 1
        async with Session(server.address, page) as session:
            for visit in range(_VISITS):
                await asyncio.sleep(chance.expovariate(1 / pause))
                if time.monotonic() >= end:
                    return
                try:
                    await _view(session, page, visit, chance, log)
                except KdvizError:  # the person leaves, as people do
                    log.given_up += 1
                    break


async def _view(session: Session, page: str, visit: int, chance: random.Random, log: _Log) -> None:
    if page != "compare":
        views = _PAGES[page]
        log.reruns.append((await session.show(views[visit % len(views)])).seconds)
        return
    if chance.random() >= _COMPUTES:
        log.reruns.append((await session.show({"sample": chance.choice(SAMPLES)})).seconds)
        return
    start = time.monotonic()
    await session.show({"sample": chance.randrange(5000), "masks": _MASKS, "seed": chance.randrange(10**6)})
    await session.settle(_PATIENCE)
    log.maps.append(time.monotonic() - start)


# in a browser ---------------------------------------------------------------------------------------------------------


async def _browsers(server: Server, number: int, pause: float, end: float, log: _Log) -> None:
    """One person after another in a browser, each with an empty cache and a profile of their own."""
    from playwright.async_api import Error, TimeoutError, async_playwright  # pyright: ignore[reportMissingImports]

    chance = random.Random(1000 + number)
    try:
        async with async_playwright() as engine:
            launched = await engine.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
            while time.monotonic() < end:
                log.people += 1
                context = await launched.new_context(locale="en-US")
                context.set_default_timeout(1000 * _PATIENCE)
                try:
                    await _visits(await context.new_page(), server.address, chance, pause, end, log)
                except TimeoutError:
                    log.given_up += 1
                await context.close()
            await launched.close()
    except Error as error:
        raise KdvizError("The browser could not go on: {reason}", reason=str(error).splitlines()[0]) from error


async def _visits(page: Any, address: str, chance: random.Random, pause: float, end: float, log: _Log) -> None:
    for _ in range(_VISITS):
        await asyncio.sleep(chance.expovariate(1 / pause))
        if time.monotonic() >= end:
            return
        name = chance.choice(["compare", *_PAGES])
        query = {"sample": chance.choice(SAMPLES)} if name == "compare" else chance.choice(_PAGES[name])
        start = time.monotonic()
        await page.goto(f"{address}/{name}?{urlencode(query)}")
        await page.locator(_MAPS if name == "compare" else _HEADING).first.wait_for()
        log.loads.append(time.monotonic() - start)
