"""The frame of the app: navigation and start-up."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.errors import KdvizError
from kdviz.files import ASSETS
from kdviz.ui.texts import say_error

_log = logging.getLogger(__name__)


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


def main() -> None:
    """Draw the app. Does nothing outside of a session, so that ``app.py`` can be imported."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return
    st.set_page_config(page_title="kdviz", page_icon=str(ASSETS / "app" / "icon.png"), layout="wide")
    st.html(ASSETS / "app" / "page.css")
    from kdviz.ui import compare, dark_knowledge, mistakes, sweeps, teacher_epochs

    def page(run: Callable[[], None], title: str, icon: str, **more: Any) -> Any:
        return st.Page(_guarded(run), title=title, icon=f":material/{icon}:", **more)

    pages = {
        "compare": page(compare.page, "Compare", "compare", default=True),
        "mistakes": page(mistakes.page, "Mistakes", "fact_check", url_path="mistakes"),
        "temperature": page(sweeps.page, "Temperature", "device_thermostat", url_path="temperature"),
        "teacher-epochs": page(teacher_epochs.page, "Teacher epochs", "hourglass_top", url_path="teacher-epochs"),
        "dark-knowledge": page(dark_knowledge.page, "Dark knowledge", "dark_mode", url_path="dark-knowledge"),
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
