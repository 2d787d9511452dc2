"""The names under which the server may be asked.

A page of a stranger can give its own name the address of this server (DNS rebinding): its scripts then read the app as
if it were theirs, also one that only listens on this machine. Such requests have the stranger's name in ``Host``.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from kdviz.app.protection.asgi import App, Message, Send, answer, headers_of

VARIABLE = "KDVIZ_HOSTS"
"""Environment variable: names of the server with commas between, ``*.example.org`` for all below it; ``*``: any, behind
a proxy that checks them."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine, which are always known: no stranger can have them."""

_REFUSED = (
    b"This server is not known under this name. Its operator can add the name to the environment variable KDVIZ_HOSTS, "
    b"or the page can be opened at localhost on the machine itself."
)


class KnownHosts:
    """ASGI middleware that refuses requests and WebSockets whose ``Host``, or whose ``Origin``, is not the server's."""

    def __init__(self, app: App):
        self._app = app
        self._known = known_hosts(os.environ.get(VARIABLE, ""))

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or self._admits(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the browser sees a 403
        else:
            await answer(send, 400, _REFUSED)

    def _admits(self, scope: Message) -> bool:
        if "*" in self._known:
            return True
        hosts = headers_of(scope, b"host")
        if len(hosts) != 1 or not is_known(host_name(hosts[0]), self._known):
            return False
        # A browser names the page that opens a WebSocket; other programs need not.
        origins = headers_of(scope, b"origin") if scope["type"] == "websocket" else []
        return all(is_known(_origin_name(origin), self._known) for origin in origins)


def known_hosts(names: str) -> tuple[str, ...]:
    """The names that a server is known under.

    Args:
        names: Names with commas between, as in ``KDVIZ_HOSTS``; ports do not matter.

    >>> known_hosts("Example.org:8501, [fe80::1]")
    ('localhost', '127.0.0.1', '::1', 'example.org', 'fe80::1')
    """
    return (*LOOPBACK, *(host_name(name) for name in names.split(",") if name.strip()))


def host_name(host: str) -> str:
    """The name in a ``Host`` header, in lower case and without port, brackets and final dot.

    >>> host_name("[::1]:8501"), host_name("LOCALHOST.:8501"), host_name("10.0.0.1")
    ('::1', 'localhost', '10.0.0.1')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name = host if host.count(":") > 1 else host.partition(":")[0]  # an IPv6 address without brackets
    return name.removesuffix(".")


def is_known(name: str, known: tuple[str, ...]) -> bool:
    """Whether a name is one of the server's, or below one that is given as ``*.name``."""
    return name in known or any(one.startswith("*.") and name.endswith(one[1:]) for one in known)


def _origin_name(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:  # brackets that do not close
        return ""
