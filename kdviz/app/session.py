"""What a session has chosen for all pages, the language, and the models' titles in the experiment in view."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from kdviz.core import language
from kdviz.core.language import LANGUAGES

COOKIE = "kdviz-language"
_KEY = "language"
_CHOSEN = "language-chosen"
_TITLES = "titles"
_SHORT = {name.partition("_")[0]: name for name in LANGUAGES}
"""Language in the address -> its name: ``?lang=zh``."""

_language_of_run: ContextVar[str | None] = ContextVar("session_language", default=None)
"""Kept for a run: reading Streamlit's session state for each of hundreds of texts takes longer than translating."""
_titles_of_run: ContextVar[Mapping[str, str] | None] = ContextVar("session_titles", default=None)


def choose_language() -> None:
    """Choose the language of this run: that of the address, else the one chosen before, else the browser's."""
    requested = _SHORT.get(st.query_params.get("lang", ""))
    if requested:
        set_language(requested)
    elif _KEY not in st.session_state:
        st.session_state[_KEY] = _preferred_language()
    _language_of_run.set(st.session_state[_KEY])


def _preferred_language() -> str:
    """The language that this person chose in an earlier session, else the browser's."""
    return _SHORT.get(st.context.cookies.get(COOKIE, "")) or language.best_language(st.context.locale)


def set_language(name: str) -> None:
    """Change the language from now on."""
    st.session_state[_KEY] = name
    _language_of_run.set(name)
    st.session_state[_CHOSEN] = True
    st.query_params.pop("lang", None)


def cookie() -> str:
    """The cookie that keeps the choice of a language for this person's next session; empty if none was chosen."""
    short = next(short for short, name in _SHORT.items() if name == language.language())
    return f"{COOKIE}={short}; path=/; max-age=31536000; SameSite=Lax" if st.session_state.get(_CHOSEN) else ""


def _language() -> str | None:
    if get_script_run_ctx(suppress_warning=True) is None:
        return None
    name = _language_of_run.get()
    if name is None:  # a fragment runs alone, in a thread of its own
        name = st.session_state.get(_KEY) or _preferred_language()  # it may run in a session that begins again
        _language_of_run.set(name)
    return name


def name_models(titles: Mapping[str, str]) -> None:
    """Set the titles of the experiment that this run of the page shows, role -> title."""
    st.session_state[_TITLES] = titles
    _titles_of_run.set(titles)


def titles() -> Mapping[str, str]:
    """The titles that :func:`name_models` has set; empty outside of a session."""
    if get_script_run_ctx(suppress_warning=True) is None:
        return {}
    role_titles = _titles_of_run.get()
    if role_titles is None:  # a fragment, as above
        role_titles = st.session_state.get(_TITLES, {})
        _titles_of_run.set(role_titles)
    return role_titles


language.follow(_language)
