"""HTML for what Streamlit has no element for. Every text in it is escaped by :func:`text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import streamlit as st

from kdviz import figures
from kdviz.core.files import ASSETS


def style() -> None:
    """Add the style sheet of these elements to the page; to be called once a run."""
    st.html(ASSETS / "app" / "about.css")


def text(value: object) -> str:
    """Any text, escaped for HTML."""
    return escape(str(value), quote=True)


def show(html: str, kind: str = "") -> None:
    """Show HTML, whose texts have passed :func:`text`."""
    st.html(f'<div class="ab {kind}">{html}</div>')


def role(name: str) -> str:
    """The symbol of a model in its colour, as HTML."""
    return f'<span class="ab-sym {figures.role_symbol(name)}" style="--role:{figures.role_colour(name)}"></span>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """A list of names, which are texts, with values, which are HTML."""
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
        label: Name of the table for a screen reader.
        columns: Titles of the columns, as texts.
        rows: Cells as HTML; the first of each names the row.
        parts: Indices of the rows above which there is a line.
        kinds: Index of a column -> ``left``, or ``wrap`` for long texts; other columns hold numbers.
    """
    kinds = dict(kinds or {})
    head = "".join(
        f'<th scope="col" class="{kinds.get(column, "")}">{text(title)}</th>' for column, title in enumerate(columns)
    )
    body = "".join(
        f'<tr{" class=part" if number in parts else ""}><th scope="row">{first}</th>'
        + "".join(f'<td class="{kinds.get(column, "")}">{cell}</td>' for column, cell in enumerate(rest, 1))
        + "</tr>"
        for number, (first, *rest) in enumerate(rows)
    )
    return (
        f'<div class="ab-scroll" role="region" tabindex="0" aria-label="{text(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
