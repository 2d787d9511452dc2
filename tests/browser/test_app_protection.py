"""The server as a stranger and as a browser see it: names, headers, and pages that break no rule of their own."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import CHROMIUM, DESKTOP, ENDED, FLAGS, VISIT, WAIT, needs_browser

from kdviz.app.page_registry import pages, path_of
from kdviz.app.protection.headers import security_headers

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "a" * 22 + "==",
    "Sec-WebSocket-Version": "13",
}


def answer(server: str, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(urlsplit(server).netloc, timeout=30)
    connection.request("GET", path, headers=headers)
    return connection.getresponse()


def test_streamlits_server_answers_to_its_own_names_only(server: str) -> None:
    assert answer(server).status == 200
    assert answer(server, Host="evil.example").status == 400
    assert answer(server, "/_stcore/metrics").status == 404
    stream, own = "/_stcore/stream", urlsplit(server).netloc
    assert answer(server, stream, Host=own, Origin=server, **UPGRADE).status == 101
    assert answer(server, stream, Host="evil.example", Origin="http://evil.example", **UPGRADE).status == 403
    assert answer(server, stream, Host=own, Origin="http://evil.example", **UPGRADE).status == 403


@pytest.mark.parametrize("path", ["/", "/compare", "/_stcore/health", "/static/nothing.js", "/_stcore/metrics"])
def test_every_answer_of_the_server_has_the_headers(server: str, path: str) -> None:
    headers = {name.lower(): value for name, value in answer(server, path).getheaders()}
    assert security_headers().items() <= headers.items()


@pytest.fixture(scope="module")
def page(engine: Any) -> Iterator[Any]:
    """A page of a browser that is held to the policy, as people's are; that of the other tests is not."""
    browser = engine.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    page = browser.new_page(viewport=DESKTOP)
    page.set_default_timeout(WAIT)
    yield page
    browser.close()


def test_the_policy_is_in_force(page: Any, server: str) -> None:
    page.goto(server)
    until_drawn(page)
    assert page.evaluate(LOADS, "data:text/javascript,1") == "error"
    assert page.evaluate(LOADS, "http://127.0.0.1:9/x.js") == "error"
    page.evaluate(INLINE)
    assert page.evaluate("window.injected") is None


def test_no_page_breaks_the_policy(page: Any, server: str) -> None:
    """Chromium says on the console what the policy keeps it from; too strict a rule leaves a page half drawn.

    Nor does a page ask for anything that the server refuses, such as its own fonts.
    """
    said: list[str] = []
    unanswered: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("response", lambda response: unanswered.append(response.url) if response.status >= 400 else None)
    page.goto(server)
    until_drawn(page)
    assert "Material Symbols" in " ".join(page.evaluate(FONTS, "loaded"))
    seen = []
    for name in pages:
        page.evaluate(VISIT, f"/{path_of(name)}")  # to load each page anew takes twenty times as long
        page.wait_for_timeout(500)
        until_drawn(page)
        seen += [page.locator(".stMain").inner_text()]
    refused = [text for text in said if "Content Security Policy" in text or "Permissions" in text]
    assert (refused, unanswered, page.evaluate(FONTS, "error")) == ([], [], [])
    assert min(map(len, seen)) > 100


FONTS = "(status) => [...document.fonts].filter((font) => font.status === status).map((font) => font.family)"

LOADS = """
(address) => new Promise((resolve) => {
  const script = document.createElement("script");
  script.onload = () => resolve("load");
  script.onerror = () => resolve("error");
  script.src = address;
  document.head.append(script);
})
"""
"""Whether a script of an address is loaded."""

INLINE = """
() => {
  const script = document.createElement("script");
  script.textContent = "window.injected = 1";
  document.head.append(script);
}
"""


def until_drawn(page: Any) -> None:
    end = time.monotonic() + WAIT / 1000
    while not page.evaluate(f"() => Boolean({ENDED.strip()})"):
        assert time.monotonic() < end, "the page is not drawn"
        page.wait_for_timeout(100)
    page.wait_for_timeout(500)  # charts are drawn a moment later
