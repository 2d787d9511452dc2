"""Whose session, and whose media file, a request asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.runtime import memory_media_file_storage

from kdviz.app.protection import own_sessions
from kdviz.app.workarounds import media_ids


@pytest.mark.parametrize(
    ("cookies", "browser"),
    [
        (["kdviz-browser=abc"], "abc"),
        (["a=1; kdviz-browser=abc; b=2"], "abc"),
        (["bad[name]=1; kdviz-browser=abc"], "abc"),  # of another program on this machine
        (["a=1", "kdviz-browser=abc"], "abc"),
        (["xkdviz-browser=abc"], ""),
        ([], ""),
    ],
)
def test_the_browser_of_a_request(cookies: list[str], browser: str) -> None:
    scope = {"headers": [(b"cookie", value.encode()) for value in cookies]}
    assert own_sessions.browser_of(scope) == browser


def test_a_session_is_its_browsers_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    lasting = {"s", "t", "nobodys"}
    monkeypatch.setattr(own_sessions, "_owners", {"s": "ada", "t": "bob", "nobodys": ""})
    monkeypatch.setattr(own_sessions, "_lasts", lasting.__contains__)
    assert own_sessions.owns("ada", "s")
    assert own_sessions.owns_media("ada", media_ids.tag("s"))
    for browser, session in (("bob", "s"), ("ada", "t"), ("", "nobodys"), ("ada", "nobodys"), ("ada", "unknown")):
        assert not own_sessions.owns(browser, session)
        assert not own_sessions.owns_media(browser, media_ids.tag(session))
    lasting.remove("s")
    assert not own_sessions.owns("ada", "s")
    assert not own_sessions.owns_media("ada", media_ids.tag("s"))


def test_only_its_browser_comes_back_to_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_sessions, "_owners", {})
    monkeypatch.setattr(own_sessions, "_lasts", lambda session: True)
    connect = own_sessions._binding(lambda runtime, client, user, existing=None: existing or f"new-{len(_owners())}")

    def client(browser: str) -> Any:
        return SimpleNamespace(client_context=SimpleNamespace(cookies={own_sessions.COOKIE: browser}))

    first = connect(None, client("ada"), {})
    assert connect(None, client("ada"), {}, first) == first
    assert connect(None, client("bob"), {}, first) != first
    assert connect(None, client(""), {}, first) != first
    assert connect(None, client("ada"), {}, "unknown") != "unknown"


def _owners() -> dict[str, str]:
    return own_sessions._owners


def test_equal_files_of_two_sessions_have_addresses_that_nobody_can_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit's own hash is the same for all sessions, and on every server."""
    plain = memory_media_file_storage._calculate_file_id
    name = media_ids._naming_session(getattr(plain, "__wrapped__", plain))
    sessions = iter(("s", "t", "s"))
    monkeypatch.setattr(media_ids, "_session", lambda: next(sessions))
    first, second, again = (name(b"picture", "image/png") for _ in range(3))
    assert first == again != second
    assert first.startswith(media_ids.tag("s"))
    assert own_sessions._MEDIA.search(f"/base/media/{first}.png")[1] == media_ids.tag("s")  # type: ignore[index]


@pytest.mark.parametrize(
    "path", ["/static/media/Font.abc.woff2", "/base/static/media/Font.woff2", "/", "/_stcore/health"]
)
def test_files_of_the_page_itself_are_nobodys(path: str) -> None:
    assert own_sessions._MEDIA.search(path) is None
    assert own_sessions._UPLOAD.search(path) is None


@pytest.mark.parametrize(
    ("status", "kind", "accept", "is_page"),
    [
        (200, b"text/html; charset=utf-8", b"*/*", True),
        (304, b"", b"text/html,application/xhtml+xml", True),  # the browser kept the page, but not its cookie
        (304, b"", b"image/png", False),
        (200, b"application/javascript", b"text/html", False),
    ],
)
def test_a_browser_without_a_cookie_gets_one_along_with_any_page(
    status: int, kind: bytes, accept: bytes, is_page: bool
) -> None:
    headers = [(b"content-type", kind)] if kind else []
    answer = {"type": "http.response.start", "status": status, "headers": headers}
    assert own_sessions._is_page(answer, {"headers": [(b"accept", accept)]}) == is_page
