"""A limit on the uploads that are held in memory: Streamlit limits the size of a file, but not the number of files."""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from typing import Any

from starlette.requests import ClientDisconnect
from streamlit.runtime import exists, get_instance

from kdviz.app import limits
from kdviz.app.protection.asgi import App, Message, Send, answer

STALLED = 30.0  # seconds without a byte, after which an upload is given up
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+$")


class UploadQuota:
    """ASGI middleware that answers 413 to an upload for which there is no room, before its content is read."""

    def __init__(self, app: App):
        self._app = app
        self._lock = threading.Lock()
        self._arriving: Counter[str] = Counter()  # session -> bytes of uploads under way

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        match = _UPLOAD.search(scope["path"]) if scope["type"] == "http" and scope["method"] == "PUT" else None
        if match is None:
            await self._app(scope, receive, send)
            return
        session, size = match[1], _length(scope)
        if size is None:
            await answer(send, 411, b"The size of the file must be said.")
        elif not self._enter(session, size):
            await answer(send, 413, b"There is no room for more uploads; remove some, or try again later.")
        else:
            try:
                await self._app(scope, _in_time(receive), send)
            except ClientDisconnect:
                await answer(send, 408, b"Nothing more of the file came.")
            finally:
                self._leave(session, size)

    def _enter(self, session: str, size: int) -> bool:
        with self._lock:
            held = held_bytes()
            of_session = held.get(session, 0) + self._arriving[session] + size
            of_all = sum(held.values()) + self._arriving.total() + size
            fits = of_session <= limits.session_bytes() and of_all <= limits.total_bytes()
            if fits:
                self._arriving[session] += size
            return fits

    def _leave(self, session: str, size: int) -> None:
        with self._lock:
            self._arriving[session] -= size
            if self._arriving[session] <= 0:
                del self._arriving[session]


def _in_time(receive: Any) -> Any:
    """Give up an upload that stalls: the room that it asked for is needed."""

    async def receive_in_time() -> Message:
        try:
            return await asyncio.wait_for(receive(), STALLED)
        except TimeoutError:
            return {"type": "http.disconnect"}

    return receive_in_time


def held_bytes() -> dict[str, int]:
    """Session -> bytes of its uploads in memory."""
    if not exists():
        return {}
    stored = getattr(get_instance().uploaded_file_mgr, "file_storage", {})
    return {session: sum(len(file.data) for file in list(files.values())) for session, files in list(stored.items())}


def _length(scope: Message) -> int | None:
    text = dict(scope["headers"]).get(b"content-length", b"")
    return int(text) if text.isdigit() and len(text) < 16 else None
