"""Routes of Streamlit that visitors have no use for."""

from __future__ import annotations

import os
from typing import Any

from kdviz.app.protection.asgi import App, Message, Send, answer

METRICS = "KDVIZ_METRICS"
"""Environment variable; ``/_stcore/metrics``, which says how many sessions there are, is open if it is 1."""

_CLOSED = ("/_stcore/metrics",)


class ClosedRoutes:
    """ASGI middleware that answers 404 to requests for closed routes, wherever in the server's paths they are."""

    def __init__(self, app: App):
        self._app = app
        self._closed = () if os.environ.get(METRICS, "").strip() == "1" else _CLOSED

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        path = scope.get("path", "").rstrip("/")
        if scope["type"] == "http" and path.endswith(self._closed) and self._closed:
            await answer(send, 404, b"Not Found")
        else:
            await self._app(scope, receive, send)
