"""Addresses of media files that name their session, in place of Streamlit's, which are hashes of what is in the files.

Streamlit gives two sessions one address for one content. So whoever has a picture could compute its address and ask
whether somebody on the server looks at it now. Here an address begins with a tag that only this server can make of a
session's identifier, so that it cannot be computed, and the server can tell whose file it is.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from streamlit.runtime import memory_media_file_storage
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

TAG = 32
"""Letters of a tag, 128 bits."""

_key = secrets.token_bytes(32)  # of this server process
_session_of_download: ContextVar[str] = ContextVar("session_of_download", default="")


def tag(session: str) -> str:
    """The first letters of the names of all media files of a session.

    Args:
        session: The identifier of the session; empty for what no session made, which is shown to nobody.
    """
    return hmac.new(_key, session.encode(), hashlib.sha256).hexdigest()[:TAG]


def name_sessions() -> None:
    """Let every further media file be named by the session that shows it; done once a process."""
    name = memory_media_file_storage._calculate_file_id
    if not hasattr(name, "names_session"):
        memory_media_file_storage._calculate_file_id = _naming_session(name)
        MediaFileManager.execute_deferred = _in_its_session(  # type: ignore[method-assign]
            MediaFileManager.execute_deferred
        )


def _naming_session(name: Callable[..., str]) -> Callable[..., str]:
    def name_with_session(*content: Any, **options: Any) -> str:
        return tag(_session()) + name(*content, **options)

    name_with_session.names_session = True  # type: ignore[attr-defined]
    return name_with_session


def _session() -> str:
    context = get_script_run_ctx(suppress_warning=True)
    return _session_of_download.get() if context is None else context.session_id


def _in_its_session(execute: Callable[..., str]) -> Callable[..., str]:
    """A download is made when its button is pressed, outside of any run of a page."""

    def execute_in_its_session(manager: MediaFileManager, file_id: str) -> str:
        download = manager._deferred_callables.get(file_id)
        token = _session_of_download.set("" if download is None else download["session_id"])
        try:
            return execute(manager, file_id)
        finally:
            _session_of_download.reset(token)

    return execute_in_its_session
