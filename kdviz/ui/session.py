"""What one session has chosen for all pages: the language."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz import language
from kdviz.language import ENGLISH, LANGUAGES

_KEY = "language"
_SHORT = {name.partition("_")[0]: name for name in LANGUAGES}
"""Language in the address -> its name: ``?lang=zh``."""


def begin() -> None:
    """Choose the language: that of the address, else the one chosen before, else the browser's."""
    asked = _SHORT.get(st.query_params.get("lang", ""))
    if asked:
        st.session_state[_KEY] = asked
    elif _KEY not in st.session_state:
        st.session_state[_KEY] = language.suited(st.context.locale)


def choose(name: str) -> None:
    """Change the language from now on."""
    st.session_state[_KEY] = name
    st.query_params.pop("lang", None)


def _language() -> str | None:
    if get_script_run_ctx(suppress_warning=True) is None:
        return None
    return st.session_state.get(_KEY, ENGLISH)


language.follow(_language)
