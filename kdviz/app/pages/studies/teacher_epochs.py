"""Teacher epochs: students of teachers that were stopped early."""

from __future__ import annotations

import streamlit as st

from kdviz.app import address
from kdviz.app.page_header import heading
from kdviz.app.pages.studies import TEACHER_EPOCHS, study_panel
from kdviz.app.pages.studies.sweeps import show_or_say
from kdviz.app.texts import plain
from kdviz.core.language import _


def page() -> None:
    """Show the study of the teacher's epochs."""
    address.keep_only(*study_panel.ADDRESS)
    opened = heading(TEACHER_EPOCHS)
    st.markdown(
        _(
            "A teacher that has trained for longer is better itself, but surer of its answers, which may teach less. "
            "Each student learns from a teacher that was stopped after so many epochs. Data: {data}.",
            data=plain(opened.title),
        )
    )
    show_or_say(opened, "teacher-epochs")
