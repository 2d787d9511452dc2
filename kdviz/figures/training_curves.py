"""Training curves: loss and accuracy of a study's runs over their epochs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from kdviz.core.language import N_, _
from kdviz.core.vocabulary import Split
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import FURTHER_COLOURS, label, role_colour, role_symbol, role_title
from kdviz.figures.studies.sweeps import MARKERS, value_title
from kdviz.studies.sweep.kinds import Study

_SYMBOLS = ("circle", "triangle-up", "cross", "x", "star", "square", "diamond")
_PANELS = {"loss": N_("Loss, logarithmic"), "accuracy": N_("Accuracy")}


@dataclass(frozen=True)
class _Style:
    name: str
    colour: str
    symbol: str


@Chart
def curves(
    rows: Sequence[Mapping[str, Any]], study: Study, panels: Sequence[str] = ("loss", "accuracy"), height: int = 360
) -> go.Figure:
    """Curves of runs over their epochs: validation as a line with symbols, training dotted.

    Args:
        rows: Rows of :attr:`kdviz.studies.sweep.report.StudyReport.curves`.
        study: One of ``STUDIES``.
        panels: ``loss``, ``accuracy`` or both, side by side.
        height: Height of the interactive form, in pixels.
    """
    chart = make_subplots(1, len(panels), horizontal_spacing=0.1)
    styles = _styles(rows, study)
    step = max(1, -(-max(row["epoch"] for row in rows) // 10)) if rows else 1
    for column, panel in enumerate(panels, 1):
        chart.update_xaxes(title=_("Epoch"), showgrid=False, tick0=0, dtick=step, row=1, col=column)
        axis: dict[str, Any] = (
            {"tickformat": ".0%"} if panel == "accuracy" else {"type": "log", "dtick": "D2", "tickformat": ".2~g"}
        )
        chart.update_yaxes(title=_(_PANELS[panel]), **axis, row=1, col=column)
    in_legend: set[Any] = set()
    for (column, panel), run in product(enumerate(panels, 1), _runs(rows)):
        key = run[0]["role"], run[0]["value"]
        for split in (Split.TRAIN, Split.VALIDATION):
            trace = _curve(
                run, f"{split}_{panel}", styles[key], split, key not in in_legend and split == Split.VALIDATION
            )
            chart.add_trace(trace, 1, column)
        in_legend.add(key)
    for name, dash in ((_("Validation"), "solid"), (_("Training"), "dot")):
        grey = {"color": "#888", "width": 2, "dash": dash}
        chart.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name, line=grey), 1, 1)
    return chart.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )


def _curve(run: Sequence[Mapping[str, Any]], column: str, style: _Style, split: str, in_legend: bool) -> go.Scatter:
    text = N_("{model}, seed {seed}, training") if split == Split.TRAIN else N_("{model}, seed {seed}, validation")
    title = label(_(text, model=style.name, seed=run[0]["seed"]))
    epoch = _("epoch {epoch}", epoch="%{x}")
    digits = ".2%" if column.endswith("accuracy") else ".4f"
    return go.Scatter(
        x=[row["epoch"] for row in run],
        y=[row[column] for row in run],
        mode="lines" if split == Split.TRAIN else "lines+markers",
        name=style.name,
        legendgroup=style.name,
        showlegend=in_legend,
        line={"color": style.colour, "width": 1.5, "dash": "dot" if split == Split.TRAIN else "solid"},
        marker={"size": 6, "symbol": style.symbol},
        hovertemplate=f"{title}<br>{epoch}: %{{y:{digits}}}<extra></extra>",
    )


@curves.file_form
def _draw_curves(
    rows: Sequence[Mapping[str, Any]], study: Study, panels: Sequence[str] = ("loss", "accuracy"), **_interactive: Any
) -> Figure:
    picture = new_figure(5.5 * len(panels), 4.2)
    styles, in_legend = _styles(rows, study), set()
    for axis, panel in zip(picture.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for run in _runs(rows):
            style, epochs = styles[run[0]["role"], run[0]["value"]], [row["epoch"] for row in run]
            train, validation = ([row[f"{split}_{panel}"] for row in run] for split in (Split.TRAIN, Split.VALIDATION))
            axis.plot(epochs, train, ":", color=style.colour, linewidth=1)
            name = "" if (panel, style.name) in in_legend else style.name
            axis.plot(epochs, validation, color=style.colour, marker=MARKERS[style.symbol], markersize=4, label=name)
            in_legend.add((panel, style.name))
        axis.plot([], [], ":", color="#888", label=_("training"))
        axis.set(xlabel=_("Epoch"), ylabel=_(_PANELS[panel]), yscale="log" if panel == "loss" else "linear")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)
    return picture


def _runs(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    runs: dict[Hashable, list[Mapping[str, Any]]] = {}
    for row in rows:
        runs.setdefault(row["run"], []).append(row)
    return list(runs.values())


def _styles(rows: Sequence[Mapping[str, Any]], study: Study) -> dict[tuple[str, Any], _Style]:
    """(role, value) -> style. A single value has the colour of the KD student's role; of several each has its own."""
    keys = list(dict.fromkeys((row["role"], row["value"]) for row in rows))
    varied = [key for key in keys if key[1] is not None]
    styles = {}
    for role, value in keys:
        if value is None:
            styles[role, value] = _Style(role_title(role), role_colour(role), role_symbol(role))
            continue
        position = varied.index((role, value))
        colours = (role_colour(role), *FURTHER_COLOURS)
        name = _("{model}, {value}", model=role_title(role), value=value_title(study, value))
        styles[role, value] = _Style(name, colours[position % len(colours)], _SYMBOLS[position % len(_SYMBOLS)])
    return styles
