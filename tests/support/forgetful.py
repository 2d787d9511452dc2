"""For scripts that tests serve: a session that begins again without another load of the page."""

from __future__ import annotations

import streamlit as st


def forget_on_request() -> None:
    """Empty the session's state if the address asks for it; the address then says so no more."""
    if st.query_params.pop("forget", ""):
        st.session_state.clear()
