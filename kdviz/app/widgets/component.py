"""Components of the app, made of the files assets/app/<name>.js and .css."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.components.v2 import component as register

from kdviz.core.files import ASSETS
from kdviz.core.language import language

_ROOT = '<div class="k-root"></div>'


@st.cache_resource(show_spinner=False)
def component(name: str, html: str = _ROOT, more_scripts: tuple[str, ...] = ()) -> Any:
    """A component to put on a page; it is registered once for the server.

    Args:
        name: Name of its files, without the ending.
        html: HTML before its script runs; by default ``<div class="k-root">``, which the script fills.
        more_scripts: Names of further script files, which its script uses.
    """
    folder = ASSETS / "app"
    scripts = [(folder / f"{script}.js").read_text(encoding="utf-8") for script in (name, *more_scripts)]
    style = (folder / f"{name}.css").read_text(encoding="utf-8")
    return register(f"kdviz_{name}", html=html, css=style, js="\n".join(scripts))


def locale() -> str:
    """The page's language as browsers name it, for numbers that a script formats."""
    return language().replace("_", "-")
