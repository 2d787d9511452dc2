"""Chromium, driven by Playwright, with a recorder in each page (app_recorder.js)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kdviz.bench.app_rows import time_parts
from kdviz.core.errors import KdvizError, SettingError

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_RECORDER = Path(__file__).with_name("app_recorder.js")


def chromium_path() -> str:
    """The path of Chromium.

    Raises:
        SettingError: Chromium or Playwright is missing; the text says what to install.
    """
    if find_spec("playwright") is None:
        raise SettingError(
            'kdviz bench app drives a browser with Playwright; install it with: pip install "kdviz[test]"'
        )
    configured = os.environ.get("KDVIZ_CHROMIUM")
    path = configured or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None or shutil.which(path) is None:
        problem = (
            f"KDVIZ_CHROMIUM is '{configured}', which cannot be run" if configured else "there is no Chromium here"
        )
        raise SettingError(
            "kdviz bench app needs Chromium, and {problem}: install it, or set KDVIZ_CHROMIUM to its path.",
            problem=problem,
        )
    return path


@contextmanager
def browser() -> Iterator[Any]:
    """A separate Chromium, which ends with the block.

    Raises:
        SettingError: See :func:`chromium_path`.
        KdvizError: The browser failed while it was used.
    """
    path = chromium_path()
    from playwright.sync_api import Error, sync_playwright  # pyright: ignore[reportMissingImports]

    try:
        with sync_playwright() as engine:
            launched = engine.chromium.launch(executable_path=path, args=list(FLAGS))
            try:
                yield launched
            finally:
                with suppress(Error):
                    launched.close()
    except Error as error:
        raise KdvizError("The browser could not go on: {reason}", reason=str(error).splitlines()[0]) from error


@contextmanager
def new_page(launched: Any, width: int = 1440) -> Iterator[Any]:
    """A page of a new person, with an empty cache."""
    context = launched.new_context(viewport={"width": width, "height": 1000}, locale="en-US")
    try:
        context.add_init_script(path=_RECORDER)
        page = context.new_page()
        page.set_default_timeout(240_000)
        yield page
    finally:
        context.close()


def watch(page: Any, name: str, condition: str, value: Any = None) -> None:
    """Start to wait, in the page, for a condition: a JavaScript expression of ``b``, the recorder, and ``value``."""
    page.evaluate(f"(value) => {{ const b = kdvizBench; b.watch('{name}', () => {condition}); }}", value)


def time_shown(page: Any, name: str, what: str) -> float:
    """When a watched condition first held on screen, in the page's milliseconds.

    Raises:
        KdvizError: It did not hold within four minutes.
    """
    time = page.evaluate(f"kdvizBench.watched['{name}']")
    if time is None:
        page_text = page.evaluate("document.querySelector('[data-testid=stMain]')?.innerText ?? ''")
        raise KdvizError(
            "The page did not show {what} within four minutes, but: {split}",
            what=what,
            split=" ".join(page_text.split())[:400],
        )
    return time


def wait_until(page: Any, condition: str, what: str) -> float:
    """Wait for a condition of :func:`watch`; return when it held.

    Raises:
        KdvizError: It did not hold within four minutes.
    """
    watch(page, "until", condition)
    return time_shown(page, "until", what)


def click_parts(page: Any, shown: float) -> tuple[float, dict[str, float]]:
    """Seconds from the last click to a moment of the page, and their parts."""
    clicked, sent, received = page.evaluate("[kdvizBench.clicked, kdvizBench.sent, kdvizBench.received]")
    return (shown - clicked) / 1000, time_parts(clicked, shown, sent, received)
