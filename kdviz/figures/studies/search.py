"""The figures of a search: its trials in turn, the Pareto front, importances, and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping
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
from kdviz.studies.search.space import PARAMETERS
from kdviz.studies.search.table import COMPLETE, PRUNED
from kdviz.studies.search.titles import STATES, settings_text

_GREY, _BLUE, _GREEN = "#7A8794", role_colour(Role.TEACHER), role_colour(Role.KD_STUDENT)
_STYLES = {COMPLETE: (_BLUE, "circle", "o"), PRUNED: (_GREY, "x", "x")}
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


def _shown_range(report: SearchReport) -> tuple[float, float]:
    """The accuracies that the figure shows: those of trials that were trained to the end, and what lies above.

    A trial that was stopped after an epoch may be far below all of them, and would leave little room for the rest.
    """
    values = [row["accuracy"] for state in _STYLES for row in _measured(report, state)] or [0.0]
    low = min((row["accuracy"] for row in _measured(report, COMPLETE)), default=min(values))
    pad = max(0.1 * (max(values) - low), 1e-3)
    return low - 2 * pad, max(values) + pad


def _placed(report: SearchReport, state: str) -> list[tuple[bool, list[Row], list[float]]]:
    """(Whether they lie below the figure, trials, where they are drawn) of a state; those below are at its edge."""
    low, high = _shown_range(report)
    rows = _measured(report, state)
    inside = [row for row in rows if row["accuracy"] >= low]
    below = [row for row in rows if row["accuracy"] < low]
    edge = low + 0.02 * (high - low)
    return [(False, inside, [row["accuracy"] for row in inside]), (True, below, [edge] * len(below))]


def _state_title(state: str, below: bool) -> str:
    return _("{state}, below this figure", state=_(STATES[state])) if below else _(STATES[state])


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
        for below, rows, heights in _placed(report, state):
            chart.add_trace(
                go.Scatter(
                    x=[row["trial"] for row in rows],
                    y=heights,
                    mode="markers",
                    name=_state_title(state, below),
                    marker={"color": colour, "symbol": "triangle-down-open" if below else symbol, "size": 9},
                    text=[f"{_hover(report, row)}<br>{percent(row['accuracy'], 2)}" for row in rows],
                    hovertemplate="%{text}<extra></extra>",
                    visible=bool(rows or not below),
                )
            )
    trials, best = _best_so_far(report)
    line = {"color": _GREEN, "shape": "hv", "width": 2}
    chart.add_trace(go.Scatter(x=trials, y=best, mode="lines", name=_("best so far"), line=line, hoverinfo="skip"))
    chart.update_xaxes(title=_("Trial"))
    chart.update_yaxes(title=_("Validation accuracy"), tickformat=".1%", range=_shown_range(report))
    return chart.update_layout(height=380, **_LAYOUT)


@search_history.file_form
def _draw_history(report: SearchReport) -> Figure:
    figure = new_figure(8, 4)
    plot = figure.subplots()
    for state, (colour, _symbol, marker) in _STYLES.items():
        for below, rows, heights in _placed(report, state):
            if rows or not below:
                shape: dict[str, Any] = {"marker": "v", "markerfacecolor": "none"} if below else {"marker": marker}
                x = [row["trial"] for row in rows]
                plot.plot(x, heights, linestyle="", color=colour, label=_state_title(state, below), **shape)
    plot.step(*_best_so_far(report), where="post", color=_GREEN, label=_("best so far"))
    plot.set(xlabel=_("Trial"), ylabel=_("Validation accuracy"), ylim=_shown_range(report))
    plot.yaxis.set_major_formatter(lambda value, _position: percent(value, 1))
    plot.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
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
