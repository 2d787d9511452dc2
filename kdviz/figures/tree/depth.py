"""The figure of a study of trees: accuracy against depth, with the teacher and without."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from kdviz.core.language import _, number, percent
from kdviz.core.vocabulary import Role
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_symbol
from kdviz.studies.tree import TreeReport
from kdviz.studies.tree.report import ModelFigures

_MARKERS = {"square": "s", "circle": "o", "diamond": "D"}
_NEUTRAL = "#767676"
_SHIFT = 0.12  # of a depth, between the two trees of it
_HEIGHT = 520  # pixels


def tree_title(role: str) -> str:
    """The name of a tree of the study."""
    return _("Tree with the teacher") if role == Role.KD_STUDENT else _("Tree without a teacher")


def _lines(report: TreeReport) -> Iterator[tuple[str, list[ModelFigures], np.ndarray]]:
    """(Role, its figures by depth, their horizontal positions)."""
    depths = np.array([tree.depth for tree in report.trees], np.float64)
    yield Role.STUDENT, [tree.alone for tree in report.trees], depths - _SHIFT
    yield Role.KD_STUDENT, [tree.kd for tree in report.trees], depths + _SHIFT


def _titles() -> tuple[str, str, str]:
    return _("Depth: decisions on a path"), _("Accuracy"), _("With less without (points)")


def _differences(report: TreeReport) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Difference in points of each depth, and how far its simultaneous interval reaches below and above."""
    value = 100 * np.array([tree.accuracy.value for tree in report.trees])
    low, high = (100 * np.array([getattr(tree, end) for tree in report.trees]) for end in ("low", "high"))
    return value, value - low, high - value


@Chart
def accuracy_against_depth(report: TreeReport) -> go.Figure:
    """Accuracy of the trees with and without the teacher against depth, and below it the paired difference.

    The intervals above are of each mean, 95 % over seeds and samples; those of the differences hold together.

    Args:
        report: See :func:`kdviz.studies.tree.read_tree_report`.
    """
    chart = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.66, 0.34])
    for role, figures, x in _lines(report):
        colour, name = role_colour(role), label(tree_title(role))
        y = np.array([entry.accuracy for entry in figures])
        texts = [
            f"{percent(entry.accuracy, 2)} [{percent(entry.low, 2)}, {percent(entry.high, 2)}]" for entry in figures
        ]
        trace = go.Scatter(
            x=x,
            y=y,
            mode="lines+markers",
            name=name,
            text=texts,
            line={"color": colour, "width": 2},
            marker={"color": colour, "symbol": role_symbol(role), "size": 9},
            error_y=_bars(y, figures, colour),
            hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
        )
        chart.add_trace(trace, 1, 1)
    colour = role_colour(Role.TEACHER)
    line = {"color": colour, "dash": "dash", "width": 2}
    chart.add_hline(y=report.teacher.accuracy, line=line, row=1, col=1)  # type: ignore[arg-type]
    chart.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=_teacher_title(report), line=line), 1, 1)
    value, below, above = _differences(report)
    depths = [tree.depth for tree in report.trees]
    ends = [
        f"{number(each, 2)} [{number(each - low, 2)}, {number(each + high, 2)}]"
        for each, low, high in zip(value, below, above, strict=True)
    ]
    difference = go.Scatter(
        x=depths,
        y=value,
        mode="markers",
        showlegend=False,
        text=ends,
        marker={"color": role_colour(Role.KD_STUDENT), "symbol": role_symbol(Role.KD_STUDENT), "size": 9},
        error_y={"array": above, "arrayminus": below, "thickness": 2, "width": 6},
        hovertemplate="%{text}<extra></extra>",
    )
    chart.add_trace(difference, 2, 1)
    chart.add_hline(y=0, line={"color": _NEUTRAL, "width": 1}, row=2, col=1)  # type: ignore[arg-type]
    x_title, y_title, less = _titles()
    chart.update_xaxes(tickvals=depths, showgrid=False, zeroline=False)
    chart.update_xaxes(title=x_title, row=2, col=1)
    chart.update_yaxes(title=y_title, tickformat=".0%", row=1, col=1)
    chart.update_yaxes(title=less, zeroline=False, row=2, col=1)
    return chart.update_layout(
        height=_HEIGHT,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


def _bars(values: np.ndarray, figures: list[ModelFigures], colour: str) -> dict[str, object]:
    above, below = (np.array([getattr(entry, end) for entry in figures]) for end in ("high", "low"))
    return {"array": above - values, "arrayminus": values - below, "color": colour, "thickness": 1.5, "width": 4}


def _teacher_title(report: TreeReport) -> str:
    return _("Teacher, {value}", value=percent(report.teacher.accuracy, 2))


@accuracy_against_depth.file_form
def _draw_accuracy_against_depth(report: TreeReport) -> Figure:
    picture = new_figure(7, 5.4)
    top, bottom = picture.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    for role, figures, x in _lines(report):
        y = np.array([entry.accuracy for entry in figures])
        errors = np.array([[each.accuracy - each.low, each.high - each.accuracy] for each in figures]).T
        style = {"fmt": _MARKERS[role_symbol(role)] + "-", "color": role_colour(role), "capsize": 3}
        top.errorbar(x, y, yerr=errors, label=tree_title(role), **style)
    top.axhline(report.teacher.accuracy, color=role_colour(Role.TEACHER), linestyle="--", label=_teacher_title(report))
    value, below, above = _differences(report)
    depths = [tree.depth for tree in report.trees]
    bottom.errorbar(
        depths, value, yerr=[below, above], fmt=_MARKERS["circle"], color=role_colour(Role.KD_STUDENT), capsize=3
    )
    bottom.axhline(0, color=_NEUTRAL, linewidth=1)
    x_title, y_title, less = _titles()
    bottom.set(xlabel=x_title, ylabel=less, xticks=depths)
    top.set_ylabel(y_title)
    top.yaxis.set_major_formatter(lambda share, _position: percent(share, 0))
    picture.legend(loc="outside upper center", ncols=3, frameon=False)
    return picture
