"""The figures of a search: its trials in turn, the Pareto front, importances, and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _, percent
from kdviz.core.vocabulary import Role
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import role_colour
from kdviz.studies.search.objectives import Objective
from kdviz.studies.search.report import SearchReport
from kdviz.studies.search.space import LOSS, PARAMETERS
from kdviz.studies.search.table import COMPLETE, PRUNED
from kdviz.studies.search.titles import STATES, settings_text, value_text

_GREY, _BLUE, _GREEN = "#7A8794", role_colour(Role.TEACHER), role_colour(Role.KD_STUDENT)
_PALE = "#B9A3A3"
_STYLES = {COMPLETE: (_BLUE, "circle", "o"), PRUNED: (_GREY, "x", "x")}
_TICKS = 4
_LAYOUT: dict[str, Any] = {
    "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom"},
    "hovermode": "closest",
}
Row = Mapping[str, Any]


def _measured(report: SearchReport, state: str) -> list[Row]:
    return [row for row in report.trials if row["state"] == state and row["accuracy"] is not None]


def _best_so_far(report: SearchReport) -> tuple[list[int], list[float]]:
    rows = _measured(report, COMPLETE)
    return [row["trial"] for row in rows], list(np.maximum.accumulate([row["accuracy"] for row in rows] or [0.0]))


def _hover(report: SearchReport, row: Row) -> str:
    return f"<b>{_('Trial {trial}', trial=row['trial'])}</b><br>{settings_text(row, report.varied)}"


@Chart
def search_history(report: SearchReport) -> go.Figure:
    """Validation accuracy of each trial in turn, and the highest so far.

    Args:
        report: The search.
    """
    chart = go.Figure()
    for state, (colour, symbol, _marker) in _STYLES.items():
        rows = _measured(report, state)
        chart.add_trace(
            go.Scatter(
                x=[row["trial"] for row in rows],
                y=[row["accuracy"] for row in rows],
                mode="markers",
                name=_(STATES[state]),
                marker={"color": colour, "symbol": symbol, "size": 9},
                text=[_hover(report, row) for row in rows],
                hovertemplate="%{text}<br>%{y:.2%}<extra></extra>",
            )
        )
    trials, best = _best_so_far(report)
    line = {"color": _GREEN, "shape": "hv", "width": 2}
    chart.add_trace(go.Scatter(x=trials, y=best, mode="lines", name=_("best so far"), line=line, hoverinfo="skip"))
    chart.update_xaxes(title=_("Trial"))
    chart.update_yaxes(title=_("Validation accuracy"), tickformat=".1%")
    return chart.update_layout(height=380, **_LAYOUT)


@search_history.file_form
def _draw_history(report: SearchReport) -> Figure:
    figure = new_figure(8, 4)
    plot = figure.subplots()
    for state, (colour, _symbol, marker) in _STYLES.items():
        rows = _measured(report, state)
        x, y = [row["trial"] for row in rows], [row["accuracy"] for row in rows]
        plot.plot(x, y, marker, color=colour, label=_(STATES[state]))
    plot.step(*_best_so_far(report), where="post", color=_GREEN, label=_("best so far"))
    plot.set(xlabel=_("Trial"), ylabel=_("Validation accuracy"))
    plot.yaxis.set_major_formatter(lambda value, _position: percent(value, 1))
    plot.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _front(report: SearchReport, objective: Objective) -> list[tuple[bool, list[Row]]]:
    """Trials that are not on the front, then those that are, by the objective."""
    rows = sorted(report.complete, key=lambda row: row[objective.column])
    return [(front, [row for row in rows if row["front"] == front]) for front in (False, True)]


def _front_title(front: bool) -> str:
    return _("on the Pareto front") if front else _("not on it")


@Chart
def search_front(report: SearchReport, objective: Objective) -> go.Figure:
    """Validation accuracy against another objective, with the Pareto front of all objectives.

    Args:
        report: The search.
        objective: One of its objectives besides accuracy.
    """
    chart = go.Figure()
    for front, rows in _front(report, objective):
        chart.add_trace(
            go.Scatter(
                x=[row[objective.column] for row in rows],
                y=[row["accuracy"] for row in rows],
                mode="markers",
                name=_front_title(front),
                marker={
                    "color": _GREEN if front else _GREY,
                    "symbol": "circle" if front else "circle-open",
                    "size": 11 if front else 8,
                },
                text=[_hover(report, row) for row in rows],
                hovertemplate="%{text}<br>%{y:.2%}, %{x:.4g}<extra></extra>",
            )
        )
    chart.update_xaxes(title=_(objective.title), tickformat=".1%" if objective.share else None)
    chart.update_yaxes(title=_("Validation accuracy"), tickformat=".1%")
    return chart.update_layout(height=400, **_LAYOUT)


@search_front.file_form
def _draw_front(report: SearchReport, objective: Objective) -> Figure:
    figure = new_figure(7, 4.5)
    plot = figure.subplots()
    for front, rows in _front(report, objective):
        x, y = [row[objective.column] for row in rows], [row["accuracy"] for row in rows]
        face = _GREEN if front else "none"
        plot.plot(x, y, "o", color=_GREEN if front else _GREY, label=_front_title(front), markerfacecolor=face)
    plot.set(xlabel=_(objective.title), ylabel=_("Validation accuracy"))
    plot.yaxis.set_major_formatter(lambda value, _position: percent(value, 1))
    plot.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return figure


def _importances(report: SearchReport) -> tuple[list[str], list[float]]:
    """Titles and shares, the largest last."""
    found = sorted(report.about.get("importance", {}).items(), key=lambda each: each[1])
    return [_(PARAMETERS[name].title) for name, _share in found], [share for _name, share in found]


@Chart
def search_importance(report: SearchReport) -> go.Figure:
    """The share of each parameter in what sets the most accurate trials apart.

    Args:
        report: The search.
    """
    titles, shares = _importances(report)
    bars = go.Bar(
        x=shares,
        y=titles,
        orientation="h",
        marker={"color": _BLUE},
        text=[percent(share, 0) for share in shares],
        hoverinfo="skip",
    )
    chart = go.Figure(bars)
    chart.update_xaxes(title=_("Importance"), tickformat=".0%", rangemode="tozero")
    return chart.update_layout(height=90 + 40 * len(titles), margin=_LAYOUT["margin"])


@search_importance.file_form
def _draw_importance(report: SearchReport) -> Figure:
    titles, shares = _importances(report)
    figure = new_figure(7, 1.2 + 0.4 * len(titles))
    plot = figure.subplots()
    plot.barh(titles, shares, color=_BLUE)
    plot.set(xlabel=_("Importance"))
    plot.xaxis.set_major_formatter(lambda value, _position: percent(value, 0))
    return figure


# parallel coordinates -------------------------------------------------------------------------------------------------


def _axes(report: SearchReport) -> list[tuple[str, list[float], list[float], list[str]]]:
    """(Title, position of each complete trial, ticks, their texts) of each axis: parameters, then objectives."""
    return [
        *(_parameter_axis(report.complete, name) for name in report.varied),
        *(_objective_axis(report.complete, objective) for objective in report.objectives),
    ]


def _parameter_axis(rows: Sequence[Row], name: str) -> tuple[str, list[float], list[float], list[str]]:
    parameter = PARAMETERS[name]
    values = [row[name] for row in rows]
    if name == LOSS:
        names = sorted(set(values))
        return (
            _(parameter.title),
            [float(names.index(value)) for value in values],
            list(map(float, range(len(names)))),
            names,
        )
    scaled = [math.log10(value) if parameter.log else float(value) for value in values]
    ticks = np.linspace(min(scaled), max(scaled), _TICKS).tolist() if scaled else []
    texts = [value_text(name, 10**tick if parameter.log else tick) for tick in ticks]
    return _(parameter.title), scaled, ticks, texts


def _objective_axis(rows: Sequence[Row], objective: Objective) -> tuple[str, list[float], list[float], list[str]]:
    values = [float(row[objective.column]) for row in rows]
    ticks = np.linspace(min(values), max(values), _TICKS).tolist() if values else []
    return _(objective.title), values, ticks, [objective.text(tick) for tick in ticks]


def _heights(report: SearchReport) -> np.ndarray:
    """Position of each complete trial on each axis, from 0 to 1: (axes, trials)."""
    return np.array([_scaled(np.array(values)) for _title, values, _ticks, _texts in _axes(report)])


def _colours(report: SearchReport) -> list[str]:
    """A colour a complete trial, from grey to green by accuracy; both can be seen on white and on black."""
    shares = _scaled(np.array([row["accuracy"] for row in report.complete]))
    ends = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (_PALE, _GREEN)])
    mixed = ends[0] + shares[:, None] * (ends[1] - ends[0])
    return ["#{:02X}{:02X}{:02X}".format(*map(round, colour)) for colour in mixed.tolist()]


def _is_winner(report: SearchReport, row: Row) -> bool:
    return report.winner is not None and row["trial"] == report.winner["trial"]


@Chart
def search_coordinates(report: SearchReport) -> go.Figure:
    """A line a complete trial through its settings and objectives, greener the more accurate it is.

    Drawn of plain lines, as Plotly's own form needs WebGL.

    Args:
        report: The search.
    """
    axes, heights, colours = _axes(report), _heights(report), _colours(report)
    chart = go.Figure()
    for number in np.argsort([row["accuracy"] for row in report.complete], kind="stable").tolist():
        row = report.complete[number]
        chart.add_trace(
            go.Scatter(
                x=list(range(len(axes))),
                y=heights[:, number].tolist(),
                mode="lines+markers",
                line={"color": colours[number], "width": 4 if _is_winner(report, row) else 1.5},
                marker={"size": 5},
                showlegend=False,
                text=[f"{_hover(report, row)}<br>{percent(row['accuracy'], 2)}"] * len(axes),
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for place, (_title, values, ticks, texts) in enumerate(axes):
        chart.add_vline(place, line={"color": _GREY, "width": 1})
        for height, text in zip(_scaled(np.array(ticks), values).tolist(), texts, strict=True):
            chart.add_annotation(
                x=place, y=height, text=text, showarrow=False, xanchor="left", xshift=5, font={"size": 11}
            )
    titles = [title.replace(" ", "<br>", 1) for title, *_rest in axes]
    chart.update_xaxes(tickvals=list(range(len(axes))), ticktext=titles, showgrid=False, range=[-0.4, len(axes) - 0.5])
    chart.update_yaxes(visible=False)
    return chart.update_layout(height=420, margin=_LAYOUT["margin"], hovermode="closest")


@search_coordinates.file_form
def _draw_coordinates(report: SearchReport) -> Figure:
    axes, heights, colours = _axes(report), _heights(report), _colours(report)
    figure = new_figure(max(6, 1.6 * len(axes)), 4.5)
    plot = figure.subplots()
    for number in np.argsort([row["accuracy"] for row in report.complete], kind="stable").tolist():
        width = 3 if _is_winner(report, report.complete[number]) else 1
        plot.plot(heights[:, number], color=colours[number], linewidth=width)
    for place, (_title, values, ticks, texts) in enumerate(axes):
        plot.axvline(place, color=_GREY, linewidth=0.8)
        for height, text in zip(_scaled(np.array(ticks), values), texts, strict=True):
            plot.text(place + 0.03, height, text, fontsize=8)
    plot.set_xticks(range(len(axes)), [title for title, *_rest in axes], rotation=20, ha="right")
    plot.set_yticks([])
    return figure


def _scaled(values: np.ndarray, of: Sequence[float] | None = None) -> np.ndarray:
    """Values from 0 to 1 between the extremes of ``of``, default their own."""
    reference = np.asarray(values if of is None else of, float)
    low, span = reference.min(), np.ptp(reference)
    return (np.asarray(values, float) - low) / (span or 1.0)
