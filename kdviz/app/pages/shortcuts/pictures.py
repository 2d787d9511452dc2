"""A few pictures of a study of shortcuts, with the maps of every model with and without the mark."""

from __future__ import annotations

import numpy as np
import streamlit as st

from kdviz import figures
from kdviz.app.library import OpenExperiment
from kdviz.app.texts import plain
from kdviz.core.language import _, percent
from kdviz.figures.overlay import enlarged, overlay
from kdviz.studies.shortcuts import ShortcutsReport
from kdviz.studies.shortcuts.views import ShownView, read_shown

_SIDE = 168  # of a picture on the page


def show_pictures(opened: OpenExperiment, report: ShortcutsReport, method: str) -> None:
    """Show the kept pictures of a condition, if there are any."""
    views = [view for view in read_shown(opened.experiment, report.condition) if view.method == method]
    if not views:
        return
    st.subheader(_("Pictures and their maps"), anchor=False)
    st.caption(
        _(
            "Random test pictures with the mark of another class, whose probability the maps explain, and below "
            "without it. Orange raises it, blue lowers it; one scale for both rows."
        )
    )
    for sample in dict.fromkeys(view.sample for view in views):
        _show_sample(opened, [view for view in views if view.sample == sample])


def _show_sample(opened: OpenExperiment, views: list[ShownView]) -> None:
    classes = opened.experiment.classes
    first = views[0]
    st.markdown(
        _(
            "Sample {number}, true class **{label}**, with the mark of **{cue}**",
            number=first.sample,
            label=plain(classes[first.label]),
            cue=plain(classes[first.cue]),
        )
    )
    limits = {
        role: _limit([view for view in views if view.role == role]) for role in dict.fromkeys(v.role for v in views)
    }
    for planted in (True, False):
        row = [view for view in views if view.planted == planted]
        with st.container(horizontal=True, gap="small"):
            alt = _("with the mark") if planted else _("without the mark")
            st.image(enlarged(row[0].picture, _SIDE), caption=alt, width=_SIDE, alt=alt)
            for view in row:
                _show_map(view, limits[view.role], classes)


def _limit(views: list[ShownView]) -> float:
    """The value with the strongest colour, of one model's maps of one picture."""
    return max(float(np.abs(view.values).max()) for view in views)


def _show_map(view: ShownView, limit: float, classes: tuple[str, ...]) -> None:
    inside = "–" if view.energy != view.energy else percent(view.energy, 0)
    caption = _(
        "{model}: says {answer}, {inside} inside",
        model=figures.role_title(view.role),
        answer=classes[view.predicted],
        inside=inside,
    )
    st.image(overlay(view.picture, view.values, limit, _SIDE), caption=plain(caption), width=_SIDE, alt=caption)
