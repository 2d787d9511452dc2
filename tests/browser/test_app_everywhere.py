"""What must hold on every page: usable by everybody (axe), in both themes, on narrow and wide screens."""

from __future__ import annotations

import time
from typing import Any

import pytest
from browser import IS_DARK, TOO_WIDE, WAIT, at_rest, is_too_wide, needs_browser, visit

from kdviz.app.page_registry import pages, path_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

PAGES = {name: f"/{path_of(name)}" for name in pages} | {"compare": "/compare?masks=250"}
NOTHING_SCROLLS = {"overview", "mistakes", "temperature", "teacher-epochs", "dark-knowledge"}
"""Pages on which nothing but charts is wider than the screen, not even what scrolls by itself."""

STREAMLIT = {
    # Of Streamlit's own elements, which a page cannot change: its navigation and its tables' canvas.
    "aria-hidden-focus",
    "nested-interactive",
    "scrollable-region-focusable",
}
SETTLING = 10  # seconds, after which what is too wide will stay so


def test_nothing_is_wider_than_the_screen_and_axe_finds_nothing_in_light_or_dark(server: str, page: Any) -> None:
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(f"{server}/methods")
    playwright.expect(page.locator("h1").first).to_be_visible(timeout=WAIT)
    found = {}
    for name in sorted(PAGES, key="methods".__ne__):
        page.set_viewport_size({"width": 390, "height": 1000})
        visit(page, PAGES[name])
        at_rest(page)
        found[name, "at 390"] = is_wide(page, name)
        resized(page, 1440)
        found[name, "at 1440"] = is_wide(page, name)
        found[name, "light"] = seen_by_axe(page)
        coloured(page, "dark")
        found[name, "dark"] = seen_by_axe(page)
        resized(page, 2560)
        found[name, "at 2560"] = is_wide(page, name)
        coloured(page, "light")
    assert {where: what for where, what in found.items() if what} == {}


def is_wide(page: Any, name: str) -> bool:
    """Whether it stays so: a chart follows a new width a moment after everything else."""
    end = time.monotonic() + SETTLING
    while is_too_wide(page) or (name in NOTHING_SCROLLS and page.evaluate(TOO_WIDE)):
        if time.monotonic() > end:
            return True
        page.wait_for_timeout(100)
    return False


def coloured(page: Any, scheme: str) -> None:
    """The page of somebody whose system becomes dark or light; it follows without being loaded again."""
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.wait_for_function(IS_DARK if scheme == "dark" else f"!{IS_DARK.strip()}", timeout=WAIT)
    at_rest(page)


def resized(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    at_rest(page)


def seen_by_axe(page: Any) -> list[str]:
    """Its serious findings, but for what is Streamlit's."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    return [
        f"{one['id']}: {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in axe.Axe().run(page).response["violations"]
        if one["impact"] in ("serious", "critical") and one["id"] not in STREAMLIT
    ]
