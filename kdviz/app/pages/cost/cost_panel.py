"""The part of the page Cost that measures on the server's machine."""

from __future__ import annotations

import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.cost.profiler_process import Measurement, SessionMeasurement, measurer
from kdviz.app.texts import plain, say_error, say_missing
from kdviz.compress.cost import FORMS, Form
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, percent

_REFRESH_SECONDS = 0.5

STORED, HERE = "stored", "here"
"""Sources of figures: the experiment's table, or a measurement on this server."""


@st.cache_resource(scope="session", on_release=SessionMeasurement.end, show_spinner=False)
def session_measurement() -> SessionMeasurement:
    return SessionMeasurement()


def command(opened: OpenExperiment) -> str:
    """The command that measures in a terminal."""
    data = "" if opened.is_mnist or opened.samples is not None else " --data DIR"
    return f"kdviz profile -e {opened.command_folder}{data}"


def show_measurement(opened: OpenExperiment, *, first: bool) -> None:
    st.subheader(_("Measure on this machine"), anchor=False)
    if first:
        say_missing(
            _("What these models cost was not measured yet. Measure it here, or in a terminal, which also keeps it:"),
            command(opened),
        )
    else:
        st.markdown(
            _("Takes about a minute for small models, in a process of its own. To keep the figures, use the command:")
        )
        st.code(command(opened), language=None, wrap_lines=True)
    current = measurer().current
    running = current is not None and not current.ended
    st.fragment(_show_controls, run_every=_REFRESH_SECONDS if running else None)(opened, running)


def _show_controls(opened: OpenExperiment, running: bool) -> None:
    """Show the button, or how far the measurement is; while it is under way, only this is run again."""
    current = measurer().current
    if current is not None and not current.ended:
        _show_progress(opened, current)
        return
    if running:  # it has just ended: run the page again to show the outcome
        st.session_state.pop("cost-from-2", None)
        address.keep("from", HERE, HERE)
        st.rerun()
    if current is not None and current is session_measurement().measurement:
        _show_outcome(current)
    if st.button(_("Measure on this machine"), icon=":material/speed:", key="measure"):
        try:
            session_measurement().measurement = measurer().start(opened.experiment.folder, opened.fingerprint)
        except KdvizError as error:
            say_error(error)
            return
        st.rerun()


def _show_progress(opened: OpenExperiment, current: Measurement) -> None:
    is_own = current is session_measurement().measurement
    activity = _activity(current) if current.folder == opened.experiment.folder else _("another experiment")
    label = _("Measuring: {share}, {doing}", share=percent(current.share, 0), doing=activity)
    st.progress(current.share, text=plain(label))
    if not is_own:
        st.caption(_("Somebody else began it; what it finds is shown to everybody who opens that experiment."))
        return
    if st.button(_("Stop"), icon=":material/stop:", key="measure-stop"):
        current.stop()
        current.wait(2)
        st.rerun()


def _activity(current: Measurement) -> str:
    """What the command says that it does, in the page's language."""
    name, _comma, form_text = current.activity.partition(",")
    if current.activity.endswith(": files"):
        return _("files of {model}", model=figures.role_title(current.activity.removesuffix(": files")))
    if current.activity.endswith(": accuracy"):
        form = form_text.strip().removesuffix(": accuracy")
        title = _(FORMS[Form(form)]) if form in FORMS else form
        return _("accuracy of {model}, {form}", model=figures.role_title(name), form=title)
    return _("times") if current.activity in ("times", "done") else _("starting")


def _show_outcome(current: Measurement) -> None:
    if current.status == "failed":
        say_error(current.error)
    elif current.status == "stopped":
        st.caption(_("Stopped; nothing of it is kept."))
