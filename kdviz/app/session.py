"""What one session has chosen for all pages: the language; and what the models of the experiment in view are called."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.core import language
from kdviz.core.language import ENGLISH, LANGUAGES

COOKIE = "kdviz-language"
_KEY = "language"
_CHOSEN = "language-chosen"
_TITLES = "titles"
_SHORT = {name.partition("_")[0]: name for name in LANGUAGES}
"""Language in the address -> its name: ``?lang=zh``."""

_of_this_run: ContextVar[str | None] = ContextVar("session_language", default=None)
"""Hundreds of texts a run would each ask Streamlit's session state, which takes longer than to translate them."""
_titles_of_this_run: ContextVar[Mapping[str, str] | None] = ContextVar("session_titles", default=None)


def begin() -> None:
    """Choose the language: that of the address, else the one chosen before, else the browser's."""
    asked = _SHORT.get(st.query_params.get("lang", ""))
    if asked:
        choose(asked)
    elif _KEY not in st.session_state:
        before = _SHORT.get(st.context.cookies.get(COOKIE, ""))
        st.session_state[_KEY] = before or language.suited(st.context.locale)
    _of_this_run.set(st.session_state[_KEY])


def choose(name: str) -> None:
    """Change the language from now on."""
    st.session_state[_KEY] = name
    _of_this_run.set(name)
    st.session_state[_CHOSEN] = True
    st.query_params.pop("lang", None)


def cookie() -> str:
    """What the browser should keep of the choice, for this person's next session; empty when nothing was chosen."""
    short = next(short for short, name in _SHORT.items() if name == language.language())
    return f"{COOKIE}={short}; path=/; max-age=31536000; SameSite=Lax" if st.session_state.get(_CHOSEN) else ""


def _language() -> str | None:
    if get_script_run_ctx(suppress_warning=True) is None:
        return None
    spoken = _of_this_run.get()
    if spoken is None:  # a fragment runs alone, in a thread of its own
        spoken = st.session_state.get(_KEY, ENGLISH)
        _of_this_run.set(spoken)
    return spoken


def name_models(titles: Mapping[str, str]) -> None:
    """Role -> title, of the experiment that this run of the page shows."""
    st.session_state[_TITLES] = titles
    _titles_of_this_run.set(titles)


def titles() -> Mapping[str, str]:
    """What :func:`name_models` was told; empty outside of a session."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return {}
    known = _titles_of_this_run.get()
    if known is None:  # a fragment
        known = st.session_state.get(_TITLES, {})
        _titles_of_this_run.set(known)
    return known


language.follow(_language)
