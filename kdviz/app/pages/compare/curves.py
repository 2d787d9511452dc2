"""Deletion and insertion curves of the maps, on request."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app.pages.compare.settings import BASELINE_TITLES
from kdviz.app.pages.compare.state import MapSession, found_curves
from kdviz.app.texts import download, say_error
from kdviz.app.widgets import viewer
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, number
from kdviz.metrics import Faithfulness
from kdviz.serving import RemoteJob

_REFRESH_SECONDS = 0.4
Curves = dict[str, dict[str, Faithfulness]]


def curves(current: MapSession, place: int, row: viewer.ViewerRow) -> None:
    """A button, then progress, then the curves of one row of maps."""
    job = current.curves.get(place)
    title = _("Deletion and insertion: do the maps tell the truth about their models?")
    if row.heading:
        title = f"{title} {row.heading}"
    with st.expander(title, icon=":material/show_chart:", expanded=job is not None):
        st.caption(
            _(
                "Deletion removes the pixels that the map calls important, the most important first: with a good map "
                "the probability of the class falls early. Insertion puts them back: it rises early. A blurred copy "
                "of the picture, which knows no model, is drawn for comparison."
            )
        )
        if job is None:
            if st.button(_("Compute the curves"), icon=":material/play_arrow:", key=f"curves-{place}"):
                _start(current, place, row)
            return
        st.fragment(_shown, run_every=None if job.ended else _REFRESH_SECONDS)(current, place, row, not job.ended)


def _start(current: MapSession, place: int, row: viewer.ViewerRow) -> None:
    try:
        current.start_curves(place, dict(row.maps), row.baseline or "black")
    except KdvizError as error:
        say_error(error)
        return
    job = current.curves[place]
    job.wait(0.5)
    st.rerun()


def _shown(current: MapSession, place: int, row: viewer.ViewerRow, refreshing: bool) -> None:
    job = current.curves.get(place)
    if job is None:
        return
    ended, found = job.ended, found_curves(job)
    if job.status == "failed":
        say_error(job.error or "The computation failed.")
    if not ended:
        done, total = number(len(found)), number(len(row.maps))
        st.progress(len(found) / len(row.maps), text=_("{done} of {total} models", done=done, total=total))
        st.button(_("Stop"), icon=":material/stop_circle:", key=f"stop-curves-{place}", on_click=_stop, args=(job,))
    if found:
        _drawn(found, place, row.baseline or "black")
    if refreshing and ended:
        st.rerun()


def _stop(job: RemoteJob) -> None:
    job.cancel()
    job.wait(2)


def _drawn(found: Curves, place: int, baseline: str) -> None:
    show_chart(figures.faithfulness_curves(found), f"curves-chart-{place}")
    st.dataframe(table(found), hide_index=True)
    st.caption(
        _(
            "Areas under the curves. A removed pixel becomes: {what}. The areas depend on that as much as on the map.",
            what=_(BASELINE_TITLES[baseline]),
        )
    )
    name = f"kdviz-curves-{baseline}"
    with st.container(horizontal=True):
        chart_downloads(figures.faithfulness_curves, name, found)
        download("CSV", f"{name}.csv", "text/csv", lambda: figures.faithfulness_points(found).to_csv(index=False))


def table(found: Curves) -> pd.DataFrame:
    """AUC of each model's map, and of the blurred picture."""
    rows = []
    for role, pair in found.items():
        for name, title in (("map", _("its map")), ("trivial", _("blurred picture"))):
            rows.append(
                {
                    _("Model"): figures.role_title(role),
                    _("Map"): title,
                    _("Deletion (lower is better)"): number(pair[name].deletion.auc, 3),
                    _("Insertion (higher is better)"): number(pair[name].insertion.auc, 3),
                }
            )
    return pd.DataFrame(rows)
