"""For scripts that tests serve: a session that begins again without another load of the page."""

from __future__ import annotations

import threading

_run = threading.local()


def forget_on_request() -> None:
    """Empty the session if the address asks for it, as Streamlit does at its end; the address then says so no more.

    Of the page itself, that run draws the heading alone: it is there for the browser to let go of all others.
    """
    import streamlit as st  # not at the top: a machine with a GPU may lack it
    from streamlit.runtime import get_instance
    from streamlit.runtime.caching import clear_session_data_cache, clear_session_resource_cache
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    from kdviz.app.uploads.session_end import empty

    _draw_headings_alone()
    context = get_script_run_ctx(suppress_warning=True)
    _run.forgets = context is not None and bool(st.query_params.pop("forget", ""))
    if context is not None and _run.forgets:
        # What the browser still shows is then unknown, as in a new session: no callback is called for it.
        empty(get_instance()._session_mgr.get_session_info(context.session_id).session)
        clear_session_data_cache(context.session_id)
        clear_session_resource_cache(context.session_id)


def _draw_headings_alone() -> None:
    """Make pages draw their heading, and nothing else, in runs that forget."""
    from kdviz.app.page_header import plain_heading
    from kdviz.app.page_registry import Page

    whole = Page.draw
    if whole.__name__ != "draw":
        return

    def draw_or_forget(page: Page) -> None:
        plain_heading(page) if getattr(_run, "forgets", False) else whole(page)

    Page.draw = draw_or_forget
