"""The page's own pieces in HTML and canvas: their files are assets/app/<name>.js and .css."""

from __future__ import annotations

from typing import Any

import streamlit as st
from streamlit.components.v2 import component

from kdviz.app.streamlit_i18n import plotly_locale
from kdviz.core.files import ASSETS
from kdviz.core.language import ENGLISH, language


def chart(figure: Any, key: str) -> None:
    """A figure of Plotly, in the page's language."""
    config: dict[str, Any] = {"displaylogo": False}
    if language() != ENGLISH:
        config |= {"locale": locale(), "locales": {locale(): plotly_locale()}}
    st.plotly_chart(figure, key=key, config=config)


@st.cache_resource(show_spinner=False)
def part(name: str) -> Any:
    """A piece to put on a page, by the name of its files; its script finds ``<div class="k-root">``."""
    folder = ASSETS / "app"
    return component(
        f"kdviz_part_{name}",
        html='<div class="k-root"></div>',
        css=(folder / f"{name}.css").read_text(encoding="utf-8"),
        js=(folder / f"{name}.js").read_text(encoding="utf-8"),
    )


def locale() -> str:
    """The page's language as browsers name it, for numbers that a script formats."""
    return language().replace("_", "-")
