"""Charts on a page, with their downloads."""

from __future__ import annotations

from functools import partial
from typing import Any

import streamlit as st

from kdviz.app.texts import download
from kdviz.app.widgets.component import locale
from kdviz.app.workarounds.streamlit_i18n import plotly_locale
from kdviz.core.language import ENGLISH, language
from kdviz.figures import Chart

_FILES = {"png": "image/png", "svg": "image/svg+xml"}


def show_chart(figure: Any, key: str) -> None:
    """Show a figure of Plotly in the page's language."""
    config: dict[str, Any] = {"displaylogo": False}
    if language() != ENGLISH:
        config |= {"locale": locale(), "locales": {locale(): plotly_locale()}}
    st.plotly_chart(figure, key=key, config=config)


def chart_downloads(chart: Chart, name: str, *data: Any, label: str = "HTML", **options: Any) -> None:
    """Show buttons that save a chart as HTML, PNG and SVG.

    Args:
        chart: The chart.
        name: Name of the files, without the ending.
        *data: Positional arguments of the chart.
        label: Label of the button for HTML.
        **options: Keyword arguments of the chart.
    """
    download(label, f"{name}.html", "text/html", partial(chart.html, *data, **options))
    for kind, mime in _FILES.items():
        download(kind.upper(), f"{name}.{kind}", mime, partial(chart.file, kind, *data, **options))
