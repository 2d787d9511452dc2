"""Cost: what each model needs, what it is worth, and who else offers the same."""

from __future__ import annotations

import math
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
from kdviz.app.texts import download, plain, say_error, say_missing, together
from kdviz.app.widgets import html, margin
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.app.widgets.html import text
from kdviz.compress.cost import AXES, FORMS, CostEntry, CostReport, pareto_front, read_cost, table_file
from kdviz.compress.operations import left_out
from kdviz.core.errors import ExperimentError
from kdviz.core.files import ASSETS
from kdviz.core.language import N_, _, listed, number, percent, plural
from kdviz.narrative.tradeoffs import Tradeoff, competition, exchange, milliseconds, tradeoff

_SOURCES = {STORED: N_("As stored"), HERE: N_("Measured here just now")}
_DROPPED = ["right", "times_ms"]  # columns that a CSV file is better without


@dataclass(frozen=True)
class _Source:
    """Where the figures come from: the experiment's table, or a measurement of this server."""

    name: str
    report: CostReport
    notes: tuple[str, ...] = ()


def page() -> None:
    address.only("x", "forms", "threads", "from", margin.NAME)
    opened = heading(PAGE)
    html.style()
    st.html(ASSETS / "app" / "overview.css")
    source = _source(opened)
    if source is None:
        cost_panel.section(opened, first=True)
        return
    report = _with_threads(source.report)
    _stale(opened, report)
    _words(report)
    _chart(opened, report)
    _table(report)
    _machine(report, source)
    cost_panel.section(opened, first=False)


# where the figures come from ------------------------------------------------------------------------------------------


def _source(opened: OpenExperiment) -> _Source | None:
    sources = _sources(opened)
    if not sources:
        return None
    names = list(sources)
    usual = names[-1]  # what was measured here, once something was
    asked = address.read("from", usual)
    asked = asked if asked in names else usual
    if len(names) > 1:
        chosen = st.segmented_control(
            _("Figures"),
            names,
            required=True,
            format_func=lambda name: _(_SOURCES[name]),
            key=address.begin(f"cost-from-{len(names)}", asked),
        )
        asked = chosen or asked
    address.keep("from", asked, usual)
    return sources[asked]


def _sources(opened: OpenExperiment) -> dict[str, _Source]:
    experiment, found = opened.experiment, {}
    try:
        found[STORED] = _Source(STORED, read_cost(experiment))
    except ExperimentError as error:
        if experiment.has_table("cost"):
            say_error(error)
    here = measurer().result(experiment.folder, opened.fingerprint)
    if here is not None:
        table, notes = here
        found[HERE] = _Source(HERE, read_cost(experiment, table), notes)
    return found


def _with_threads(report: CostReport) -> CostReport:
    known = [str(one) for one in report.known_threads]
    asked = address.read("threads", known[0])
    asked = asked if asked in known else known[0]
    if len(known) > 1:
        chosen = st.segmented_control(
            _("CPU threads"), known, required=True, key=address.begin(f"threads-{','.join(known)}", asked)
        )
        asked = chosen or asked
    address.keep("threads", asked, known[0])
    return report.at(int(asked))


def _stale(opened: OpenExperiment, report: CostReport) -> None:
    if report.stale:
        titles = listed(figures.role_title(role) for role in report.stale)
        say_missing(
            _("These figures are of earlier weights of: {models}. Measure again, below or with:", models=titles),
            cost_panel.command(opened),
        )


# what came out --------------------------------------------------------------------------------------------------------


def _words(report: CostReport) -> None:
    found = tradeoff(report)
    if found is None:
        st.markdown(_("What every model needs and how often it is right."))
        return
    _tiles(found)
    margins = margin.margins()
    st.markdown(together(plain(one) for one in exchange(report, margins)))
    others = competition(report, margins)
    if others:
        st.info(together(plain(one) for one in others), icon=":material/compare_arrows:")


def _tiles(found: Tradeoff) -> None:
    """The bargain at a glance: the KD student beside its teacher."""
    tiles = [
        (_("{times} ×", times=number(found.operations, 1)), _("fewer operations"), found.operations),
        (_("{times} ×", times=number(found.speed, 1)), _("faster, one picture"), found.speed),
        (_("{times} ×", times=number(found.size, 1)), _("smaller file"), found.size),
        (signed_points(found.points), _("points of accuracy"), found.points),
    ]
    cells = "".join(
        f"<div><strong>{text(value)}</strong><span>{text(name)}</span></div>"
        for value, name, known in tiles
        if not math.isnan(known)
    )
    label = _("The KD student beside its teacher, both in float32")
    html.show(f'<div class="ov-tiles" role="group" aria-label="{text(label)}">{cells}</div>')
    st.caption(label)


def signed_points(points: float) -> str:
    """Points of accuracy with their sign: ``+0.50``."""
    sign = "+" if points > 0 else "−" if points < 0 else ""
    return f"{sign}{number(abs(points), 2)}"


# chart ----------------------------------------------------------------------------------------------------------------


def _chart(opened: OpenExperiment, report: CostReport) -> None:
    st.subheader(_("Accuracy against cost"), anchor=False)
    with st.container(horizontal=True, gap="medium"):
        axis = _axis(report)
        forms = _forms(report)
    shown = [entry for entry in report.entries if entry.form in forms and not math.isnan(entry.accuracy)]
    how = _("Up and to the left is better. Bars: 95 % intervals of accuracy, quartiles of time.")
    st.caption(together([_(axis.about), how]))
    if not any(axis.name in entry.costs for entry in shown):
        st.info(_("Nothing to show with these choices; choose another kind of file."), icon=":material/search_off:")
        return
    split = _split(report)
    best = pareto_front(shown, axis.name)
    show_chart(figures.accuracy_against_cost(shown, axis, split), f"cost-{axis.name}")
    names = listed((plain(figures.entry_title(entry)) for entry in best), N_("; "))
    st.markdown(_("By the measured values, nothing is both cheaper and more accurate than: {models}.", models=names))
    file = f"kdviz-{opened.experiment.name}-cost-{axis.name}"
    with st.container(horizontal=True):
        chart_downloads(figures.accuracy_against_cost, file, shown, axis, split, label=_("Chart (HTML)"))
        table = report.table
        name = f"kdviz-{opened.experiment.name}-cost"
        download(_("Table (CSV)"), f"{name}.csv", "text/csv", lambda: _csv(table))
        download(_("Table (Parquet)"), f"{name}.parquet", "application/vnd.apache.parquet", lambda: table_file(table))


def _csv(table: pa.Table) -> str:
    return table.drop_columns(_DROPPED).to_pandas().to_csv(index=False)


def _axis(report: CostReport) -> Any:
    names = [axis.name for axis in report.axes]
    asked = address.read("x", names[0])
    if asked not in names:  # another table may lack it; only a name that no table has is a mistake
        asked = names[0] if asked in AXES else address.read_choice("x", names, names[0])
    chosen = st.pills(
        _("Horizontal axis"),
        names,
        required=True,
        format_func=lambda name: _(AXES[name].title),
        key=address.begin(f"cost-x-{','.join(names)}", asked),
        wrap=True,
    )
    address.keep("x", chosen or asked, names[0])
    return AXES[chosen or asked]


def _forms(report: CostReport) -> list[str]:
    known = report.forms
    if len(known) == 1:
        return known
    asked = [form for form in known if form in address.read("forms", ",".join(known)).split(",")] or known
    chosen = st.pills(
        _("Kinds of file"),
        known,
        selection_mode="multi",
        format_func=lambda form: _(FORMS[form]),
        key=address.begin(f"cost-forms-{','.join(known)}", asked),
        wrap=True,
    )
    chosen = [form for form in known if form in chosen]
    address.keep("forms", ",".join(chosen) or ",".join(known), ",".join(known))
    return chosen


def _split(report: CostReport) -> str:
    splits = {"test": _("test"), "validation": _("validation"), "bundled": _("bundled")}
    split = report.machine["split"] or ""
    return splits.get(split, split)


# table ----------------------------------------------------------------------------------------------------------------


def _table(report: CostReport) -> None:
    st.subheader(_("All figures"), anchor=False)
    entries = report.entries
    columns = [
        _("Model"),
        _("Kind of file"),
        _("Parameters"),
        _("Operations, MFLOP"),
        _("File, MB"),
        _("One picture, ms"),
        _("In a batch of {count}, ms each", count=number(_batch(report))),
        _("Accuracy"),
        _("95 % interval"),
    ]
    rows = [_row(entry) for entry in entries]
    parts = [place for place in range(1, len(entries)) if entries[place].role != entries[place - 1].role]
    html.show(html.table(_("What each model costs"), columns, rows, parts))
    st.caption(
        _(
            "Times are medians, with quartiles in brackets, of {rounds} in which every model had its turn in another "
            "order. Operations count multiplying and adding as two; int8 does as many, in smaller numbers. Ranges of "
            "int8 were found on other pictures than those that accuracy was measured on.",
            rounds=plural("{count} round", "{count} rounds", entries[0].row["rounds"]),
        )
    )
    for sentence in left_out(report.uncounted):
        st.caption(plain(sentence))


def _batch(report: CostReport) -> int:
    return max(report.table["batch"].to_pylist())


def _row(entry: CostEntry) -> list[str]:
    row, costs = entry.row, entry.costs
    interval = "" if math.isnan(entry.low) else f"{percent(entry.low, 2)} – {percent(entry.high, 2)}"
    return [
        f"{html.role(entry.role)} {text(figures.role_title(entry.role))}",
        text(_(FORMS[entry.form])),
        text("" if row["parameters"] is None else number(row["parameters"])),
        text(_operations(entry)),
        text(number(costs["size"], 2) if "size" in costs else ""),
        text(_time(entry, "latency")),
        text(_time(entry, "batched")),
        text("" if math.isnan(entry.accuracy) else percent(entry.accuracy, 2)),
        text(interval),
    ]


def _operations(entry: CostEntry) -> str:
    """With ``>`` before it where some are not counted; empty where none are known."""
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


def _machine(report: CostReport, source: _Source) -> None:
    about = report.machine
    threads = plural("{count} thread", "{count} threads", report.threads)
    values = {
        "machine": plain(about["machine"] or ""),
        "cores": plural("{count} core", "{count} cores", about["cores"]),
        "threads": threads,
        "torch": plain(about["torch"] or ""),
        "onnx": plain(about["onnxruntime"] or "–"),
        "when": plain((about["measured"] or "")[:16].replace("T", " ")),
        "samples": plural("{count} sample", "{count} samples", about["samples"] or 0),
        "split": _split(report),
    }
    st.caption(
        _(
            "Measured on {machine}, {cores}, with {threads}, PyTorch {torch}, ONNX Runtime {onnx}, on {when} UTC; "
            "accuracy on {samples} of the {split} split. Another machine gives other times: measure on the one that "
            "counts.",
            **values,
        )
    )
    for note in source.notes:
        st.caption(plain(note))
