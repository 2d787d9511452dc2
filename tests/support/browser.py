"""Fixtures and steps of the browser tests: one server and one Chromium for all of them."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
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
WAIT = 600_000
"""Milliseconds after which what is waited for will not come: only a fault lasts so long, on any machine."""
SITE = "kdviz.example.org"
"""A name that the browser takes for this machine."""
DESKTOP = {"width": 1440, "height": 1000}
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
  const look = () => {
    quiet = resting() ? quiet + 1 : 0;
    if (performance.now() > end) return reject(new Error("the page does not come to rest"));
    if (quiet < 10) return setTimeout(() => requestAnimationFrame(look), 50);
    observer.disconnect();
    resolve(true);
  };
  requestAnimationFrame(look);
})
"""
"""The script ended, nothing waits to be replaced, what faded in has its own colour, and over 10 frames, half a second
or more, the document did not change: charts and tables are drawn. Frames, not seconds alone: a busy machine draws fewer
of them. Not every frame, since each takes processor time, even if nothing changes."""

NEUTRAL = "methods"
"""A page that shows nothing of any other."""

NOT_OF_THE_BROWSER = re.compile("^(?!kdviz-browser$)")
"""The names of cookies but that one, without which open pages lose their pictures."""

STILL = """
(() => {
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`*, *::before, *::after {
    animation-duration: 1ms !important; animation-iteration-count: 1 !important; transition-duration: 0s !important }`);
  document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
})()
"""
"""What turns and fades stands still: without a graphics card, each of its frames is drawn by the processor, sixty times
a second, for as long as the server computes."""

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
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log.txt"
    script = "tests/support/quick_app.py"
    with running(log, script, KDVIZ_MODELS=str(models), TMPDIR=str(folder)) as (address, _process):
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
        self.process.wait(WAIT / 1000)
        self.output.close()


def _wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        assert process.poll() is None, f"the server ended: {log.read_text()}"
        try:
            with urllib.request.urlopen(address, timeout=WAIT / 1000):  # refused at once until it listens
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the server did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    playwright.expect.set_options(timeout=WAIT)
    with playwright.sync_playwright() as engine:
        yield engine


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory, engine: Any) -> Iterator[Any]:
    """The one Chromium of all tests, in English; nothing but the cache goes from test to test.

    A browser takes seconds of processor time to start, and a person's first page another one to compile Streamlit's
    large scripts: so there is one folder, where they are kept compiled. Somebody else is a further page: each page has
    a session of its own, and cookies are all that they share.
    """
    context = engine.chromium.launch_persistent_context(
        tmp_path_factory.mktemp("chromium"),
        executable_path=CHROMIUM,
        args=[*FLAGS, f"--host-resolver-rules=MAP {SITE} 127.0.0.1"],
        viewport=DESKTOP,
        reduced_motion="reduce",  # what fades in is drawn many times
        bypass_csp=True,  # Playwright evaluates texts to wait; test_app_protection.py is held to the policy
    )
    context.set_default_timeout(WAIT)
    context.add_init_script(STILL)
    yield context
    context.close()


def reads(page: Any, locale: str) -> None:
    """Make the browser of a page one of somebody who prefers another language, as Playwright does for a context."""
    agent = page.evaluate("navigator.userAgent")
    session = page.context.new_cdp_session(page)
    session.send("Emulation.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": locale})
    session.send("Emulation.setLocaleOverride", {"locale": locale})


@pytest.fixture
def newcomer(english: Any) -> Iterator[Any]:
    """A new page of a desktop computer, in English: of somebody who opens the app now."""
    english.clear_cookies(name=NOT_OF_THE_BROWSER)
    english.clear_permissions()
    before = english.pages
    page = english.new_page()
    with flawless(page):
        yield page
    close(english, before)


@pytest.fixture(scope="module")
def _kept(english: Any) -> Iterator[list[Any]]:
    """The page that :func:`page` keeps; none before the first test, and after one that failed."""
    kept: list[Any] = []
    yield kept
    for page in kept:
        page.close()


@pytest.fixture
def page(english: Any, server: str, _kept: list[Any], request: pytest.FixtureRequest) -> Iterator[Any]:
    """A page that stays open from test to test of a module, in one session; tests :func:`visit` what they look at.

    To load Streamlit's scripts takes more processor time than most tests. Each test finds the page at the heading of
    Methods and limits, in a session that has forgotten the tests before. What the browser itself is to do when a page
    is loaded, and what ends a session, is for ``newcomer``.
    """
    failed = request.session.testsfailed
    english.clear_permissions()
    english.clear_cookies(name="kdviz-language")  # not all: without Streamlit's own, an open page can send no files
    page = _kept.pop() if _kept else opened(english, server)
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="light")
    forget(page)
    before = english.pages
    with flawless(page):
        yield page
    close(english, before)
    if request.session.testsfailed == failed:
        _kept.append(page)
    else:
        page.close()


def opened(context: Any, server: str) -> Any:
    """A page of the app, once the server has loaded torch: on a busy machine its first page takes its time."""
    context.clear_cookies()
    page = context.new_page()
    page.goto(f"{server}/models")
    page.locator(".ab-card").first.wait_for()
    return page


def close(context: Any, but: list[Any]) -> None:
    """Close the pages of a browser that a test opened; without its first page the browser would end."""
    for tab in context.pages:
        if tab not in but:
            tab.close()


@contextmanager
def flawless(page: Any) -> Iterator[None]:
    """A page that ends without an exception, of Python or of JavaScript."""
    problems: list[str] = []

    def note(error: Any) -> None:
        problems.append(str(error))

    page.on("pageerror", note)
    yield
    page.remove_listener("pageerror", note)
    assert page.locator(".stException").count() == 0
    assert problems == []


def visit(page: Any, address: str, language: str = ENGLISH) -> None:
    """Go to another address of the app as the browser's Back button does, and wait for the heading of its page.

    The session stays and nothing is loaded again, which takes more than two seconds of processor time. A test of links,
    or of somebody's first visit, loads the page instead. To another address of the page that is shown it goes by
    another page in a new session, since the heading would not say when the new view comes.

    Args:
        page: A page of the app.
        address: Path and query, such as ``/compare?sample=3``.
        language: Of the page.
    """
    from playwright.sync_api import expect

    from kdviz.app.page_registry import FIRST, pages  # not at the top: a machine with a GPU may lack streamlit

    with speaking(language):
        name = address.partition("?")[0].strip("/") or FIRST
        heading = _(pages[name].heading)
    shown = page.get_by_role("heading", level=1)
    if name != NEUTRAL and shown.all_inner_texts() == [heading]:
        forget(page, language)
    page.wait_for_function(ENDED)  # as in forget()
    page.evaluate(VISIT, address)
    expect(shown).to_have_text(heading)


def forget(page: Any, language: str = ENGLISH) -> None:
    """Go to Methods and limits, and let the session begin again: it keeps views, so that a link leads back to them.

    For a server whose script forgets on request; see tests/support/forgetful.py.
    """
    from playwright.sync_api import expect

    from kdviz.app.page_registry import pages

    with speaking(language):
        heading = _(pages[NEUTRAL].heading)
    page.wait_for_function(ENDED)  # a script that still runs can write its own address over this one
    page.evaluate(VISIT, f"/{NEUTRAL}?forget=1")
    expect(page.get_by_role("heading", level=1)).to_have_text(heading)
    page.wait_for_function("!location.search.includes('forget')")
    page.wait_for_function(ENDED)  # until then the browser tells the server of the last page's widgets


def choose_files(page: Any, selector: str, files: Any) -> None:
    """Give files to an uploader once the page's script has ended: while it runs, a widget can stand there twice."""
    page.wait_for_function(ENDED)
    page.locator(selector).set_input_files(files)


def coloured(page: Any, scheme: str) -> None:
    """The page of somebody whose system becomes dark or light; it follows without being loaded again."""
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(IS_DARK if scheme == "dark" else f"!{IS_DARK.strip()}")
    at_rest(page)


def is_too_wide(page: Any) -> bool:
    return page.evaluate(SPILLS) or page.evaluate("document.scrollingElement.scrollWidth > innerWidth")


def settled(page: Any, rows: int = 1) -> None:
    """Wait until the maps of so many baselines are computed, and nothing is replaced any more."""
    from playwright.sync_api import expect

    page.wait_for_function(ENDED)  # else the maps of the last picture may still be there
    expect(page.get_by_text("the same for every model")).to_have_count(rows)
    page.wait_for_function(ENDED)


def maps(page: Any, rows: int = 1) -> list[str]:
    """The pixels of the three maps of each row, as the page shows them."""
    from playwright.sync_api import expect

    canvases = page.locator("canvas.k-map")  # in a shadow root, which locators look into
    end = time.monotonic() + WAIT / 1000
    while time.monotonic() < end:
        expect(canvases).to_have_count(3 * rows)
        pixels = canvases.evaluate_all(MAP_PIXELS)
        if len(pixels) == 3 * rows:
            return pixels
    raise AssertionError(f"there are no {3 * rows} maps")


def at_rest(page: Any) -> None:
    """Wait until the script has ended and nothing on the page changes or moves any more."""
    page.evaluate(AT_REST, WAIT)  # awaits its promise; wait_for_function does not say what one came to
