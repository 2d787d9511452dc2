"""Each browser reaches its own sessions only: what they sent, show and save, and the sessions themselves.

Streamlit knows a session by its identifier alone, and a media file by its address alone: whoever learns one, from a log
or over somebody's shoulder, has what it stands for. So the first page gives each browser a cookie that no script can
read, and the browser whose cookie opened a session is the only one that can

- get the media files of the session (pictures, downloads), while the session lasts,
- send files to it, or remove them,
- come back to it after its connection was lost.

Anybody else reads what they would read if there were no such session.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from streamlit.runtime import exists, get_instance
from streamlit.runtime.runtime import Runtime

from kdviz.app.protection.asgi import App, Message, Send, answer, headers_of
from kdviz.app.workarounds.media_ids import TAG, name_sessions, tag

COOKIE = "kdviz-browser"
_MEDIA = re.compile(rf"(?<!/static)/media/([0-9a-f]{{{TAG}}})?[^/]*$")  # /static/media/ has the page's fonts
_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+$")

_owners: dict[str, str] = {}  # session -> the cookie of the browser that opened it; on the server's event loop only


def bind_sessions() -> None:
    """Note the browser that opens a session, and let no other one come back to it; done once a process."""
    name_sessions()
    if not hasattr(Runtime.connect_session, "binds"):
        Runtime.connect_session = _binding(Runtime.connect_session)  # type: ignore[method-assign]


def _binding(connect: Callable[..., str]) -> Callable[..., str]:
    def connect_own(runtime: Runtime, client: Any, user_info: Any, existing_session_id: Any = None, *more: Any) -> str:
        browser = client.client_context.cookies.get(COOKIE, "")
        if existing_session_id and not _is_same(_owners.get(existing_session_id, ""), browser):
            existing_session_id = None
        session = connect(runtime, client, user_info, existing_session_id, *more)
        _forget_ended()
        _owners[session] = browser
        return session

    connect_own.binds = True  # type: ignore[attr-defined]
    return connect_own


def _forget_ended() -> None:
    for session in [session for session in _owners if not _lasts(session)]:
        del _owners[session]


def _lasts(session: str) -> bool:
    return exists() and get_instance()._session_mgr.get_session_info(session) is not None


def _is_same(owner: str, browser: str) -> bool:
    return bool(owner) and hmac.compare_digest(owner.encode(), browser.encode())


class OwnSessions:
    """ASGI middleware: 404 for another browser's media files, 403 for uploads to another browser's session.

    A page that is opened without the cookie gets one.
    """

    def __init__(self, app: App):
        self._app = app

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        browser = browser_of(scope)
        media, upload = _MEDIA.search(scope["path"]), _UPLOAD.search(scope["path"])
        if media is not None and not owns_media(browser, media[1] or ""):
            await answer(send, 404, b"Not Found")
        elif upload is not None and scope["method"] != "OPTIONS" and not owns(browser, upload[1]):
            await answer(send, 403, b"This session is not open in this browser.")
        else:
            await self._app(scope, receive, send if browser else _giving_cookie(scope, send))


def browser_of(scope: Message) -> str:
    """The cookie of the browser that sends a request; empty without one."""
    cookies: SimpleCookie = SimpleCookie()
    for header in headers_of(scope, b"cookie"):
        for part in header.split(";"):  # one by one: a malformed cookie of another program hides none of the others
            try:
                cookies.load(part.strip())
            except CookieError:
                continue
    return cookies[COOKIE].value if COOKIE in cookies else ""


def owns(browser: str, session: str) -> bool:
    """Whether a session lasts and was opened by this browser."""
    return _is_same(_owners.get(session, ""), browser) and _lasts(session)


def owns_media(browser: str, tag_of_file: str) -> bool:
    """Whether a media file belongs to a session of this browser."""
    sessions = [session for session in list(_owners) if owns(browser, session)]
    return any(hmac.compare_digest(tag(session), tag_of_file) for session in sessions)


def _giving_cookie(scope: Message, send: Send) -> Send:
    """Give a cookie along with a page; not with its dozens of files, which a browser asks for all at once."""
    secure = scope.get("scheme") == "https" or "https" in headers_of(scope, b"x-forwarded-proto")

    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start" and _is_page(message, scope):
            # Lax: with Strict, a link from elsewhere would come without it, and the browser would get another one.
            cookie = f"{COOKIE}={secrets.token_urlsafe(32)}; Path=/; HttpOnly; SameSite=Lax" + "; Secure" * secure
            message = {**message, "headers": [*message.get("headers", ()), (b"set-cookie", cookie.encode())]}
        await send(message)

    return send_with_cookie


def _is_page(message: Message, scope: Message) -> bool:
    """Whether an answer is a page, or says that the one that the browser has kept is still right."""
    if message["status"] == 304:
        return any("text/html" in header for header in headers_of(scope, b"accept"))
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in message.get("headers", ())
    )
