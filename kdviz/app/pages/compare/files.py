"""Numbers, files and the report of the maps on the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import streamlit as st

from kdviz import figures
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.compare.picture import SelectedImage
from kdviz.app.pages.compare.settings import BASELINE_TITLES, METHOD_TITLES, MapRequest
from kdviz.app.pages.compare.state import MapSession, latest_curves
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, picture_bytes
from kdviz.app.widgets import viewer
from kdviz.app.widgets.chart import chart_downloads
from kdviz.core.language import _, number
from kdviz.figures.report import MapReport, ReportRow, html_report
from kdviz.metrics import AgreementReport
from kdviz.saliency import SaliencyMap, maps_npz, methods

_OPTIONS = {"n_masks": "masks", "n_steps": "steps", "n_samples": "samples"}  # setting -> option of kdviz explain


def show_downloads(
    opened: OpenExperiment,
    rows: Sequence[viewer.ViewerRow],
    tables: Sequence[pd.DataFrame],
    selected: SelectedImage,
    map_request: MapRequest,
    session: MapSession,
) -> None:
    """Show numbers, the files of each row, the report, and the command that makes the same maps.

    Args:
        opened: The experiment.
        rows: The rows of maps.
        tables: The agreements of each row, from :func:`agreement_frame`.
        selected: The picture.
        map_request: What was computed.
        session: The computations of the session.
    """
    title = _("Numbers, files and a report to hand on")
    box = st.expander(title, icon=":material/download:", key="files", on_change="rerun")
    if not box.open:  # a dozen widgets that most runs need not make
        return
    with box:
        for row, table in zip(rows, tables, strict=True):
            if row.heading:
                st.markdown(f"**{row.heading}**")
            st.dataframe(table, hide_index=True)
            _show_row_files(row, selected)
        st.caption(
            _(
                "Agreement is taken across independent halves of the masks, since two maps from the same masks look "
                "alike by their noise alone. The ceiling is what two models with the same true map would reach."
            )
        )
        st.markdown(f"**{_('Report')}**")
        st.caption(
            _(
                "One HTML file that opens without a network: picture, maps, numbers, settings, versions and hashes "
                "of the weights. The command makes the same maps from the picture:"
            )
        )
        command = explain_command(opened, selected, map_request, rows[0])
        st.code(command, language="shell", wrap_lines=True)
        name = _file_name(selected)
        with st.container(horizontal=True):
            curves = {index: latest_curves(job) for index, job in session.curves.items() if job.ended}

            def report() -> bytes | str:
                return html_report(_report(opened, rows, selected, command, curves))

            download(_("Report (HTML)"), f"kdviz-{name}-report.html", "text/html", report)
            download(_("Picture (PNG)"), f"{name}.png", "image/png", lambda: picture_bytes(selected.picture))


def agreement_frame(measures: Mapping[str, AgreementReport]) -> pd.DataFrame:
    """The agreement of every pair of models by every measure, formatted for people."""
    return pd.DataFrame(
        [
            {
                _("Measure"): _(viewer.MEASURE_TITLES.get(name, name)),
                _("Model"): figures.role_title(pair.first),
                _("and"): figures.role_title(pair.second),
                _("Agreement"): _three_digits(pair.agreement),
                _("95 % interval"): viewer.interval(pair).strip(),
                _("Noise ceiling"): _three_digits(pair.ceiling),
            }
            for name, report in measures.items()
            for pair in report.pairs
        ]
    )


def _three_digits(value: float) -> str:
    return "" if value != value else number(value, 3)


def _show_row_files(row: viewer.ViewerRow, selected: SelectedImage) -> None:
    maps, measures = dict(row.maps), dict(row.measures)
    method = next(iter(maps.values())).method
    name = "-".join(part for part in ("kdviz", _file_name(selected), method, row.baseline) if part)

    def table() -> str:
        return csv_text(pa.concat_tables([report.table() for report in measures.values()]))

    with st.container(horizontal=True):
        chart_downloads(figures.comparison, name, maps)
        download(_("Maps (NPZ)"), f"{name}.npz", "application/octet-stream", lambda: maps_npz(maps))
        download(_("Agreement (CSV)"), f"{name}.csv", "text/csv", table)
        download(_("Settings (JSON)"), f"{name}.json", "application/json", lambda: _settings_json(maps, selected))


def _file_name(selected: SelectedImage) -> str:
    if selected.is_photograph:
        return f"photograph-{selected.sample}"
    return f"sample-{selected.sample}" if selected.sample is not None else selected.name.replace(" ", "-")


def _settings_json(maps: Mapping[str, SaliencyMap], selected: SelectedImage) -> str:
    first = next(iter(maps.values()))
    document = {
        "picture": selected.name,
        "method": first.method,
        "masks": first.n_masks,
        "settings": dict(first.settings),
    }
    return json.dumps(
        {
            **document,
            "targets": {role: saliency_map.classes[saliency_map.target] for role, saliency_map in maps.items()},
        }
    )


def explain_command(
    opened: OpenExperiment, selected: SelectedImage, map_request: MapRequest, row: viewer.ViewerRow
) -> str:
    """The command ``kdviz explain`` with everything that differs from its defaults."""
    first = next(iter(row.maps.values()))
    parts = ["kdviz", "explain", f"{_file_name(selected)}.png", "-e", opened.command_folder]
    if map_request.method != "rise":
        parts += ["--method", map_request.method]
    used = {**map_request.rows[0], **({"n_masks": first.n_masks} if first.n_masks else {})}
    for setting in methods[map_request.method].settings:
        value = used[setting.name]
        if value != setting.default and setting.name not in ("precision", "reliability", "seconds"):
            parts += [f"--{_OPTIONS.get(setting.name, setting.name)}", str(value)]
    targets = {saliency_map.target for saliency_map in row.maps.values()}
    if len(targets) == 1:
        parts += ["--target", first.classes[first.target]]
    return shlex.join([*parts, "--out", "maps.npz"])


def _report(
    opened: OpenExperiment,
    rows: Sequence[viewer.ViewerRow],
    selected: SelectedImage,
    command: str,
    curves: Mapping[int, Any],
) -> MapReport:
    experiment = opened.experiment
    return MapReport(
        title=opened.title,
        picture_name=selected.name,
        true_class="" if selected.true_class is None else experiment.classes[selected.true_class],
        picture=picture_bytes(selected.picture),
        file=f"{_file_name(selected)}.png",
        command=command,
        rows=tuple(
            ReportRow(
                method=_(METHOD_TITLES.get(next(iter(row.maps.values())).method, "")),
                baseline=_(BASELINE_TITLES[row.baseline]) if row.baseline else "",
                maps=dict(row.maps),
                agreement=agreement_frame(row.measures),
                curves=curves.get(index, {}),
            )
            for index, row in enumerate(rows)
        ),
        models=[_about_model(run) for run in experiment.models.values()],
    )


def _about_model(run: Any) -> dict[str, str]:
    return {"role": run.role, "network": run.network, "sha256": run.sha256}
