"""What pages say and offer where an experiment's pictures are not passed on with it and were not fetched yet."""

from __future__ import annotations

import os
from collections.abc import Sequence

import streamlit as st

from kdviz.app.library import OpenExperiment
from kdviz.app.limits import fetching_allowed
from kdviz.app.pictures.picture_job import PictureJob, picture_fetcher
from kdviz.app.texts import plain, say_error, say_missing
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, listed, number, percent
from kdviz.data.photographs import photographs

_REFRESH_SECONDS = 0.5

_STARTED = "picture-job"  # the job that this session has started


def show_absent_pictures(opened: OpenExperiment) -> None:
    """Say that the pictures are not here and how to get them; a button fetches them where the server allows it.

    Nothing is shown where they are here, or are not known to be had.
    """
    current = picture_fetcher().current
    running = current is not None and not current.ended
    if opened.can_fetch:
        st.fragment(_show, run_every=_REFRESH_SECONDS if running else None)(opened, running)


def may_fetch(opened: OpenExperiment) -> bool:
    """Whether a visitor may start the download: not for what a session brought, nor into a folder that is read-only."""
    return fetching_allowed() and not opened.is_private and os.access(opened.experiment.folder, os.W_OK)


def _show(opened: OpenExperiment, running: bool) -> None:
    """Show what is missing, or how far the download is; while it is under way, only this is run again."""
    current = picture_fetcher().current
    is_own = current is not None and current.folder == opened.experiment.folder
    if current is not None and is_own and not current.ended:
        _show_progress(current)
        return
    if running and (current is None or current.ended):
        st.rerun()  # the whole page: the pictures are here, or the outcome is to be shown
    say_missing(_sentence(opened), opened.get_command)
    if current is not None and current.status == "failed" and st.session_state.get(_STARTED) is current:
        say_error(current.error)
    if may_fetch(opened) and st.button(_button(opened), icon=":material/download:", key="get-pictures"):
        try:
            st.session_state[_STARTED] = picture_fetcher().start(opened.experiment.folder)
        except KdvizError as error:
            say_error(error)
            return
        st.rerun()


def _sentence(opened: OpenExperiment) -> str:
    source = opened.experiment.picture_source
    assert source is not None
    return _(
        "The pictures of {dataset} may not be passed on with kdviz: predictions and figures are shown without them. "
        "This gets them ({download}):",
        dataset=source.dataset,
        download=_download(opened),
    )


def _button(opened: OpenExperiment) -> str:
    return _("Get the pictures ({download})", download=plain(_download(opened)))


def _download(opened: OpenExperiment) -> str:
    """Size and source of the download, as far as they are known."""
    source = opened.experiment.picture_source
    assert source is not None
    values = {"size": number(source.megabytes), "site": source.site}
    if source.megabytes and source.site:
        return _("{size} MB from {site}", **values)
    if source.megabytes:
        return _("{size} MB", **values)
    return _("from {site}", **values) if source.site else _("a download")


def _show_progress(current: PictureJob) -> None:
    if current.share < 1:
        label = _("Getting the pictures: {share}", share=percent(current.share, 0))
    else:
        label = _("The pictures are here and are compared with those that the models saw.")
    st.progress(current.share, text=plain(label))
    if st.button(_("Stop"), icon=":material/stop:", key="get-pictures-stop"):
        current.stop()
        current.wait(2)
        st.rerun()


def photograph_note(names: Sequence[str], *only: str) -> str:
    """What photographs of no data set are, and whose: of those with these names, all or ``only`` some.

    Args:
        names: Names of the photographs of an experiment.
        only: Names of those that are told of.
    """
    known = photographs()
    credits = [
        _(
            "{shows} by {author} ({licence}), from {package}",
            shows=photograph.shows,
            author=photograph.author,
            licence=photograph.licence,
            package=photograph.package,
        )
        for photograph in (known[name] for name in names if name in known and (not only or name in only))
    ]
    if not credits:
        return _("Photographs that are no test pictures, and that no model was trained on.")
    return _(
        "Photographs that are no test pictures, and that no model was trained on: {credits}.",
        credits=listed(credits, "; "),
    )
