"""Search: the winner's verdict, the trials, the Pareto front, importances and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.search import PAGE
from kdviz.app.texts import download_table, plain, say_missing, together
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.files import stamp_of
from kdviz.core.language import _, number
from kdviz.figures import Chart
from kdviz.narrative.products.search import further_sentences, limit_sentences, stale_sentences, verdict_sentences
from kdviz.studies.search.report import SearchReport, read_search_report
from kdviz.studies.search.space import PARAMETERS
from kdviz.studies.search.table import FINAL, GRID_RUNS, SEARCH
from kdviz.studies.search.titles import STATES, value_text


def page() -> None:
    address.keep_only()
    opened = heading(PAGE)
    report = _report(opened)
    if report is None:
        _show_missing(opened)
        return
    for sentence in stale_sentences(report):
        st.warning(plain(sentence))
    st.markdown(f"**{plain(together(verdict_sentences(report)))}**")
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in further_sentences(report)))
    _show_trials(opened, report)
    if report.complete:
        _show_parameters(opened, report)
    st.dataframe(trials_table(report), hide_index=True)
    st.markdown(f":gray[**{_('Limits')}** {plain(together(limit_sentences(report)))}]")
    for table in (SEARCH, GRID_RUNS, FINAL):
        if opened.experiment.has_table(table.name):
            download_table(opened.experiment, table.name)


def _report(opened: OpenExperiment) -> SearchReport | None:
    """The tables as they are by now."""
    stamp = stamp_of(opened.experiment.folder, *(f"{table.name}.parquet" for table in (SEARCH, GRID_RUNS, FINAL)))
    return opened.cache.get("search", stamp, lambda: read_search_report(opened.experiment))


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "A search trains students with many recipes of distillation, each better chosen than the last, and looks "
            "at the validation split only. The winner is then trained with new seeds, and judged on the test split "
            "beside the default recipe: the highest of many figures is too high."
        )
    )
    if opened.experiment.is_imported:
        say_missing(
            _(
                "Such a search trains models, which kdviz can only do for experiments that it trained itself; these "
                "models were trained elsewhere."
            )
        )
        return
    data = "" if opened.is_mnist else " --data DIR"
    say_missing(
        _("No recipe was searched yet; do so with:"), f"kdviz tune -e {opened.command_folder}{data} --trials 30"
    )


def _show_trials(opened: OpenExperiment, report: SearchReport) -> None:
    """The Pareto front where there are several objectives, and the trials in turn."""
    for objective in report.objectives[1:]:
        if report.complete:
            _show(opened, figures.search_front, f"front-{objective.name}", report, objective)
    _show(opened, figures.search_history, "trials", report)
    if report.about.get("prunes"):
        st.caption(_("A trial that was stopped early stands at its accuracy when it was stopped."))


def _show_parameters(opened: OpenExperiment, report: SearchReport) -> None:
    if report.about.get("importance"):
        st.subheader(_("What mattered"))
        _show(opened, figures.search_importance, "importance", report)
    else:
        st.caption(_("Too few trials were trained to the end to say which setting mattered."))
    if len(report.complete) > 1 and report.varied:
        st.subheader(_("Settings and figures together"))
        _show(opened, figures.search_coordinates, "coordinates", report)
        st.caption(
            _("One line is one trial that was trained to the end; the greener, the more accurate. The thick one won.")
        )


def _show(opened: OpenExperiment, chart: Chart, name: str, *data: Any) -> None:
    show_chart(chart(*data), f"search-{name}")
    with st.container(horizontal=True):
        chart_downloads(chart, f"kdviz-{opened.experiment.name}-search-{name}", *data)


def trials_table(report: SearchReport) -> pd.DataFrame:
    """A row a trial, the most accurate first."""
    rows = sorted(report.trials, key=lambda row: (row["state"] != "complete", -(row["accuracy"] or 0.0)))
    return pd.DataFrame([_row(report, row) for row in rows])


def _row(report: SearchReport, row: Mapping[str, Any]) -> dict[str, str]:
    settings = {_(PARAMETERS[name].title): value_text(name, row[name]) for name in report.varied}
    values = {
        _(objective.title): "" if row[objective.column] is None else objective.text(row[objective.column])
        for objective in report.objectives
    }
    seconds = "" if row["seconds"] is None else number(row["seconds"], 1)
    front = {} if len(report.objectives) == 1 else {_("On the front"): _("yes") if row["front"] else ""}
    return {
        _("Trial"): number(row["trial"]),
        _("State"): _(STATES[row["state"]]),
        **settings,
        **values,
        **front,
        _("Seconds"): seconds,
    }
