"""Headers of every answer: what the page may load, who may frame it, and what it tells other sites.

Sources: W3C, Content Security Policy Level 3; WHATWG, HTML and Fetch; W3C, Permissions Policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

import streamlit

from kdviz.app.protection.asgi import App, Message, Send

_INLINE = re.compile(r"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)

_UNUSED = (
    "accelerometer",
    "autoplay",
    "camera",
    "display-capture",
    "geolocation",
    "gyroscope",
    "magnetometer",
    "microphone",
    "midi",
    "payment",
    "usb",
)
"""Abilities of a browser that no page uses; the clipboard is used, to paste pictures and copy links."""


class SecurityHeaders:
    """ASGI middleware that adds the security headers to every answer, in place of any of the same name."""

    def __init__(self, app: App):
        self._app = app
        self._headers = [(name.encode(), value.encode()) for name, value in security_headers().items()]

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = {name for name, _value in self._headers}
                kept = [header for header in message.get("headers", ()) if header[0].lower() not in ours]
                message = {**message, "headers": [*kept, *self._headers]}
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def security_headers() -> dict[str, str]:
    """Name in lower case -> value."""
    return {
        "content-security-policy": policy(),
        "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "permissions-policy": ", ".join(f"{name}=()" for name in _UNUSED),
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }


def policy() -> str:
    """The content security policy: everything comes from this server, and no text becomes code.

    Scripts are the server's files, the one inside of Streamlit's page, by its hash, and those of the app's components,
    which Streamlit loads as blobs of its own. Styles are set by scripts all over Streamlit, so that they cannot be told
    from injected ones; they cannot send anything anywhere, since pictures and fonts come from here as well.
    """
    own = "'self'"
    directives = {
        "default-src": "'none'",
        "script-src": " ".join([own, "blob:", *inline_scripts()]),
        "style-src": f"{own} 'unsafe-inline'",
        "img-src": f"{own} data: blob:",
        "font-src": f"{own} data:",
        "media-src": f"{own} blob:",
        "connect-src": own,
        "worker-src": f"{own} blob:",
        "manifest-src": own,
        "form-action": own,
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in directives.items())


@cache
def inline_scripts() -> tuple[str, ...]:
    """The hashes of the scripts inside of Streamlit's page, as sources of a policy (CSP 3, section 2.3.1)."""
    page = (Path(streamlit.__file__).parent / "static" / "index.html").read_text(encoding="utf-8")
    digests = (hashlib.sha256(script.encode()).digest() for script in _INLINE.findall(page) if script.strip())
    return tuple(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
