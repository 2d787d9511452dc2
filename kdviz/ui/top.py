"""The top of every page: its title, and which experiment it shows."""

from __future__ import annotations

import streamlit as st

from kdviz.ui import address, library


def heading(title: str) -> library.OpenExperiment:
    """The title of a page and, when there are several experiments, a choice of them; the one that is chosen.

    Raises:
        ExperimentError: There is none, or it does not validate.
    """
    known = library.folders()
    default = library.first(list(known))
    with st.container(horizontal=True, vertical_alignment="center", key="top"):
        st.title(title, anchor=False, width="stretch")
        place = st.container(width="content", key="experiment")
    name = address.read_choice(address.EXPERIMENT, list(known), default)
    if len(known) > 1:
        with place:
            name = _choice(name, known)
    address.keep(address.EXPERIMENT, name, default)
    return library.open_experiment(name)


def _choice(name: str, known: dict[str, library.Path]) -> str:
    names = list(known)
    chosen = st.selectbox(
        "Experiment",
        names,
        index=names.index(name),
        format_func=lambda one: library.title(one, known[one]),
        label_visibility="collapsed",
        width=210,
    )
    if chosen != name:
        address.forget()
        address.keep(address.EXPERIMENT, chosen, library.first(names))
        st.rerun()
    return chosen
