"""The frame of the app: navigation and start-up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from starlette.middleware import Middleware  # Streamlit's own dependency
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.app import links, login, session
from kdviz.app.page_registry import FIRST, Page, navigation, pages, path_of
from kdviz.app.protection.closed import ClosedRoutes
from kdviz.app.protection.headers import SecurityHeaders
from kdviz.app.protection.hosts import KnownHosts
from kdviz.app.protection.own_sessions import OwnSessions, bind_sessions
from kdviz.app.texts import say_error
from kdviz.app.uploads.quota import UploadQuota
from kdviz.app.uploads.session_end import use_running_loop
from kdviz.app.workarounds.nested_fragments import send_no_orphans
from kdviz.app.workarounds.session_lock import share_session_locks
from kdviz.core.errors import KdvizError
from kdviz.core.files import ASSETS
from kdviz.core.language import _
from kdviz.core.processes.memory import use_few_arenas

_log = logging.getLogger(__name__)
_layers: tuple[Any, ...] = (SecurityHeaders, KnownHosts, ClosedRoutes, OwnSessions, UploadQuota)
middleware = [Middleware(layer) for layer in _layers]
"""Middleware that every request passes before Streamlit gets it, the first one outermost."""


_workers_started = threading.Event()
_workers_started.set()  # without a server that starts, there is nothing to wait for


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Load the models and compute the first maps when the server starts, without blocking it."""
    use_few_arenas()  # before there are threads that work, and for the workers too
    _workers_started.clear()
    use_running_loop()
    bind_sessions()
    send_no_orphans()
    share_session_locks()
    threading.Thread(target=_start, name="kdviz-warm-up", daemon=True).start()
    await asyncio.sleep(0)
    yield


def _start() -> None:
    try:
        from kdviz.app import service  # slow: torch

        service.start_workers()
        _workers_started.set()
        service.warm_up()
    except KdvizError as error:
        _log.error("%s", error)  # the pages show it, too
    except Exception:
        _log.exception("warming up failed")
    finally:
        _workers_started.set()


def main() -> None:
    """Draw the app. Outside of a session nothing is done, so that ``app.py`` can be imported."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return
    _workers_started.wait()  # workers may be forked from this process, which must have computed nothing before
    st.set_page_config(page_title="kdviz", page_icon=str(ASSETS / "app" / "icon.svg"), layout="wide")
    st.html(ASSETS / "app" / "page.css")
    session.choose_language()
    if not login.passed():
        return
    targets = {name: _page(name) for name in pages}
    links.remember(targets)
    sections = {
        _(section) if section else "": [targets[name] for name in names]
        for section, names in navigation().items()
        if names
    }
    st.navigation(sections, position="top").run()


def _page(name: str) -> Any:
    page = pages[name]
    return st.Page(
        _guarded(name, page),
        title=_(page.title),
        icon=f":material/{page.icon}:",
        url_path=path_of(name),
        default=name == FIRST,
    )


def _guarded(name: str, page: Page) -> Callable[[], None]:
    def run() -> None:
        try:
            page.draw()
        except KdvizError as error:
            say_error(error)

    run.__name__ = name.replace("-", "_")
    return run
