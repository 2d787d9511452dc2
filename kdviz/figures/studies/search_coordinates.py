"""Parallel coordinates of a search: a line a trial through its settings and its objectives."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

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
from kdviz.studies.search.titles import settings_text, value_text

_GREY, _GREEN = "#7A8794", role_colour(Role.KD_STUDENT)
_PALE = "#B9A3A3"
_OUTSIDE = 0.07  # of the height, from the end of an axis to its label, where no line runs
_WRAPPED = 10  # letters of a title's line, of which a Chinese one has the width of two
_TITLE_SIZE = 10  # pixels: five titles side by side on a phone
_LETTER = 6.5  # pixels
Row = Mapping[str, Any]


@dataclass(frozen=True)
class _Axis:
    """An axis.

    Attributes:
        title: Its title.
        values: Position of each complete trial.
        ticks: Positions of its labels: both ends, or each name.
        texts: The labels.
        has_names: Whether its values are names, which stand beside the axis. Only the first one can have them: lines
            would cross names that stand between two axes.
    """

    title: str
    values: list[float]
    ticks: list[float]
    texts: list[str]
    has_names: bool = False

    @property
    def heights(self) -> np.ndarray:
        """Position of each trial from 0 to 1."""
        return _scaled(np.array(self.values))

    def labels(self) -> list[tuple[float, str]]:
        """(Height, text) of each label: of numbers they lie outside of the axis, which no line crosses."""
        heights = _scaled(np.array(self.ticks), self.values).tolist()
        if self.has_names:
            return list(zip(heights, self.texts, strict=True))
        ends = (-_OUTSIDE, 1 + _OUTSIDE) if len(set(heights)) > 1 else (-_OUTSIDE,)
        return list(zip(ends, self.texts, strict=False))


def _axes(report: SearchReport) -> list[_Axis]:
    """The axes: losses, the other parameters, objectives."""
    names = sorted(report.varied, key=lambda name: name != LOSS)
    return [
        *(_parameter_axis(report.complete, name) for name in names),
        *(_objective_axis(report.complete, objective) for objective in report.objectives),
    ]


def _parameter_axis(rows: Sequence[Row], name: str) -> _Axis:
    parameter = PARAMETERS[name]
    values = [row[name] for row in rows]
    if name == LOSS:
        names = sorted(set(values))
        positions = [float(names.index(value)) for value in values]
        return _Axis(_(parameter.title), positions, list(map(float, range(len(names)))), names, True)
    scaled = [math.log10(value) if parameter.log else float(value) for value in values]
    ends = [min(scaled), max(scaled)]
    texts = [value_text(name, 10**end if parameter.log else end) for end in ends]
    return _Axis(_(parameter.title), scaled, ends, texts)


def _objective_axis(rows: Sequence[Row], objective: Objective) -> _Axis:
    values = [float(row[objective.column]) for row in rows]
    ends = [min(values), max(values)]
    return _Axis(_(objective.title), values, ends, [objective.text(end) for end in ends])


def _colours(report: SearchReport) -> list[str]:
    """A colour a complete trial, from grey to green by accuracy; both can be seen on white and on black."""
    shares = _scaled(np.array([row["accuracy"] for row in report.complete]))
    ends = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in (_PALE, _GREEN)])
    mixed = ends[0] + shares[:, None] * (ends[1] - ends[0])
    return ["#{:02X}{:02X}{:02X}".format(*map(round, colour)) for colour in mixed.tolist()]


def _in_order(report: SearchReport) -> list[int]:
    """Numbers of the complete trials, the most accurate last, so that it lies on top."""
    return np.argsort([row["accuracy"] for row in report.complete], kind="stable").tolist()


def _is_winner(report: SearchReport, row: Row) -> bool:
    return report.winner is not None and row["trial"] == report.winner["trial"]


def _margin(axes: Sequence[_Axis]) -> int:
    """Pixels left of the first axis, for its names."""
    names = [text for text in axes[0].texts if axes[0].has_names]
    return round(20 + _LETTER * max(map(len, names), default=0))


@Chart
def search_coordinates(report: SearchReport) -> go.Figure:
    """A line a complete trial through its settings and objectives, greener the more accurate it is.

    Drawn of plain lines, as Plotly's own form needs WebGL.

    Args:
        report: The search.
    """
    axes, colours = _axes(report), _colours(report)
    heights = np.array([axis.heights for axis in axes])
    chart = go.Figure()
    for number in _in_order(report):
        row = report.complete[number]
        hover = f"<b>{_('Trial {trial}', trial=row['trial'])}</b><br>{settings_text(row, report.varied)}"
        chart.add_trace(
            go.Scatter(
                x=list(range(len(axes))),
                y=heights[:, number].tolist(),
                mode="lines+markers",
                line={"color": colours[number], "width": 4 if _is_winner(report, row) else 1.5},
                marker={"size": 5},
                showlegend=False,
                text=[f"{hover}<br>{percent(row['accuracy'], 2)}"] * len(axes),
                hovertemplate="%{text}<extra></extra>",
            )
        )
    for place, axis in enumerate(axes):
        chart.add_shape(type="line", x0=place, x1=place, y0=0, y1=1, line={"color": _GREY, "width": 1})
        side: dict[str, Any] = {"xanchor": "right", "xshift": -7} if axis.has_names else {"xanchor": "center"}
        for height, text in axis.labels():
            chart.add_annotation(x=place, y=height, text=text, showarrow=False, font={"size": 11}, **side)
    titles = ["<br>".join(_lines(axis.title, _WRAPPED)) for axis in axes]
    last = len(axes) - 1
    chart.update_xaxes(
        tickvals=list(range(len(axes))),
        ticktext=titles,
        tickangle=0,
        tickfont={"size": _TITLE_SIZE},
        showgrid=False,
        zeroline=False,
        range=[-0.05 if axes[0].has_names else -0.4, last + 0.4],
    )
    chart.update_yaxes(visible=False, range=[-2 * _OUTSIDE, 1 + 2 * _OUTSIDE])
    margin = {"l": _margin(axes), "r": 10, "t": 10, "b": 10}
    return chart.update_layout(height=440, margin=margin, hovermode="closest")


@search_coordinates.file_form
def _draw_coordinates(report: SearchReport) -> Figure:
    axes, colours = _axes(report), _colours(report)
    heights = np.array([axis.heights for axis in axes])
    figure = new_figure(max(6, 1.6 * len(axes)), 4.5)
    plot = figure.subplots()
    for number in _in_order(report):
        width = 3 if _is_winner(report, report.complete[number]) else 1
        plot.plot(heights[:, number], color=colours[number], linewidth=width)
    for place, axis in enumerate(axes):
        plot.plot([place, place], [0, 1], color=_GREY, linewidth=0.8)
        side: dict[str, Any] = {"ha": "right"} if axis.has_names else {"ha": "center"}
        shift = -0.06 if axis.has_names else 0.0
        for height, text in axis.labels():
            plot.text(place + shift, height, text, fontsize=8, va="center", **side)
    plot.set_xticks(range(len(axes)), ["\n".join(_lines(axis.title, 2 * _WRAPPED)) for axis in axes])
    plot.set(yticks=[], ylim=(-2 * _OUTSIDE, 1 + 2 * _OUTSIDE), xlim=(-0.9 if axes[0].has_names else -0.4, None))
    for spine in plot.spines.values():
        spine.set_visible(False)
    return figure


def _lines(title: str, letters: int) -> list[str]:
    """A title in lines; without spaces, as in Chinese, it is broken between any two letters."""
    if any(east_asian_width(letter) == "W" for letter in title):
        return textwrap.wrap(title, letters // 2)
    return textwrap.wrap(title, letters, break_long_words=False)


def _scaled(values: np.ndarray, of: Sequence[float] | None = None) -> np.ndarray:
    """Values from 0 to 1 between the extremes of ``of``, default their own."""
    reference = np.asarray(values if of is None else of, float)
    low, span = reference.min(), np.ptp(reference)
    return (np.asarray(values, float) - low) / (span or 1.0)
