"""A plugin's page and method in the app, in a real browser."""

from __future__ import annotations

import os
from pathlib import Path

import plugins
import pytest
from browser import WAIT, needs_browser, running

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser
ROOT = Path(__file__).resolve().parents[2]


def test_the_app_has_a_plugins_page_and_method(page, tmp_path):
    installed = plugins.install(tmp_path)
    log = tmp_path / "log.txt"
    with running(log, PYTHONPATH=os.pathsep.join([str(installed), str(ROOT)])) as (address, _process):
        page.goto(f"{address}/test-shades")
        playwright.expect(page.get_by_role("heading", name="Shades of grey")).to_be_visible(timeout=WAIT)
        playwright.expect(page.get_by_role("link", name="Shades")).to_be_visible()
        page.goto(f"{address}/compare?method=test_brightness")
        playwright.expect(page.get_by_text("Brightness").first).to_be_visible(timeout=WAIT)
        playwright.expect(page.locator("canvas.k-map")).to_have_count(3, timeout=WAIT)
    assert "Traceback" not in log.read_text()
