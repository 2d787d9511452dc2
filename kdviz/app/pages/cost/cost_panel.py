"""The part of the page Cost that measures on the server's machine."""

from __future__ import annotations

import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.cost.profiler_process import Measurement, SessionMeasurement, measurer
from kdviz.app.texts import plain, say_error, say_missing
from kdviz.compress.cost import FORMS
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, percent

STORED, HERE = "stored", "here"
"""Where figures come from: the experiment's table, or a measurement of this server."""


@st.cache_resource(scope="session", on_release=SessionMeasurement.end, show_spinner=False)
def mine() -> SessionMeasurement:
    return SessionMeasurement()


def command(opened: OpenExperiment) -> str:
    """What measures in a terminal."""
    data = "" if opened.is_mnist or opened.shown is not None else " --data DIR"
    return f"kdviz profile -e {opened.command_folder}{data}"


def section(opened: OpenExperiment, *, first: bool) -> None:
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
    st.fragment(_controls, run_every=0.5 if running else None)(opened, running)


def _controls(opened: OpenExperiment, running: bool) -> None:
    """The button, or how far it is; runs alone while something is measured."""
    current = measurer().current
    if current is not None and not current.ended:
        _progress(opened, current)
        return
    if running:  # it has just ended: the page shows what came out
        st.session_state.pop("cost-from-2", None)
        address.keep("from", HERE, HERE)
        st.rerun()
    if current is not None and current is mine().begun:
        _ended(current)
    if st.button(_("Measure on this machine"), icon=":material/speed:", key="measure"):
        try:
            mine().begun = measurer().start(opened.experiment.folder, opened.fingerprint)
        except KdvizError as error:
            say_error(error)
            return
        st.rerun()


def _progress(opened: OpenExperiment, current: Measurement) -> None:
    is_mine = current is mine().begun
    doing = _doing(current) if current.folder == opened.experiment.folder else _("another experiment")
    words = _("Measuring: {share}, {doing}", share=percent(current.share, 0), doing=doing)
    st.progress(current.share, text=plain(words))
    if not is_mine:
        st.caption(_("Somebody else began it; what it finds is shown to everybody who opens that experiment."))
        return
    if st.button(_("Stop"), icon=":material/stop:", key="measure-stop"):
        current.stop()
        current.wait(2)
        st.rerun()


def _doing(current: Measurement) -> str:
    """The command's words for what it does, in the page's language."""
    name, _comma, rest = current.doing.partition(",")
    if current.doing.endswith(": files"):
        return _("files of {model}", model=figures.role_title(current.doing.removesuffix(": files")))
    if current.doing.endswith(": accuracy"):
        form = rest.strip().removesuffix(": accuracy")
        title = _(FORMS[form]) if form in FORMS else form
        return _("accuracy of {model}, {form}", model=figures.role_title(name), form=title)
    return _("times") if current.doing in ("times", "done") else _("starting")


def _ended(current: Measurement) -> None:
    if current.status == "failed":
        say_error(current.error)
    elif current.status == "stopped":
        st.caption(_("Stopped; nothing of it is kept."))
