"""One lock for a session's state, where Streamlit gives each run of a page its own.

A click ends the run that is under way and starts the next one at once; until the first reaches its next element, both
change the session. Each of them locks the state, but with a lock that the other does not know: now and then Streamlit
then ends with "dictionary changed size during iteration", and the page stays empty.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

_LOCK = "_kdviz_lock"
_making = threading.Lock()


def share_session_locks() -> None:
    """Let all runs of a session use its one lock; done once a process.

    A version of Streamlit whose state is not as it is here is left alone.
    """
    try:
        from streamlit.runtime.state.safe_session_state import SafeSessionState
    except ImportError:
        return
    begin = SafeSessionState.__init__
    if not hasattr(begin, "shares_lock"):
        SafeSessionState.__init__ = _sharing_lock(begin)  # type: ignore[method-assign]


def session_lock(state: Any) -> AbstractContextManager[Any]:
    """The lock of a session's state; a thread that holds it may take it again.

    Args:
        state: Streamlit's ``SessionState``.
    """
    holder = getattr(state, "query_params", state)  # the part that lives as long, and takes another attribute
    with _making:
        lock = getattr(holder, _LOCK, None)
        if lock is None:
            lock = threading.RLock()
            with suppress(AttributeError):  # of another version; each run then has a lock of its own, as before
                setattr(holder, _LOCK, lock)
    return lock


def _sharing_lock(begin: Callable[..., None]) -> Callable[..., None]:
    def begin_with_shared_lock(safe: Any, state: Any, *arguments: Any, **options: Any) -> None:
        begin(safe, state, *arguments, **options)
        if "_lock" in vars(safe):
            object.__setattr__(safe, "_lock", session_lock(state))  # its own attributes are those of the state

    begin_with_shared_lock.shares_lock = True  # type: ignore[attr-defined]
    return begin_with_shared_lock
