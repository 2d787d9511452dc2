"""Links from one page to another; they keep the experiment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from kdviz.app import address

_PAGES = "pages"


def remember(targets: Mapping[str, Any]) -> None:
    """Remember the pages of this run: name -> the object of ``st.Page``."""
    st.session_state[_PAGES] = dict(targets)


def page_link(name: str, label: str, icon: str = "", query: Mapping[str, str] | None = None) -> None:
    """Show a link to another page.

    Args:
        name: Name of the page in :data:`kdviz.app.page_registry.pages`.
        label: Text of the link, as Markdown.
        icon: Name of a Material symbol.
        query: Query parameters; the experiment in view is added.
    """
    symbol = f":material/{icon}:" if icon else None
    st.page_link(st.session_state[_PAGES][name], label=label, icon=symbol, query_params=_with_experiment(query))


def open_page(name: str, query: Mapping[str, str] | None = None) -> None:
    """Go to another page at once; see :func:`page_link`."""
    st.switch_page(st.session_state[_PAGES][name], query_params=_with_experiment(query))


def _with_experiment(query: Mapping[str, str] | None) -> dict[str, str]:
    experiment = st.query_params.get(address.EXPERIMENT)
    return {**({address.EXPERIMENT: experiment} if experiment else {}), **(query or {})}
