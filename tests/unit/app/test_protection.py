"""What every request passes before Streamlit gets it: names of the server, closed routes, headers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from apart import apart

from kdviz.app import middleware
from kdviz.app.protection import hosts
from kdviz.app.protection.closed import METRICS
from kdviz.app.protection.headers import inline_scripts, policy
from kdviz.app.protection.hosts import VARIABLE, host_name, known_hosts


def asked(path: str = "/", kind: str = "http", **headers: str) -> list[dict[str, Any]]:
    """What the app's middleware sends back, around an app that answers 200 or accepts."""
    sent: list[dict[str, Any]] = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"X-Frame-Options", b"ALLOWALL")]})
            await send({"type": "http.response.body", "body": b""})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    app: Any = inner
    for layer in reversed(middleware):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    raw = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:8501"} | headers).items() if value]
    scope = {"type": kind, "method": "GET", "path": path, "headers": raw}
    apart(asyncio.run, app(scope, None, send))
    return sent


def status(**options: Any) -> int:
    return asked(**options)[0]["status"]


# names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8501", "LOCALHOST.:1", "127.0.0.1:8501", "[::1]:8501", "[::1]", "::1"]
)
def test_this_machine_is_always_known(host: str) -> None:
    assert status(host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "a:b:c", "*"],
)
def test_a_strangers_name_is_refused(host: str) -> None:
    start, body = asked(host=host)
    assert start["status"] == 400
    assert b"KDVIZ_HOSTS" in body["body"]


def test_a_websocket_of_a_stranger_is_not_opened() -> None:
    assert asked(kind="websocket") == [{"type": "websocket.accept"}]
    assert asked(kind="websocket", origin="http://localhost:8501") == [{"type": "websocket.accept"}]
    closed = [{"type": "websocket.close", "code": 1008}]
    assert asked(kind="websocket", host="evil.example", origin="http://evil.example") == closed
    assert asked(kind="websocket", origin="http://evil.example") == closed
    for origin in ("null", "http://[", "evil.example", "http://localhost@evil.example"):
        assert asked(kind="websocket", origin=origin) == closed


def test_names_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "kdviz.example.org, *.example.net ,10.0.0.7:8501")
    for host in ("kdviz.example.org", "KDVIZ.example.org:443", "a.example.net", "10.0.0.7", "localhost"):
        assert status(host=host) == 200
        assert asked(kind="websocket", host=host, origin=f"https://{host}") == [{"type": "websocket.accept"}]
    for host in ("example.org", "a.kdviz.example.org", "example.net", "evilexample.net", "10.0.0.8"):
        assert status(host=host) == 400
    monkeypatch.setenv(VARIABLE, "*")
    assert status(host="any.example") == 200


def test_two_hosts_are_refused() -> None:
    scope = {"type": "http", "headers": [(b"host", b"localhost"), (b"Host", b"evil.example")]}
    assert not hosts.KnownHosts(None)._admits(scope)  # pyright: ignore[reportArgumentType]


def test_names_are_read_as_they_are_compared() -> None:
    assert host_name("Example.ORG.:80") == "example.org"
    assert known_hosts("") == hosts.LOOPBACK
    assert known_hosts(" , a ,")[-1] == "a"


# headers --------------------------------------------------------------------------------------------------------------


def test_every_answer_has_the_headers_once() -> None:
    for options in ({}, {"host": "evil.example"}, {"path": "/_stcore/metrics"}):
        names = [name.lower().decode() for name, _value in asked(**options)[0]["headers"]]
        headers = {name.lower().decode(): value.decode() for name, value in asked(**options)[0]["headers"]}
        assert len(names) == len(set(names))
        assert headers["x-frame-options"] == "DENY"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]
        assert headers["content-security-policy"] == policy()


def test_no_text_becomes_code() -> None:
    directives = {part.split()[0]: part.split()[1:] for part in policy().split("; ")}
    assert directives["default-src"] == ["'none'"]
    assert directives["frame-ancestors"] == ["'none'"]
    for name, sources in directives.items():
        assert "*" not in sources
        assert not any(source.startswith("http") for source in sources)
        assert "'unsafe-eval'" not in sources
        assert name == "style-src" or "'unsafe-inline'" not in sources
    assert inline_scripts()  # Streamlit's page has a script; without its hash the page stays white
    assert set(inline_scripts()) <= set(directives["script-src"])


# routes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/base/_stcore/metrics", "/_stcore/metrics/"])
def test_figures_of_the_server_are_closed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(path=path) == 404
    assert status(path="/_stcore/health") == 200
    monkeypatch.setenv(METRICS, "1")
    assert status(path=path) == 200
