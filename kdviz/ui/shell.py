"""The frame of the app: navigation, start-up, and errors as one sentence."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.errors import KdvizError
from kdviz.files import ASSETS

_log = logging.getLogger(__name__)
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|<>~$:^&])")


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start with the server: load the models and the first maps before anybody asks, without blocking it."""

    def warm_up() -> None:
        try:
            from kdviz.ui import service  # slow: torch

            service.warm_up()
        except KdvizError as error:
            _log.error("%s", error)  # the pages say it too
        except Exception:
            _log.exception("warming up failed")

    threading.Thread(target=warm_up, name="kdviz-warm-up", daemon=True).start()
    await asyncio.sleep(0)
    yield


def plain(text: str) -> str:
    """Text from a user or a file for places that read Markdown: nothing in it has a meaning."""
    return _MARKDOWN.sub(r"\\\1", text)


def say_error(error: KdvizError | str) -> None:
    """Show what went wrong, as one sentence."""
    st.error(plain(str(error)), icon=":material/error:")


def main() -> None:
    """Draw the app. Does nothing outside of a session, so that ``app.py`` can be imported."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return
    st.set_page_config(page_title="kdviz", page_icon=str(ASSETS / "app" / "icon.png"), layout="wide")
    st.html(ASSETS / "app" / "page.css")
    from kdviz.ui import compare, mistakes, temperature

    pages = {
        "compare": st.Page(_guarded(compare.page), title="Compare", icon=":material/compare:", default=True),
        "mistakes": st.Page(
            _guarded(mistakes.page), title="Mistakes", icon=":material/fact_check:", url_path="mistakes"
        ),
        "temperature": st.Page(
            _guarded(temperature.page), title="Temperature", icon=":material/device_thermostat:", url_path="temperature"
        ),
    }
    st.session_state["pages"] = pages
    st.navigation(list(pages.values()), position="top").run()


def _guarded(page: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            page()
        except KdvizError as error:
            say_error(error)

    run.__name__ = page.__module__.rpartition(".")[2]
    return run


def heading(title: str, lead: str) -> None:
    """The title of a page, and one sentence on what it answers."""
    st.title(title, anchor=False)
    st.markdown(lead)
