"""HTML for what Streamlit has no element for. Every text in it goes through :func:`text`: nothing has a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st

from kdviz import figures
from kdviz.core.files import ASSETS


def style() -> None:
    """Put the style of these pages into the page; call it once a run."""
    st.html(ASSETS / "app" / "about.css")


def text(value: object) -> str:
    """Any text as HTML."""
    return escape(str(value), quote=True)


def show(html: str, kind: str = "") -> None:
    """HTML that is put together from :func:`text`."""
    st.html(f'<div class="ab {kind}">{html}</div>')


def role(name: str) -> str:
    """The colour and symbol of a model, for a style attribute's element: ``<span class=...>``."""
    return f'<span class="ab-sym {figures.role_symbol(name)}" style="--role:{figures.role_colour(name)}"></span>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Names, which are texts, with values, which are HTML."""
    return "<dl>" + "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in pairs) + "</dl>"


def table(
    label: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    parts: Sequence[int] = (),
    kinds: Mapping[int, str] | None = None,
) -> str:
    """A table that scrolls sideways where it is too wide.

    Args:
        label: What it is, for a screen reader.
        columns: Texts.
        rows: Cells as HTML; the first of each names the row.
        parts: Rows above which there is a line.
        kinds: Column -> ``left``, or ``wrap`` for long texts; others are numbers.
    """
    kinds = dict(kinds or {})
    head = "".join(
        f'<th scope="col" class="{kinds.get(place, "")}">{text(one)}</th>' for place, one in enumerate(columns)
    )
    body = "".join(
        f'<tr{" class=part" if number in parts else ""}><th scope="row">{first}</th>'
        + "".join(f'<td class="{kinds.get(place, "")}">{cell}</td>' for place, cell in enumerate(rest, 1))
        + "</tr>"
        for number, (first, *rest) in enumerate(rows)
    )
    return (
        f'<div class="ab-scroll" role="region" tabindex="0" aria-label="{text(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
