"""Fixtures and steps of the browser tests: one server and one Chromium for all of them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_folders import made_once

from kdviz.core.language import ENGLISH, _, speaking
from kdviz.data import LabelledImages

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("KDVIZ_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WAIT = 30_000
TOO_WIDE = """
[...document.querySelectorAll(".stMain *")].some((node) =>
  node.getBoundingClientRect().right > innerWidth + 1
  && !node.closest(".stDataFrame, .js-plotly-plot")
  && getComputedStyle(node).position !== "absolute")
"""
SPILLS = """
(() => {
  const moves = (node) => /auto|scroll|hidden/.test(getComputedStyle(node).overflowX);
  const inside = (node) => (node?.parentElement?.closest(".stMain") ? node : null); // that one scrolls the page
  const scrolls = (node) => inside(node) && (moves(node) || scrolls(node.parentElement));
  return [...document.querySelectorAll(".stMain *")].some((node) =>
    node.getBoundingClientRect().right > innerWidth + 1
    && getComputedStyle(node).position !== "absolute"
    && !node.closest(".stDataFrame, .js-plotly-plot")
    && !scrolls(node.parentElement));
})()
"""
"""Whether something is wider than the screen and does not scroll by itself."""

IS_DARK = """
(() => {
  const [red, green, blue] = getComputedStyle(document.querySelector(".stApp")).backgroundColor.match(/[0-9]+/g);
  return Number(red) + Number(green) + Number(blue) < 200;
})()"""
"""Whether the page is drawn in dark."""

ENDED = """
document.querySelector(".stApp")?.dataset.testScriptState === "notRunning"
&& !document.querySelector("[data-stale=true]")
"""
"""Whether the script ended and nothing waits to be replaced: until then a widget can stand there twice."""

AT_REST = """
(longest) => new Promise((resolve, reject) => {
  const end = performance.now() + longest;
  let quiet = 0;
  const observer = new MutationObserver(() => { quiet = 0; });
  observer.observe(document.documentElement, { subtree: true, childList: true, attributes: true, characterData: true });
  const resting = () =>
    document.querySelector(".stApp")?.dataset.testScriptState === "notRunning"
    && !document.querySelector("[data-stale=true]")
    && document.getAnimations().every((one) => one.playState !== "running");
  const frame = () => {
    quiet = resting() ? quiet + 1 : 0;
    if (performance.now() > end) return reject(new Error("the page does not come to rest"));
    if (quiet < 30) return requestAnimationFrame(frame);
    observer.disconnect();
    resolve(true);
  };
  requestAnimationFrame(frame);
})
"""
"""The script ended, nothing waits to be replaced, what faded in has its own colour, and for 30 frames the document did
not change: charts and tables are drawn. Frames, not seconds: a busy machine draws fewer of them."""

VISIT = """
(address) => {
  history.pushState({}, "", address);
  dispatchEvent(new PopStateEvent("popstate", { state: {} }));
}
"""

MAP_PIXELS = """
(nodes) => new Promise((resolve) =>
  requestAnimationFrame(() => requestAnimationFrame(() =>
    resolve(nodes.every((node) => node.isConnected) ? nodes.map((node) => node.toDataURL()) : []))))
"""
"""The pixels of the maps once a repaint, which waits for the next frame, is done; none if they were replaced."""

needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium found: install the package chromium, or set KDVIZ_CHROMIUM to its path"
    ),
]
"""``pytestmark`` of every module with browser tests."""


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory, small_digits: LabelledImages) -> Path:
    """A folder of small experiments; see small_models.py. A test may add another one."""
    from small_models import make_models

    made = made_once(tmp_path_factory, "models", lambda folder: make_models(folder, small_digits))
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("models"), dirs_exist_ok=True))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Iterator[str]:
    """The address of the app, with the experiments of ``models`` beside those that come with it."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with running(log, KDVIZ_MODELS=str(models)) as (address, _process):
        yield address
    assert "Traceback" not in log.read_text(), log.read_text()


class running:  # noqa: N801  reads as a phrase: with running(...)
    """A server of the app as a context: its address, and its process."""

    def __init__(self, log: Path, script: str = "app.py", **environment: str):
        self.log = log
        self.script = script
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]  # for a script in another folder
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environment}

    def __enter__(self) -> tuple[str, subprocess.Popen]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "streamlit", "run", self.script, "--server.headless", "true"]
        command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
        self.output = self.log.open("w")
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=self.output, stderr=self.output, env=self.environment)
        address = f"http://127.0.0.1:{port}"
        try:
            _wait_for(f"{address}/_stcore/health", self.process, self.log)
        except BaseException:
            self.__exit__()
            raise
        return address, self.process

    def __exit__(self, *error: Any) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.output.close()


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start within a minute")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright.expect.set_options(timeout=15_000)  # a busy machine is slow, not wrong
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def somebody(browser: Any, locale: str, folder: Path) -> Any:
    """A browser of a person who was here before: Streamlit's large scripts are in its folder, compiled."""
    context = browser.browser_type.launch_persistent_context(
        folder, executable_path=CHROMIUM, args=FLAGS, viewport={"width": 1440, "height": 1000}, locale=locale
    )
    context.set_default_timeout(WAIT)
    return context


@pytest.fixture(scope="session")
def english(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Somebody who reads English; nothing but the cache goes from test to test."""
    context = somebody(browser, "en-US", tmp_path_factory.mktemp("english"))
    yield context
    context.close()


@pytest.fixture(scope="session")
def mandarin(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Somebody who reads Chinese."""
    context = somebody(browser, "zh-CN", tmp_path_factory.mktemp("chinese"))
    yield context
    context.close()


@pytest.fixture
def page(english: Any) -> Iterator[Any]:
    """A page of a desktop computer, in English; it must end without an exception, of Python or of JavaScript."""
    english.clear_cookies()
    english.clear_permissions()
    page = english.new_page()
    page.set_viewport_size({"width": 1440, "height": 1000})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    assert page.locator(".stException").count() == 0
    for one in english.pages[1:]:  # without its first page the browser would end
        one.close()
    assert problems == []


def visit(page: Any, address: str, language: str = ENGLISH) -> None:
    """Go to another address of the app as the browser's Back button does, and wait for the heading of its page.

    The session stays and nothing is loaded again, which takes more than a second of processor time. A test of links,
    or of somebody's first visit, loads the page instead.

    Args:
        page: A page of the app.
        address: Path and query, such as ``/compare?sample=3``.
        language: Of the page.
    """
    from playwright.sync_api import expect

    from kdviz.app.page_registry import FIRST, pages  # not at the top: a machine with a GPU may lack streamlit

    page.evaluate(VISIT, address)
    with speaking(language):
        heading = _(pages[address.partition("?")[0].strip("/") or FIRST].heading)
    expect(page.get_by_role("heading", level=1)).to_have_text(heading, timeout=WAIT)


def is_too_wide(page: Any) -> bool:
    return page.evaluate(SPILLS) or page.evaluate("document.scrollingElement.scrollWidth > innerWidth")


def settled(page: Any, rows: int = 1) -> None:
    """Wait until the maps of so many baselines are computed, and nothing is replaced any more."""
    from playwright.sync_api import expect

    expect(page.get_by_text("the same for every model")).to_have_count(rows, timeout=WAIT)
    page.wait_for_function(ENDED, timeout=WAIT)


def maps(page: Any, rows: int = 1) -> list[str]:
    """The pixels of the three maps of each row, as the page shows them."""
    from playwright.sync_api import expect

    canvases = page.locator("canvas.k-map")  # in a shadow root, which locators look into
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        expect(canvases).to_have_count(3 * rows, timeout=WAIT)
        pixels = canvases.evaluate_all(MAP_PIXELS)
        if len(pixels) == 3 * rows:
            return pixels
    raise AssertionError(f"there are no {3 * rows} maps")


def at_rest(page: Any) -> None:
    """Wait until the script has ended and nothing on the page changes or moves any more."""
    page.evaluate(AT_REST, WAIT)  # awaits its promise; wait_for_function does not say what one came to
