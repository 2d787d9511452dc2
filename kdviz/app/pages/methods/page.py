"""Methods and limits: what is computed, by which formulae, and what it does not say."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from kdviz.app import address, links
from kdviz.app.page_header import plain_heading
from kdviz.app.pages.methods import PAGE, sections
from kdviz.app.widgets import html
from kdviz.core.language import N_, _

TOPICS: dict[str, tuple[str, Callable[[], None]]] = {
    "reading": (N_("How to read a map"), sections.reading),
    "limits": (N_("What a map does not say"), sections.limits),
    "choosing": (N_("Which method for which model"), sections.choosing),
    "rise": (N_("RISE"), sections.rise),
    "estimators": (N_("Estimators"), sections.estimators),
    "uncertainty": (N_("Standard error and reliability"), sections.uncertainty),
    "agreement": (N_("Agreement and noise ceiling"), sections.agreement),
    "faithfulness": (N_("Deletion and insertion"), sections.faithfulness),
    "distillation": (N_("Temperature, alpha, the loss"), sections.distillation),
    "errors": (N_("Calibration, errors, tests"), sections.errors),
    "glossary": (N_("Glossary"), sections.glossary),
    "references": (N_("Papers"), sections.references),
}
"""Name in the address (``?topic=agreement``, which other pages may link to) -> title and the function that draws it."""


def page() -> None:
    address.keep_only("topic")
    plain_heading(PAGE)
    html.style()
    left, right = st.columns([1, 3], gap="large")
    with left, st.container(key="topics"):
        name = _choose_topic()
    title, draw = TOPICS[name]
    with right, st.container(key="topic"):
        st.subheader(_(title), anchor=False)
        draw()
        _show_next(name)


def _choose_topic() -> str:
    names = list(TOPICS)
    requested = address.read_choice("topic", names, names[0])
    if st.session_state.get("topic-shown") != requested:
        st.session_state["topic-chosen"] = requested  # the reader followed a link
    name = st.radio(
        _("Topic"),
        names,
        format_func=lambda topic: _(TOPICS[topic][0]),
        label_visibility="collapsed",
        key="topic-chosen",
    )
    name = name or requested
    st.session_state["topic-shown"] = name
    address.keep("topic", name, names[0])
    return name


def _show_next(name: str) -> None:
    names = list(TOPICS)
    following = names.index(name) + 1
    if following < len(names):
        label = _("Next: {topic}", topic=_(TOPICS[names[following]][0]))
        links.page_link("methods", label, "arrow_forward", {"topic": names[following]})
