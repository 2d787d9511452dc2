"""What must hold on every page: usable by everybody (axe), in both themes, on narrow and wide screens."""

from __future__ import annotations

import time
from typing import Any

import pytest
from browser import TOO_WIDE, at_rest, coloured, is_too_wide, needs_browser, visit
from seen_by_axe import OF_COLOURS, seen_by_axe

from kdviz.app.page_registry import pages, path_of

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

PAGES = {name: f"/{path_of(name)}" for name in pages} | {"compare": "/compare?masks=250"}
NOTHING_SCROLLS = {"overview", "mistakes", "temperature", "teacher-epochs", "dark-knowledge"}
"""Pages on which nothing but charts is wider than the screen, not even what scrolls by itself."""

STREAMLIT = frozenset({"aria-hidden-focus", "nested-interactive", "scrollable-region-focusable"})
"""Rules on Streamlit's own elements, which a page cannot change: its navigation and its tables' canvas."""

SETTLING = 60  # seconds, after which what is too wide will stay so


WIDTHS = (390, 1440, 2560)


def test_nothing_is_wider_than_the_screen_and_axe_finds_nothing_in_light_or_dark(page: Any) -> None:
    """Each page is drawn in the width and colours in which the one before ended: a change costs as much as a page."""
    violations = {}
    widths, schemes = WIDTHS, ("light", "dark")
    resized(page, widths[0])
    for name, address in PAGES.items():
        visit(page, address)
        at_rest(page)
        for width in widths:
            if page.viewport_size["width"] != width:
                resized(page, width)
            violations[name, f"at {width}"] = is_wide(page, name)
            if width == 1440:
                violations[name, schemes[0]] = seen_by_axe(page, but=STREAMLIT)
                coloured(page, schemes[1])
                violations[name, schemes[1]] = seen_by_axe(page, OF_COLOURS, but=STREAMLIT)
        widths, schemes = widths[::-1], schemes[::-1]
    assert {where: what for where, what in violations.items() if what} == {}


def is_wide(page: Any, name: str) -> bool:
    """Whether it stays so: a chart follows a new width a moment after everything else."""
    end = time.monotonic() + SETTLING
    while is_too_wide(page) or (name in NOTHING_SCROLLS and page.evaluate(TOO_WIDE)):
        if time.monotonic() > end:
            return True
        page.wait_for_timeout(100)
    return False


def resized(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    at_rest(page)
