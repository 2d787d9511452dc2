"""The end of a session for Streamlit, which otherwise keeps its state until somebody else comes, two minutes later.

What a script put into ``st.session_state``, what its callbacks and fragments refer to, and what was uploaded, would
stay in memory after the session's files are gone.
"""

from __future__ import annotations

import asyncio
import gc
import threading
from contextlib import suppress

from streamlit.runtime import exists, get_instance
from streamlit.runtime.app_session import AppSession

from kdviz.app.workarounds.session_lock import session_lock

_UNWOUND = 2.0  # seconds, after which nothing of a closed session runs any more

_loops: list[asyncio.AbstractEventLoop] = []  # the server's, once it runs


def use_running_loop() -> None:
    """Close sessions on the running event loop: the server's, as Streamlit wants it."""
    _loops[:] = [asyncio.get_running_loop()]


def close_session(session: str) -> None:
    """Close a session whose tab is gone, and collect what it leaves: Streamlit's objects refer to each other.

    Nothing happens outside of a server that has called :func:`use_running_loop`.

    Args:
        session: The identifier of the session.
    """
    if not (_loops and exists()):
        return
    with suppress(RuntimeError):  # the server is stopping
        _loops[0].call_soon_threadsafe(_close, session)
    timer = threading.Timer(_UNWOUND, gc.collect)
    timer.daemon = True
    timer.start()


def _close(session: str) -> None:
    runtime = get_instance()
    if runtime.is_active_session(session):
        return  # its connection came back just now
    info = None
    with suppress(AttributeError):  # Streamlit's own, which another version may call otherwise
        info = runtime._session_mgr.get_session_info(session)
    runtime.close_session(session)  # first, as it stops a script that would miss what is emptied now
    if info is not None:
        # Streamlit's loop keeps a reference to the session that was active last until another one is.
        empty(info.session)


def empty(session: AppSession) -> None:
    """Forget what a session's pages kept, and the widgets that they had: no callback of theirs is called any more."""
    with suppress(AttributeError), session_lock(session.session_state):  # as above
        session.session_state.clear()
        session.session_state._new_widget_state.widget_metadata.clear()  # the callbacks and their arguments
        session._fragment_storage.clear()
