"""Types and answers of ASGI middleware (ASGI 3.0)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Any, Send], Awaitable[None]]


async def answer(send: Send, status: int, text: bytes) -> None:
    """Answer a request with a text, and close the connection."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})


def headers_of(scope: Message, name: bytes) -> list[str]:
    """All headers of a request with a name in lower case."""
    return [value.decode("latin-1") for key, value in scope.get("headers", ()) if key.lower() == name]
