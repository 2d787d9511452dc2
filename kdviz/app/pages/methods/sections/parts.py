"""The elements of a topic: paragraphs, headings, formulae."""

from __future__ import annotations

import zlib

import streamlit as st


def say(*paragraphs: str) -> None:
    for paragraph in paragraphs:
        st.markdown(paragraph)


def formula(latex: str, about: str = "") -> None:
    """Show a formula, with one line that explains its symbols."""
    with st.container(key=f"formula-{zlib.crc32(latex.encode())}"):
        st.latex(latex)
        if about:
            st.caption(about)


def heading(title: str) -> None:
    st.markdown(f"#### {title}")
