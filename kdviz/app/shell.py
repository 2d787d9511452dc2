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

from kdviz.app import login, session
from kdviz.app.texts import say_error
from kdviz.app.uploads.quota import UploadQuota
from kdviz.core.errors import KdvizError
from kdviz.core.files import ASSETS
from kdviz.core.language import _

_log = logging.getLogger(__name__)
middleware = [Middleware(UploadQuota)]
"""What every request goes through before Streamlit has it."""


_workers_started = threading.Event()
_workers_started.set()  # where no server begins, there is nothing to wait for


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[None]:
    """Start with the server: load the models and the first maps before anybody asks, without blocking it."""
    _workers_started.clear()
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
        _log.error("%s", error)  # the pages say it too
    except Exception:
        _log.exception("warming up failed")
    finally:
        _workers_started.set()


def main() -> None:
    """Draw the app. Does nothing outside of a session, so that ``app.py`` can be imported."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return
    _workers_started.wait()  # they may become copies of this process, which must have computed nothing
    st.set_page_config(page_title="kdviz", page_icon=str(ASSETS / "app" / "icon.svg"), layout="wide")
    st.html(ASSETS / "app" / "page.css")
    session.begin()
    if not login.passed():
        return
    sections = _sections()
    st.session_state["pages"] = {page.url_path or "overview": page for pages in sections.values() for page in pages}
    st.navigation(sections, position="top").run()


def _sections() -> dict[str, list[Any]]:
    """Heading in the navigation -> its pages."""
    from kdviz.app.pages import compare, dark_knowledge, overview
    from kdviz.app.pages.attention import page as attention
    from kdviz.app.pages.bring_models import page as bring_models
    from kdviz.app.pages.cost import page as cost
    from kdviz.app.pages.methods import page as methods
    from kdviz.app.pages.mistakes import page as mistakes
    from kdviz.app.pages.models import page as models
    from kdviz.app.pages.studies import sweeps, teacher_epochs

    return {
        "": [
            _page(overview.page, _("Overview"), "dashboard", default=True),
            _page(compare.page, _("Compare"), "compare", url_path="compare"),
            _page(mistakes.page, _("Mistakes"), "fact_check", url_path="mistakes"),
        ],
        _("Studies"): [
            _page(sweeps.page, _("Temperature and other sweeps"), "device_thermostat", url_path="temperature"),
            _page(teacher_epochs.page, _("Teacher epochs"), "hourglass_top", url_path="teacher-epochs"),
            _page(attention.page, _("Attention study"), "visibility", url_path="attention"),
            _page(cost.page, _("Cost"), "balance", url_path="cost"),
            _page(dark_knowledge.page, _("Dark knowledge"), "dark_mode", url_path="dark-knowledge"),
        ],
        _("About"): [
            _page(bring_models.page, _("Bring your models"), "upload_file", url_path="bring"),
            _page(models.page, _("Models"), "deployed_code", url_path="models"),
            _page(methods.page, _("Methods and limits"), "menu_book", url_path="methods"),
        ],
    }


def _page(run: Callable[[], None], title: str, icon: str, **more: Any) -> Any:
    return st.Page(_guarded(run), title=title, icon=f":material/{icon}:", **more)


def _guarded(page: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            page()
        except KdvizError as error:
            say_error(error)

    run.__name__ = page.__module__.rpartition(".")[2]
    return run
