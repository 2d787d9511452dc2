"""The page: picture and settings at the top, then the maps that the session's job has computed so far."""

from __future__ import annotations

import time

import streamlit as st

from kdviz import figures
from kdviz.app import address, service
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.compare import PAGE, picture, result, settings
from kdviz.app.pages.compare.own_pictures import say_problems
from kdviz.app.pages.compare.state import MapSession
from kdviz.app.pictures.absent_pictures import show_absent_pictures
from kdviz.app.results import results_for
from kdviz.app.texts import say_error, say_missing, together
from kdviz.core.errors import KdvizError
from kdviz.core.jobs import Job
from kdviz.core.language import _, listed
from kdviz.core.vocabulary import Role

_REFRESH_SECONDS, _REFRESH_SECONDS_LARGE = 0.3, 1.5  # a large map takes longer to estimate and to send


@st.cache_resource(scope="session", on_release=MapSession.cancel, show_spinner=False)
def _map_session() -> MapSession:
    return MapSession()


def page() -> None:
    address.keep_only("sample", "samples", "from", *settings.ADDRESS)
    opened = heading(PAGE)
    _show_lead(opened)
    if not opened.experiment.models:
        return
    say_problems()
    selected = picture.choose_picture(opened)
    map_request = settings.show_settings(opened, selected)
    if selected is None:
        return
    session = _map_session()
    try:
        results = results_for(private=opened.is_private or selected.sample is None)
        session.request(
            service.Request(opened, selected.picture, map_request.rows, map_request.target, map_request.roles, results)
        )
    except KdvizError as error:
        say_error(error)
        return
    if session.job is None:
        return
    _wait_briefly(session.job)
    refresh = None if session.job.ended else _refresh_seconds(opened, session.job)
    st.fragment(result.show, run_every=refresh)(selected, map_request, session, refresh is not None)
    show_absent_pictures(opened)


def _refresh_seconds(opened: OpenExperiment, job: Job[service.States]) -> float:
    return (_REFRESH_SECONDS_LARGE if opened.is_large else _REFRESH_SECONDS) * service.patience(job)


def _show_lead(opened: OpenExperiment) -> None:
    instruction = _("Pick a digit or bring a picture.") if opened.is_mnist else _("Pick an image or bring your own.")
    maps = _(
        "Each map shows what keeping a pixel does to the model's probability: :orange[**orange raises it**], "
        ":blue[**blue lowers it**]."
    )
    st.markdown(together([instruction, maps]))
    missing = [figures.role_title(role) for role in opened.experiment.runs if role not in opened.experiment.models]
    if missing:
        sentence = _(
            "Only the predictions are known of: {models}. There is no model to make maps of.", models=listed(missing)
        )
        say_missing(sentence)
    if Role.TEACHER not in opened.experiment.models:
        say_missing(_without_teacher(opened))


def _without_teacher(opened: OpenExperiment) -> str:
    if opened.experiment.models.keys() <= {Role.KD_STUDENT, Role.STUDENT}:
        return _("This experiment has no teacher model, only students: there is no teacher's map to compare with.")
    return _("None of these models is called the teacher: there is no teacher's map to compare the others with.")


def _wait_briefly(job: Job[service.States]) -> None:
    """Wait for a quarter of a second, often enough for everything; then for first maps, so that the old ones stay."""
    job.wait(0.25)
    end = time.monotonic() + 0.75
    while not job.latest and not job.wait(0.02) and time.monotonic() < end:
        pass
