"""What one person's session holds, a stranger with all of its addresses and its identifier cannot reach."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import choose_files, needs_browser, settled
from strangers import Stranger, arrived

from kdviz.data import bundled_digits

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = needs_browser

SESSION_ENDS = 600.0  # seconds; eight pass before a lost connection is given up
UPLOAD = "/_stcore/upload_file/"


@dataclass
class Owner:
    """Somebody who brought a picture, and made files of it; with all addresses that their browser asked for."""

    page: Any
    asked: list[str] = field(default_factory=list)

    @property
    def session(self) -> str:
        (session,) = {path.split("/")[3] for path in self.asked if path.startswith(UPLOAD)}
        return session

    @property
    def uploads(self) -> list[str]:
        return [path for path in self.asked if path.startswith(UPLOAD)]

    @property
    def media(self) -> list[str]:
        return [path for path in self.asked if path.startswith("/media/")]


@pytest.fixture
def owner(server: str, newcomer: Any) -> Owner:
    someone = Owner(newcomer)
    newcomer.on("request", lambda request: someone.asked.append(urlsplit(request.url).path))
    newcomer.goto(f"{server}/compare")
    settled(newcomer)
    newcomer.get_by_role("button", name="Your own picture").click()
    choose_files(newcomer, "input[type=file]", {"name": NAME, "mimeType": "image/png", "buffer": png()})
    playwright.expect(newcomer.get_by_text("Your pictures", exact=True)).to_be_visible()
    newcomer.keyboard.press("Escape")
    settled(newcomer)
    newcomer.get_by_text("Numbers, files and a report to hand on").click()
    for label in ("Report (HTML)", "Picture (PNG)", "Maps (NPZ)"):
        with newcomer.expect_download() as saved:
            newcomer.get_by_role("button", name=label).click()
        assert saved.value.path().stat().st_size > 50
        someone.asked.append(urlsplit(saved.value.url).path)
    return someone


NAME = "x-ray-of-somebody.png"


def png() -> bytes:
    file = io.BytesIO()
    bundled_digits()["bundled"].picture(3).save(file, "PNG")
    return file.getvalue()


def test_a_stranger_reaches_nothing_of_a_session(server: str, owner: Owner) -> None:
    stranger, nobody = arrived(server), Stranger(server)
    assert len(owner.media) >= 3

    own = Stranger(server, {cookie["name"]: cookie["value"] for cookie in owner.page.context.cookies()})
    for path in owner.media:
        assert own.ask(path)[0] == 200
        assert own.ask(path, "HEAD")[0] == 200
        for other in (stranger, nobody):
            assert other.ask(path)[0] == 404
            assert other.ask(path, "HEAD")[0] == 404
    for path in owner.uploads:
        assert stranger.send(path, "mine.png", b"another picture") == 403
        assert stranger.send(path.rpartition("/")[0] + "/guessed", "mine.png", b"another picture") == 403
        assert stranger.ask(path, "DELETE")[0] == 403
        assert stranger.ask(path)[0] in (403, 404, 405)
        assert own.send(path, NAME, png()) == 204

    given, read = stranger.connect(owner.session)
    assert given != owner.session
    assert NAME.encode() not in read
    assert len(read) > 1000  # the page, for somebody new
    assert own.connect("")[0] != owner.session
    assert own.connect(owner.session)[0] == owner.session  # as after a lost connection


def test_an_address_of_the_page_holds_nothing_private(server: str, owner: Owner) -> None:
    """A link to a view with an own picture opens the page without the picture."""
    link = owner.page.url
    for private in (NAME, "x-ray", owner.session):
        assert private not in link
    stranger = arrived(server)
    _, read = stranger.connect("", urlsplit(link).query)
    assert len(read) > 1000
    assert b"x-ray" not in read
    assert owner.session.encode() not in read


def test_media_are_gone_with_the_session(server: str, owner: Owner) -> None:
    own = Stranger(server, {cookie["name"]: cookie["value"] for cookie in owner.page.context.cookies()})
    path = owner.media[-1]
    assert own.ask(path)[0] == 200
    owner.page.goto("about:blank")
    end = time.monotonic() + SESSION_ENDS
    while own.ask(path)[0] != 404:
        assert time.monotonic() < end, "the file of a session that has ended is still served"
        time.sleep(0.5)
    while (status := own.send(owner.uploads[0], NAME, png())) != 403:  # 400: Streamlit knows it, though it is closed
        assert time.monotonic() < end, f"a session that has ended takes files: {status}"
        time.sleep(0.5)
