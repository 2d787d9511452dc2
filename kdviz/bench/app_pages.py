"""Waiting times of one person in a browser: pages, maps, Stop, thumbnails. Times are taken in the page itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from kdviz.bench.app_browser import browser, click_parts, new_page, time_shown, wait_until, watch
from kdviz.bench.app_processes import cpu_seconds, idle_from
from kdviz.bench.app_rows import TargetRow, medians, percentile, repeated_row, single_row
from kdviz.bench.app_server import Server
from kdviz.core.errors import KdvizError

MASKS = 2000
LONG = 16_000  # masks of a job that is still running when it is stopped
PEOPLE = 5
_FRAME_MS = 16.0
_STRIP = ".kg .strip button"
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
_NAVIGATION = """
(() => {
  const load = performance.getEntriesByType("navigation")[0];
  const [sent, received] = [kdvizBench.sent, kdvizBench.received];
  return { "page's HTML": load.responseEnd, "scripts and connection": (sent[0] ?? NaN) - load.responseEnd,
    "until the server answers": (received[0] ?? NaN) - (sent[0] ?? NaN) };
})()
"""


def _settled(masks: int = MASKS) -> str:
    return f"b.find('{_STRIP}') && b.maps()?.masks.every((done) => done >= {masks})"


# opening --------------------------------------------------------------------------------------------------------------


def opening(repeats: int, starts: int) -> Iterator[TargetRow]:
    """First paint and usable page: right after the server's start, and warm."""
    first: list[float] = []
    since_start: list[float] = []
    paints: list[float] = []
    warm: dict[str, list[float]] = {"": [], "compare": []}
    parts: dict[str, list[dict[str, float]]] = {"": [], "compare": []}
    for number in range(starts):
        with Server() as server, browser() as launched:
            start = time.monotonic()
            first.append(_open(launched, server, "")[1])
            since_start.append(server.seconds + time.monotonic() - start)
            if number < starts - 1:
                continue
            for path in warm:
                _open(launched, server, path)  # warm-up
            for path in [*warm] * repeats:
                painted, usable, where = _open(launched, server, path)
                paints.append(painted)
                warm[path].append(usable)
                parts[path].append(where)
    all_parts = medians([part for page_parts in parts.values() for part in page_parts])
    yield repeated_row("first_paint", "first contentful paint, empty cache", paints, 1.5, where=all_parts)
    yield repeated_row(
        "usable_first_screen", "first screen usable, warm server", warm[""], 2.0, where=medians(parts[""])
    )
    text = "Compare usable with maps, warm server"
    yield repeated_row("usable_compare", text, warm["compare"], 2.0, where=medians(parts["compare"]))
    row = repeated_row("usable_after_start", "first screen usable, first view after the start", first, 4.0)
    yield TargetRow(
        row.key, row.text, row.value, row.unit, {**row.details, "seconds_since_start": since_start}, row.target
    )


def _open(launched: Any, server: Server, path: str) -> tuple[float, float, dict[str, float]]:
    """Open a page with an empty cache: seconds until first paint and until it is usable, and their parts.

    Compare is usable when its maps are settled; any other page when its run has ended.
    """
    with new_page(launched) as page:
        page.goto(f"{server.address}/{path}", wait_until="commit")
        usable = wait_until(page, f"b.quiet() && ({_settled() if path else 'true'})", "a page that can be used") / 1000
        wait_until(page, f"{_PAINTED} !== undefined", "anything")  # it is reported only after it is on screen
        painted = page.evaluate(_PAINTED) / 1000
        where = {name: value / 1000 for name, value in page.evaluate(_NAVIGATION).items()}
        return painted, usable, {**where, "the page's run and drawing": usable - sum(where.values())}


# maps -----------------------------------------------------------------------------------------------------------------


def compare(server: Server, repeats: int, masks: int = MASKS) -> Iterator[TargetRow]:
    """Times from a click on a sample to its maps; then interactions in the browser alone."""
    first: list[float] = []
    settled: list[float] = []
    first_parts: list[dict[str, float]] = []
    settled_parts: list[dict[str, float]] = []
    with browser() as launched, new_page(launched) as page:
        for number in range(repeats):
            button = _another_sample(page, server, number, masks)
            _watch_maps(page, masks)
            page.locator(_STRIP).nth(button).click()
            for name, times, parts in (("first", first, first_parts), ("settled", settled, settled_parts)):
                seconds, where = click_parts(page, time_shown(page, name, "maps"))
                times.append(seconds)
                parts.append(where)
        yield repeated_row("first_maps", "click to first maps", first, 0.7, where=medians(first_parts))
        text = f"click to settled maps, {masks:,} masks, MNIST"
        yield repeated_row("settled_maps", text, settled, 2.5, where=medians(settled_parts))
        yield from _in_the_browser(page, 30 if repeats < 5 else 120)


def _another_sample(page: Any, server: Server, seed: int, masks: int = MASKS) -> int:
    """Open Compare with new masks; return the index of a thumbnail that is not selected."""
    page.goto(f"{server.address}/compare?masks={masks}&seed={1000 + seed}", wait_until="commit")
    wait_until(page, f"b.quiet() && ({_settled(masks)})", "settled maps")
    count = page.evaluate(f"kdvizBench.all('{_STRIP}').length")
    return 1 + seed % (count - 1)


def _watch_maps(page: Any, masks: int = MASKS) -> None:
    before = page.evaluate("kdvizBench.maps().name")
    watch(page, "first", "b.maps()?.masks[0] > 0 && b.maps().name !== value", before)
    watch(page, "settled", f"b.maps()?.name !== value && ({_settled(masks)})", before)


_ACTS = {
    "opacity": "const node = b.all('.kv input[type=range]')[0]; return (i) => { node.value = 20 + (7 * i) % 80;"
    " node.dispatchEvent(new Event('input', { bubbles: true })); };",
    "threshold": "const node = b.all('.kv input[type=range]')[1]; return (i) => { node.value = (7 * i) % 80;"
    " node.dispatchEvent(new Event('input', { bubbles: true })); };",
    "colour map": "const node = b.find('.kv select'); return (i) => {"
    " node.selectedIndex = i % node.options.length; node.dispatchEvent(new Event('change', { bubbles: true })); };",
    "linked hover": "const node = b.find('.kv canvas.k-map'); const box = node.getBoundingClientRect(); return (i) =>"
    " node.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, composed: true,"
    " clientX: box.left + box.width * ((i * 0.37) % 1), clientY: box.top + box.height * ((i * 0.61) % 1) }));",
}


def _in_the_browser(page: Any, count: int) -> Iterator[TargetRow]:
    """Work on the main thread per frame, and requests to the server meanwhile."""
    traffic = 0
    page.wait_for_timeout(500)  # for what follows the last maps
    for name, script in _ACTS.items():
        setup = f"(() => {{ const b = kdvizBench; {script} }})()"
        before = page.evaluate("kdvizBench.traffic()")
        work = page.evaluate(f"kdvizBench.frames({setup}, {count})")
        pace = page.evaluate(f"kdvizBench.pace({setup}, {count})")
        page.wait_for_timeout(600)  # for handlers that wait until input rests
        traffic += page.evaluate("kdvizBench.traffic()") - before
        where = {"time between frames": percentile(pace, 50), "p95": percentile(pace, 95)}
        key = f"frame_{name.replace(' ', '_')}"
        yield repeated_row(key, f"{name}: work for a frame", work, _FRAME_MS, "ms", judged="p95", where=where)
    yield single_row("frame_requests", "messages and requests during all of these", traffic, 0, "")


# stopping -------------------------------------------------------------------------------------------------------------


def stopping(server: Server, repeats: int) -> Iterator[TargetRow]:
    """Times from Stop to its display, and from a closed tab to an idle worker."""
    stop_times: list[float] = []
    parts: list[dict[str, float]] = []
    with browser() as launched:
        for number in range(repeats):
            with new_page(launched) as page:
                _long_job(page, server, number)
                watch(page, "stopped", "b.find('.st-key-again button') && !b.find('.st-key-stop button')")
                page.locator(".st-key-stop button").click()
                seconds, where = click_parts(page, time_shown(page, "stopped", "that it stopped"))
                stop_times.append(seconds)
                parts.append(where)
        yield repeated_row("stop_shown", "Stop shown as stopped", stop_times, 0.5, where=medians(parts))
        idle_times = [_close(launched, server, repeats + number) for number in range(repeats)]
        text = "a closed tab's work cancelled: the worker's CPU rests"
        yield repeated_row("closed_tab", text, idle_times, 2.0)


def _long_job(page: Any, server: Server, seed: int) -> None:
    """Start a job that takes far longer than it is allowed to run."""
    query = f"masks={LONG}&baseline2=grey&seed={2000 + seed}"
    page.goto(f"{server.address}/compare?{query}", wait_until="commit")
    wait_until(page, "b.maps() && b.find('.st-key-stop button')", "a computation under way")


def _close(launched: Any, server: Server, seed: int) -> float:
    """Seconds from closing a tab until the worker is idle.

    Raises:
        KdvizError: It was not idle within 15 seconds, or did nothing before.
    """
    worker, times, cpu = server.worker, [], []
    finished = threading.Event()

    def sample_cpu() -> None:
        while not finished.wait(0.01):
            times.append(time.monotonic())
            cpu.append(cpu_seconds(worker))

    with new_page(launched) as page:
        _long_job(page, server, seed)
        sampler = threading.Thread(target=sample_cpu, daemon=True)
        sampler.start()
        try:
            time.sleep(0.5)
            closed = time.monotonic()
            page.close()
            _wait_until_idle(times, cpu, closed)
        finally:
            finished.set()
            sampler.join()
    busy = sum(time < closed for time in times)
    if cpu[busy - 1] - cpu[0] < 0.02:
        raise KdvizError("The worker was not computing when the tab was closed; nothing to measure.")
    idle_since = idle_from(times[busy:], cpu[busy:])
    if idle_since is None:
        raise KdvizError("The worker went on computing for 15 seconds after the tab was closed.")
    return idle_since - closed


def _wait_until_idle(times: Sequence[float], cpu: Sequence[float], closed: float) -> None:
    while time.monotonic() < closed + 15:
        time.sleep(0.3)
        length = len(times) - 1
        after = next((index for index in range(length) if times[index] >= closed), length)
        if idle_from(list(times[after:length]), list(cpu[after:length])) is not None:
            return


# several at once ------------------------------------------------------------------------------------------------------


def people(server: Server, rounds: int, masks: int = MASKS) -> Iterator[TargetRow]:
    """Five people click at the same moment, each on a sample with new masks."""
    worst: list[float] = []
    everyone: list[float] = []
    parts: list[dict[str, float]] = []
    with browser() as launched:
        for number in range(rounds):
            seconds, where = _together(launched, server, number, masks)
            worst.append(max(seconds))
            everyone += seconds
            parts += where
    text = f"{PEOPLE} people computing at once: the last one's first maps"
    row = repeated_row("five_people", text, worst, 3.0, judged="worst", where=medians(parts))
    details = {**row.details, "median_of_everyone": percentile(everyone, 50)}
    yield TargetRow(row.key, row.text, row.value, row.unit, details, row.target)


def _together(launched: Any, server: Server, number: int, masks: int) -> tuple[list[float], list[dict[str, float]]]:
    with ExitStack() as stack:
        pages = [stack.enter_context(new_page(launched)) for _ in range(PEOPLE)]
        for index, page in enumerate(pages):
            button = _another_sample(page, server, 3000 + number * PEOPLE + index, masks)
            _watch_maps(page, masks)
            page.evaluate("(button) => (kdvizBench.button = button)", button)
        start = time.time() * 1000 + 1000
        click = f"setTimeout(() => kdvizBench.all('{_STRIP}')[kdvizBench.button].click(), at - Date.now())"
        for page in pages:
            page.evaluate(f"(at) => {{ {click}; }}", start)
        clicks = [click_parts(page, time_shown(page, "first", "first maps")) for page in pages]
        return [seconds for seconds, _ in clicks], [where for _, where in clicks]


# thumbnails -----------------------------------------------------------------------------------------------------------


def gallery(models: Path, name: str, samples: int, repeats: int) -> Iterator[TargetRow]:
    """Mistakes of a large experiment: opened from Compare, and browsed page by page."""
    opened: list[float] = []
    turned: list[float] = []
    cold = 0.0
    opened_parts: list[dict[str, float]] = []
    turned_parts: list[dict[str, float]] = []
    with Server(models) as server, browser() as launched:
        for number in range(repeats + 1):
            with new_page(launched) as page:
                page.goto(f"{server.address}/compare?experiment={name}", wait_until="commit")
                wait_until(page, f"b.quiet() && ({_settled()})", "settled maps")
                seconds, where = _thumbnails(page, page.get_by_role("link", name="Mistakes"))
                if not number:
                    cold = seconds  # the server reads the experiment's table
                    continue
                opened.append(seconds)
                opened_parts.append(where)
                _thumbnails(page, page.get_by_role("radio", name="All samples"))  # hundreds of pages
                for _ in range(3):
                    page.wait_for_timeout(700)  # a look at the page
                    seconds, where = _thumbnails(page, page.get_by_role("button", name="Next page").first)
                    turned.append(seconds)
                    turned_parts.append(where)
    row = repeated_row(
        "gallery_opens", f"Mistakes opens, {samples:,} samples", opened, 1.0, where=medians(opened_parts)
    )
    yield TargetRow(row.key, row.text, row.value, row.unit, {**row.details, "first_seconds": cold}, row.target)
    yield repeated_row("gallery_next", "its next page", turned, 0.3, where=medians(turned_parts))


def classes(models: Path, name: str, samples: int, repeats: int) -> Iterator[TargetRow]:
    """Mistakes of an experiment with a thousand classes: opened, browsed, and a class found by a part of its name."""
    opened: list[float] = []
    turned: list[float] = []
    searched: list[float] = []
    with Server(models) as server, browser() as launched:
        for number in range(repeats + 1):
            with new_page(launched) as page:
                page.goto(f"{server.address}/?experiment={name}", wait_until="commit")
                wait_until(page, "b.quiet()", "the overview")
                link = page.get_by_role("link", name="Mistakes").first  # Overview has others
                seconds, _parts = _thumbnails(page, link)
                if not number:
                    continue  # the server reads the experiment's table
                opened.append(seconds)
                for _ in range(3):
                    page.wait_for_timeout(700)  # a look at the page
                    turned.append(_thumbnails(page, page.get_by_role("button", name="Next page").first)[0])
                searched += [_search(page, f"{part:05}") for part in (17 * number, 17 * number + 1, 17 * number + 2)]
    yield repeated_row("classes_open", f"Mistakes opens, {samples:,} samples of 1,000 classes", opened, 1.0)
    yield repeated_row("classes_next", "its next page", turned, 0.3)
    yield repeated_row("classes_search", "a class by a part of its name: last key to its entry", searched, 0.1)


def _search(page: Any, part: str) -> float:
    """Type the end of a class's name into the list of true classes; seconds from the last key until it is shown."""
    box = page.get_by_role("combobox", name="True class")
    box.click()
    box.press_sequentially(part[:-1])
    page.wait_for_timeout(300)
    page.evaluate("addEventListener('keydown', (event) => (kdvizBench.clicked = event.timeStamp), true)")
    entries = "[...document.querySelectorAll('[role=option]')]"
    watch(page, "found", f"{entries}.some((node) => node.innerText.endsWith(value))", part)
    box.press(part[-1])
    shown = time_shown(page, "found", "the class")
    seconds = (shown - page.evaluate("kdvizBench.clicked")) / 1000
    box.press("Escape")
    return seconds


def _thumbnails(page: Any, control: Any) -> tuple[float, dict[str, float]]:
    """Click; seconds until other thumbnails are drawn, and their parts."""
    page.evaluate(
        "() => { const sheet = () => { const node = kdvizBench.find('.kg [role=option] .pic');"
        " return node ? getComputedStyle(node).backgroundImage : null; };"
        " const before = sheet(); kdvizBench.watched.drawn ="
        " kdvizBench.drawn('.kg [role=option] .pic', () => sheet() && sheet() !== before); }"
    )
    control.click()
    return click_parts(page, time_shown(page, "drawn", "other thumbnails"))
