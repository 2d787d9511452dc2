"""The top of every page: title, experiment, a link to the view, and the language."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kdviz.app import address, library, login, session
from kdviz.app.page_registry import Page
from kdviz.app.texts import say_error
from kdviz.app.uploads import session_store
from kdviz.app.widgets.component import component, locale
from kdviz.app.workarounds.streamlit_i18n import streamlit_texts
from kdviz.core.language import LANGUAGES, _, language
from kdviz.figures.roles import follow_titles, titles_of

_LANGUAGE = "language-choice"  # key of the widget
_CHAIN = (
    '<svg viewBox="0 0 24 24" aria-hidden="true"><path d="M10 13.5a4 4 0 0 0 6 .4l3-3a4 4 0 0 0-5.7-5.7l-1.2 1.2"/>'
    '<path d="M14 10.5a4 4 0 0 0-6-.4l-3 3a4 4 0 0 0 5.7 5.7l1.2-1.2"/></svg>'
)
_LINK = (
    f'<div class="kl"><button type="button" aria-label="Link">{_CHAIN}<span></span></button>'
    '<span role="status"></span></div>'
)


def heading(page: Page) -> library.OpenExperiment:
    """Show the top of a page about an experiment: the title and, if there are several experiments, a choice of them.

    Returns:
        The chosen experiment.

    Raises:
        ExperimentError: There is no experiment, or it is not valid.
    """
    folders = library.folders()
    default = library.first(list(folders))
    container = plain_heading(page)
    _say_if_foreign(list(folders), default)
    name = address.read_choice(address.EXPERIMENT, list(folders), default)
    if len(folders) > 1:
        with container:
            name = _choice(name, folders)
    address.keep_only_for(name)
    address.keep(address.EXPERIMENT, name, default)
    opened = library.open_experiment(name)
    session.name_models(titles_of(opened.experiment.runs))
    return opened


def plain_heading(page: Page) -> Any:
    """Show the top of a page that is about no experiment, and return the container beside the title."""
    with st.container(horizontal=True, vertical_alignment="center", key="top"):
        st.title(_(page.heading), anchor=False, width="stretch")
        container = st.container(width="content", key="experiment")
        with st.container(horizontal=True, width="content", gap="small", key="tools"):
            _copy_link()
            _languages()
            _log_out()
    return container


def _say_if_foreign(names: list[str], default: str) -> None:
    """Show that a link cannot open an experiment of another session, and choose the default instead."""
    name = address.read(address.EXPERIMENT, default)
    if session_store.is_foreign(name, names):
        address.keep(address.EXPERIMENT, default, default)
        say_error(
            _(
                "The experiment '{name}' of this link was brought by another session or one that has ended, and only "
                "that session could see it; bring it yourself on the page Models. '{default}' is shown instead.",
                name=name[:60],
                default=default,
            )
        )


def _choice(name: str, folders: dict[str, library.Path]) -> str:
    names = list(folders)
    chosen = st.selectbox(
        _("Experiment"),
        names,
        index=names.index(name),
        format_func=lambda experiment: library.title(experiment, folders[experiment]),
        label_visibility="collapsed",
        width=210,
    )
    if chosen != name:
        address.forget()
        address.keep(address.EXPERIMENT, chosen, library.first(names))
        st.rerun()
    return chosen


def _copy_link() -> None:
    data = {"label": _("Copy a link to this view"), "copied": _("Link copied")}
    data |= {"language": locale(), "cookie": session.cookie(), "words": streamlit_texts()}
    component("link", _LINK, ("words",))(data=data, key="copy-link", width="content")


def _languages() -> None:
    if st.session_state.get(_LANGUAGE) != language():
        st.session_state[_LANGUAGE] = language()
    st.selectbox(
        _("Language"),
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        label_visibility="collapsed",
        width=118,
        key=_LANGUAGE,
        on_change=_choose_language,  # not a second run: between two, widgets that are not drawn yet leave the address
    )


def _choose_language() -> None:
    session.set_language(st.session_state[_LANGUAGE])


def _log_out() -> None:
    """Show a button to log out, if there is a login."""
    if login.is_on():
        st.button(_("Log out"), icon=":material/logout:", on_click=login.log_out, key="log-out")


follow_titles(session.titles)
