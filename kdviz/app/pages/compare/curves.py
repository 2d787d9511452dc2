"""Deletion and insertion curves of the maps, on request."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import service
from kdviz.app.pages.compare.settings import BASELINE_TITLES
from kdviz.app.pages.compare.state import MapSession, latest_curves
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, say_error
from kdviz.app.widgets import viewer
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, number
from kdviz.metrics import Faithfulness
from kdviz.serving import RemoteJob

_REFRESH_SECONDS = 0.4
Curves = dict[str, dict[str, Faithfulness]]


def show_curves(session: MapSession, index: int, row: viewer.ViewerRow) -> None:
    """Show a button, then progress, then the curves of one row of maps."""
    job = session.curves.get(index)
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
            if st.button(_("Compute the curves"), icon=":material/play_arrow:", key=f"curves-{index}"):
                _start(session, index, row)
            return
        refresh = None if job.ended else _REFRESH_SECONDS * service.patience(job)
        st.fragment(_show_job, run_every=refresh)(session, index, row, not job.ended)


def _start(session: MapSession, index: int, row: viewer.ViewerRow) -> None:
    try:
        session.start_curves(index, dict(row.maps), row.baseline or "black")
    except KdvizError as error:
        say_error(error)
        return
    job = session.curves[index]
    job.wait(0.5)
    st.rerun()


def _show_job(session: MapSession, index: int, row: viewer.ViewerRow, refreshing: bool) -> None:
    job = session.curves.get(index)
    if job is None:
        return
    ended, results = job.ended, latest_curves(job)
    if job.status == "failed":
        say_error(job.error or "The computation failed.")
    if not ended:
        done, total = number(len(results)), number(len(row.maps))
        st.progress(len(results) / len(row.maps), text=_("{done} of {total} models", done=done, total=total))
        st.button(_("Stop"), icon=":material/stop_circle:", key=f"stop-curves-{index}", on_click=_stop, args=(job,))
    if results:
        _show_results(results, index, row.baseline or "black")
    if refreshing and ended:
        st.rerun()


def _stop(job: RemoteJob) -> None:
    job.cancel()
    job.wait(2)


def _show_results(results: Curves, index: int, baseline: str) -> None:
    show_chart(figures.faithfulness_curves(results), f"curves-chart-{index}")
    st.dataframe(table(results), hide_index=True)
    st.caption(
        _(
            "Areas under the curves. A removed pixel becomes: {what}. The areas depend on that as much as on the map.",
            what=_(BASELINE_TITLES[baseline]),
        )
    )
    name = f"kdviz-curves-{baseline}"
    with st.container(horizontal=True):
        chart_downloads(figures.faithfulness_curves, name, results)
        download("CSV", f"{name}.csv", "text/csv", lambda: csv_text(figures.faithfulness_points(results)))


def table(results: Curves) -> pd.DataFrame:
    """The AUC of each model's map, and of the blurred picture, as a table."""
    rows = []
    for role, faithfulness in results.items():
        for name, title in (("map", _("its map")), ("trivial", _("blurred picture"))):
            rows.append(
                {
                    _("Model"): figures.role_title(role),
                    _("Map"): title,
                    _("Deletion (lower is better)"): number(faithfulness[name].deletion.auc, 3),
                    _("Insertion (higher is better)"): number(faithfulness[name].insertion.auc, 3),
                }
            )
    return pd.DataFrame(rows)
