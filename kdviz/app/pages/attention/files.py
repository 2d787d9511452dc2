"""Files of the attention study: charts, tables, and how the study was made."""

from __future__ import annotations

from typing import Any

import streamlit as st

from kdviz import figures
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.attention.tables import method_title
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, download_table
from kdviz.app.widgets.chart import chart_downloads
from kdviz.core.language import _, plural
from kdviz.narrative.attention.document import EFFECTS, effects_table
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.faithfulness import NAME as FAITHFULNESS
from kdviz.studies.attention.statistics.table import NAME as AGREEMENT


def show_chart_files(name: str, chart: figures.Chart, *data: Any) -> None:
    """Show the downloads of a chart."""
    with st.container(horizontal=True):
        chart_downloads(chart, f"kdviz-attention-{name}", *data)


def show_files(opened: OpenExperiment, report: AttentionReport) -> None:
    st.subheader(_("Tables"), anchor=False)
    st.caption(_provenance(report))
    experiment = opened.experiment

    with st.container(horizontal=True):
        download(
            _("Effects (CSV)"),
            f"kdviz-{experiment.name}-{EFFECTS}.csv",
            "text/csv",
            lambda: csv_text(effects_table(experiment)),
        )
        for table in (AGREEMENT, FAITHFULNESS):
            if experiment.has_table(table):
                download_table(experiment, table)


def _provenance(report: AttentionReport) -> str:
    about = report.about
    parts = [
        plural("{count} image", "{count} images", report.images),
        plural("{count} seed", "{count} seeds", report.seeds),
        plural("{count} teacher", "{count} teachers", report.teachers),
        method_title(str(about.get("method", "rise"))),
    ]
    masks = about.get("settings", {}).get("n_masks")
    if masks:
        parts.append(plural("{count} mask", "{count} masks", int(masks)))
    return " · ".join(parts)
