"""What a topic is made of: paragraphs, headings, formulae."""

from __future__ import annotations

import zlib

import streamlit as st


def say(*paragraphs: str) -> None:
    for one in paragraphs:
        st.markdown(one)


def formula(latex: str, about: str = "") -> None:
    """A formula, and its symbols in one line."""
    with st.container(key=f"formula-{zlib.crc32(latex.encode())}"):
        st.latex(latex)
        if about:
            st.caption(about)


def heading(title: str) -> None:
    st.markdown(f"#### {title}")
