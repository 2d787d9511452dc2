"""Cost: what each model needs, what it is worth, and which others offer the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.cost import PAGE, cost_panel
from kdviz.app.pages.cost.cost_panel import HERE, STORED
from kdviz.app.pages.cost.profiler_process import measurer
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, plain, say_error, say_missing, together
from kdviz.app.widgets import html, margin
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.app.widgets.html import text
from kdviz.compress.cost import AXES, FORMS, CostEntry, CostReport, Form, pareto_front, read_cost, table_file
from kdviz.compress.operations import left_out
from kdviz.core.errors import ExperimentError
from kdviz.core.files import ASSETS
from kdviz.core.language import N_, _, listed, number, percent, plural, signed
from kdviz.core.vocabulary import Split
from kdviz.narrative.products.device_limits import device_limits
from kdviz.narrative.tradeoffs import Tradeoff, competition, exchange, milliseconds, tradeoff

_SOURCES = {STORED: N_("As stored"), HERE: N_("Measured here just now")}
_DROPPED = ["right", "times_ms"]  # columns that the CSV file leaves out


@dataclass(frozen=True)
class _Source:
    """A source of figures: the experiment's table, or a measurement on this server."""

    name: str
    report: CostReport
    notes: tuple[str, ...] = ()


def page() -> None:
    address.keep_only("x", "forms", "threads", "from", "device", margin.NAME)
    opened = heading(PAGE)
    html.style()
    st.html(ASSETS / "app" / "overview.css")
    source = _choose_source(opened)
    if source is None:
        cost_panel.show_measurement(opened, first=True)
        return
    report = _choose_threads(_choose_device(source.report))
    _show_stale(opened, report)
    _show_summary(report)
    _show_tradeoffs(opened, report)
    _show_table(report)
    _show_machine(report, source)
    cost_panel.show_measurement(opened, first=False)


# where the figures come from ------------------------------------------------------------------------------------------


def _choose_source(opened: OpenExperiment) -> _Source | None:
    sources = _sources(opened)
    if not sources:
        return None
    names = list(sources)
    default = names[-1]  # the measurement on this server, if there is one
    requested = address.read("from", default)
    requested = requested if requested in names else default
    if len(names) > 1:
        chosen = st.segmented_control(
            _("Figures"),
            names,
            required=True,
            format_func=lambda name: _(_SOURCES[name]),
            key=address.widget_key(f"cost-from-{len(names)}", requested),
        )
        requested = chosen or requested
    address.keep("from", requested, default)
    return sources[requested]


def _sources(opened: OpenExperiment) -> dict[str, _Source]:
    experiment, sources = opened.experiment, {}
    try:
        sources[STORED] = _Source(STORED, read_cost(experiment))
    except ExperimentError as error:
        if experiment.has_table("cost"):
            say_error(error)
    measured = measurer().result(experiment.folder, opened.fingerprint)
    if measured is not None:
        table, notes = measured
        sources[HERE] = _Source(HERE, read_cost(experiment, table), notes)
    return sources


def _choose_device(report: CostReport) -> CostReport:
    """The machine whose figures are shown, where several were measured."""
    devices = report.devices
    requested = address.read("device", devices[0])
    requested = requested if requested in devices else devices[0]
    if len(devices) > 1:
        chosen = st.selectbox(
            _("Measured on"), devices, key=address.widget_key(f"device-{len(devices)}", requested), format_func=plain
        )
        requested = chosen or requested
    address.keep("device", requested, devices[0])
    return report.on(requested)


def _choose_threads(report: CostReport) -> CostReport:
    options = [str(threads) for threads in report.thread_counts]
    requested = address.read("threads", options[0])
    requested = requested if requested in options else options[0]
    if len(options) > 1:
        chosen = st.segmented_control(
            _("CPU threads"), options, required=True, key=address.widget_key(f"threads-{','.join(options)}", requested)
        )
        requested = chosen or requested
    address.keep("threads", requested, options[0])
    return report.at(int(requested))


def _show_stale(opened: OpenExperiment, report: CostReport) -> None:
    if report.stale:
        titles = listed(figures.role_title(role) for role in report.stale)
        say_missing(
            _("These figures are of earlier weights of: {models}. Measure again, below or with:", models=titles),
            cost_panel.command(opened),
        )


# what came out --------------------------------------------------------------------------------------------------------


def _show_summary(report: CostReport) -> None:
    values = tradeoff(report)
    if values is None:
        st.markdown(_("What every model needs and how often it is right."))
        return
    _show_tiles(values)
    margins = margin.margins()
    st.markdown(together(plain(sentence) for sentence in exchange(report, margins)))
    sentences = competition(report, margins)
    if sentences:
        st.info(together(plain(sentence) for sentence in sentences), icon=":material/compare_arrows:")


def _show_tiles(values: Tradeoff) -> None:
    """Show the trade-off at a glance: the KD student beside its teacher."""
    tiles = [
        (_("{times} ×", times=number(values.operations, 1)), _("fewer operations"), values.operations),
        (_("{times} ×", times=number(values.speed, 1)), _("faster, one picture"), values.speed),
        (_("{times} ×", times=number(values.size, 1)), _("smaller file"), values.size),
        (signed_points(values.points), _("points of accuracy"), values.points),
    ]
    cells = "".join(
        f"<div><strong>{text(value)}</strong><span>{text(name)}</span></div>"
        for value, name, ratio in tiles
        if not math.isnan(ratio)
    )
    label = _("The KD student beside its teacher, both in float32")
    html.show(f'<div class="ov-tiles" role="group" aria-label="{text(label)}">{cells}</div>')
    st.caption(label)


def signed_points(points: float) -> str:
    """Points of accuracy with their sign: ``+0.50``."""
    return signed(points, 2).replace("-", "−")


# chart ----------------------------------------------------------------------------------------------------------------


def _show_tradeoffs(opened: OpenExperiment, report: CostReport) -> None:
    st.subheader(_("Accuracy against cost"), anchor=False)
    with st.container(horizontal=True, gap="medium"):
        axis = _choose_axis(report)
        forms = _choose_forms(report)
    entries = [entry for entry in report.entries if entry.form in forms and not math.isnan(entry.accuracy)]
    legend = _("Up and to the left is better. Bars: 95 % intervals of accuracy, quartiles of time.")
    st.caption(together([_(axis.about), legend]))
    if not any(axis.name in entry.costs for entry in entries):
        st.info(_("Nothing to show with these choices; choose another kind of file."), icon=":material/search_off:")
        return
    split = _split(report)
    front = pareto_front(entries, axis.name)
    show_chart(figures.accuracy_against_cost(entries, axis, split), f"cost-{axis.name}")
    names = listed((plain(figures.entry_title(entry)) for entry in front), N_("; "))
    st.markdown(_("By the measured values, nothing is both cheaper and more accurate than: {models}.", models=names))
    file = f"kdviz-{opened.experiment.name}-cost-{axis.name}"
    with st.container(horizontal=True):
        chart_downloads(figures.accuracy_against_cost, file, entries, axis, split, label=_("Chart (HTML)"))
        table = report.table
        name = f"kdviz-{opened.experiment.name}-cost"
        download(_("Table (CSV)"), f"{name}.csv", "text/csv", lambda: _csv(table))
        download(_("Table (Parquet)"), f"{name}.parquet", "application/vnd.apache.parquet", lambda: table_file(table))


def _csv(table: pa.Table) -> str:
    return csv_text(table.drop_columns(_DROPPED))


def _choose_axis(report: CostReport) -> Any:
    names = [axis.name for axis in report.axes]
    requested = address.read("x", names[0])
    if requested not in names:  # another table may lack this axis; only a name that no table has is a mistake
        requested = names[0] if requested in AXES else address.read_choice("x", names, names[0])
    chosen = st.pills(
        _("Horizontal axis"),
        names,
        required=True,
        format_func=lambda name: _(AXES[name].title),
        key=address.widget_key(f"cost-x-{','.join(names)}", requested),
        wrap=True,
    )
    address.keep("x", chosen or requested, names[0])
    return AXES[chosen or requested]


def _choose_forms(report: CostReport) -> list[str]:
    available = report.forms
    if len(available) == 1:
        return available
    requested = [
        form for form in available if form in address.read("forms", ",".join(available)).split(",")
    ] or available
    chosen = st.pills(
        _("Kinds of file"),
        available,
        selection_mode="multi",
        format_func=lambda form: _(FORMS[Form(form)]),
        key=address.widget_key(f"cost-forms-{','.join(available)}", requested),
        wrap=True,
    )
    chosen = [form for form in available if form in chosen]
    address.keep("forms", ",".join(chosen) or ",".join(available), ",".join(available))
    return chosen


def _split(report: CostReport) -> str:
    splits: dict[str, str] = {
        Split.TEST: _("test"),
        Split.VALIDATION: _("validation"),
        Split.BUNDLED: _("bundled"),
    }
    split = report.machine["split"] or ""
    return splits.get(split, split)


# table ----------------------------------------------------------------------------------------------------------------


def _show_table(report: CostReport) -> None:
    st.subheader(_("All figures"), anchor=False)
    entries = report.entries
    columns = [
        _("Model"),
        _("Kind of file"),
        _("Parameters"),
        _("Operations, MFLOP"),
        _("File, MB"),
        _("One picture, ms"),
        _("In a batch of {count}, ms each", count=number(report.batch)),
        _("Accuracy"),
        _("95 % interval"),
    ]
    rows = [_row(entry) for entry in entries]
    section_starts = [index for index in range(1, len(entries)) if entries[index].role != entries[index - 1].role]
    html.show(html.table(_("What each model costs"), columns, rows, section_starts))
    st.caption(
        _(
            "Times are medians, with quartiles in brackets, of {rounds} in which every model had its turn in another "
            "order. Operations count multiplying and adding as two; int8 does as many, in smaller numbers. Ranges of "
            "int8 were found on other pictures than those that accuracy was measured on.",
            rounds=plural("{count} round", "{count} rounds", entries[0].row["rounds"]),
        )
    )
    for sentence in [*device_limits(report), *left_out(report.uncounted)]:
        st.caption(plain(sentence))


def _row(entry: CostEntry) -> list[str]:
    row, costs = entry.row, entry.costs
    interval = "" if math.isnan(entry.low) else f"{percent(entry.low, 2)} – {percent(entry.high, 2)}"
    return [
        f"{html.role(entry.role)} {text(figures.role_title(entry.role))}",
        text(_(FORMS[Form(entry.form)])),
        text("" if row["parameters"] is None else number(row["parameters"])),
        text(_operations(entry)),
        text(number(costs["size"], 2) if "size" in costs else ""),
        text(_time(entry, "latency")),
        text(_time(entry, "batched")),
        text("" if math.isnan(entry.accuracy) else percent(entry.accuracy, 2)),
        text(interval),
    ]


def _operations(entry: CostEntry) -> str:
    """The number of operations, with ``>`` before it if some are not counted; empty if it is not known."""
    if "flops" not in entry.costs:
        return ""
    return f"{'> ' if entry.row.get('uncounted') else ''}{number(entry.costs['flops'], 2)}"


def _time(entry: CostEntry, axis: str) -> str:
    if axis not in entry.costs:
        return ""
    low, high = entry.ranges[axis]
    if entry.costs[axis] < 0.1:
        return f"{number(entry.costs[axis], 4)} ({number(low, 4)} – {number(high, 4)})"
    return f"{milliseconds(entry.costs[axis])} ({milliseconds(low)} – {milliseconds(high)})"


def _software(machine: Mapping[str, Any]) -> list[str]:
    """The libraries that ran there, with their versions; a device that only ran ONNX files has no PyTorch."""
    names = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}
    return [f"{name} {plain(machine[column])}" for column, name in names.items() if machine[column]]


def _show_machine(report: CostReport, source: _Source) -> None:
    machine = report.machine
    threads = plural("{count} thread", "{count} threads", report.threads)
    values = {
        "machine": plain(machine["machine"] or ""),
        "cores": plural("{count} core", "{count} cores", machine["cores"]),
        "threads": ", ".join([threads, *_software(machine)]),
        "when": plain((machine["measured"] or "")[:16].replace("T", " ")),
        "samples": plural("{count} sample", "{count} samples", machine["samples"] or 0),
        "split": _split(report),
    }
    st.caption(
        _(
            "Measured on {machine}, {cores}, with {threads}, on {when} UTC; accuracy on {samples} of the {split} "
            "split. Another machine gives other times: measure on the one that counts.",
            **values,
        )
    )
    for note in source.notes:
        st.caption(plain(note))
