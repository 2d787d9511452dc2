"""Teacher epochs: students of teachers that were stopped early."""

from __future__ import annotations

import streamlit as st

from kdviz.app import address
from kdviz.app.page_header import heading
from kdviz.app.pages.studies import TEACHER_EPOCHS, study_panel
from kdviz.app.pages.studies.sweeps import show_or_say
from kdviz.app.texts import plain
from kdviz.core.language import _
from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment


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
    if _have_one_network(opened.experiment):
        st.markdown(
            _(
                "Teacher and student have one and the same network here: with the same settings, a student's teacher "
                "is the student alone of the same seed, stopped early."
            )
        )
    show_or_say(opened, "teacher-epochs")


def _have_one_network(experiment: Experiment) -> bool:
    networks = [experiment.runs[role].network for role in (Role.TEACHER, Role.KD_STUDENT) if role in experiment.runs]
    return len(networks) == 2 and networks[0] == networks[1]
