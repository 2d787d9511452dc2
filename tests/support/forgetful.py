"""For scripts that tests serve: a session that begins again without another load of the page."""

from __future__ import annotations


def forget_on_request() -> None:
    """Empty the session if the address asks for it, as Streamlit does at its end; the address then says so no more."""
    import streamlit as st  # not at the top: a machine with a GPU may lack it
    from streamlit.runtime import get_instance
    from streamlit.runtime.caching import clear_session_data_cache, clear_session_resource_cache
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    from kdviz.app.uploads.session_end import empty

    context = get_script_run_ctx(suppress_warning=True)
    if context is not None and st.query_params.pop("forget", ""):
        # What the browser still shows is then unknown, as in a new session: no callback is called for it.
        empty(get_instance()._session_mgr.get_session_info(context.session_id).session)
        clear_session_data_cache(context.session_id)
        clear_session_resource_cache(context.session_id)
