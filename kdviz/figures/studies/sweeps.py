"""Figures of a study against the value that was varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure as Picture

from kdviz.core.language import N_, _, plural
from kdviz.core.vocabulary import Split
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_dash, role_symbol, role_title
from kdviz.studies.sweep.kinds import Study
from kdviz.studies.sweep.report import Figure, Point

_AXES = {
    "temperature": N_("Temperature T"),
    "alpha": N_("Weight of the teacher, alpha"),
    "kd_loss": N_("Loss against the teacher"),
    "transfer_set": N_("What the student is distilled on"),
    "teacher_epochs": N_("Epochs after which the teacher was stopped"),
}
_Y_TITLES: Mapping[tuple[str, str], str] = {
    (Split.TEST, "higher"): N_("{figure}, test split (higher is better)"),
    (Split.TEST, "lower"): N_("{figure}, test split (lower is better)"),
    (Split.VALIDATION, "higher"): N_("{figure}, validation split (higher is better)"),
    (Split.VALIDATION, "lower"): N_("{figure}, validation split (lower is better)"),
    (Split.BUNDLED, "higher"): N_("{figure}, bundled samples (higher is better)"),
    (Split.BUNDLED, "lower"): N_("{figure}, bundled samples (lower is better)"),
}
_LOG = ("temperature",)
MARKERS = {"square": "s", "circle": "o", "diamond": "D", "triangle-up": "^", "cross": "P", "x": "X", "star": "*"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}

_HEIGHT = 440  # pixels
_MOST_NUMBERS = 12  # that an axis names; on a narrow page more would run into each other
_PIXELS_OF_LETTER = 7
_FEW_LETTERS = 12  # of a value, for which that height has room
_LETTERS_IN_A_ROW = 80  # of all values together, which fit side by side into a file


@Chart
def against_value(points: Sequence[Point], study: Study, figure: Figure, split: str = Split.TEST) -> go.Figure:
    """A figure against the value that was varied, with mean and standard deviation over seeds.

    Each run is a faint point, and each model that does not depend on the value is a line across the plot.

    Args:
        points: See :meth:`kdviz.studies.sweep.report.StudyReport.points`.
        study: One of ``STUDIES``.
        figure: One of ``FIGURES``.
        split: Split on which it was measured, for the axis title.
    """
    chart = go.Figure()
    for point in points:
        if point.value is None:
            _reference(chart, point, figure)
    for role, line in _lines(points).items():
        _line(chart, role, line, study, figure)
    values = _values(points)
    named = _named(values)
    ticks: dict[str, Any] = {
        "tickvals": [_x_value(value) for value in named],
        "ticktext": [_tick_text(value).replace("\n", "<br>") for value in named],
    }
    kind = "category" if _is_category(values) else "log" if study.column in _LOG else "linear"
    chart.update_xaxes(title=_(_AXES[study.column]), showgrid=False, zeroline=False, type=kind, **ticks)
    chart.update_yaxes(title=_y_title(figure, split), tickformat=_tick_format(points, figure))
    return chart.update_layout(
        height=_HEIGHT + _PIXELS_OF_LETTER * max(0, _longest_line(values) - _FEW_LETTERS),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )


def _line(chart: go.Figure, role: str, line: Sequence[Point], study: Study, figure: Figure) -> None:
    colour, symbol = role_colour(role), role_symbol(role)
    digits = ".2%" if figure.share else ".4f"
    title = label(role_title(role))
    runs = [
        (_x_value(point.value), seed, result) for point in line for seed, result in point.runs if len(point.runs) > 1
    ]
    chart.add_trace(
        go.Scatter(
            x=[x for x, _seed, _result in runs],
            y=[result for _x, _seed, result in runs],
            customdata=[seed for _x, seed, _result in runs],
            mode="markers",
            showlegend=False,
            marker={"size": 6, "color": colour, "symbol": f"{symbol}-open", "line": {"width": 1.5}},
            hovertemplate=_("{model}, seed {seed}", model=title, seed="%{customdata}")
            + f": %{{y:{digits}}}<extra></extra>",
        )
    )
    hover_data = [
        [label(value_title(study, point.value)), _over_seeds(len(point.runs)), point.spread or 0.0] for point in line
    ]
    chart.add_trace(
        go.Scatter(
            x=[_x_value(point.value) for point in line],
            y=[point.mean for point in line],
            error_y={"type": "data", "array": [point.spread or 0.0 for point in line], "thickness": 2, "width": 6},
            mode="markers" if _is_category([line[0].value]) else "lines+markers",
            name=role_title(role),
            line={"color": colour, "width": 2, "dash": role_dash(role)},
            marker={"size": 10, "symbol": symbol, "color": colour},
            customdata=np.array(hover_data, dtype=object),
            hovertemplate=f"{title}, %{{customdata[0]}}<br>%{{y:{digits}}} ± %{{customdata[2]:{digits}}}<br>"
            "%{customdata[1]}<extra></extra>",
        )
    )


def _reference(chart: go.Figure, point: Point, figure: Figure) -> None:
    colour, dash = role_colour(point.role), role_dash(point.role)
    if point.spread:
        chart.add_hrect(
            y0=point.mean - point.spread, y1=point.mean + point.spread, fillcolor=colour, opacity=0.12, line_width=0
        )
    line = {"color": colour, "width": 2, "dash": dash}
    chart.add_hline(y=point.mean, line=line)
    # A line across the plot has no legend entry of its own.
    name = label(_with_figure(point, figure))
    chart.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name, line=line))


@against_value.file_form
def _draw_against_value(points: Sequence[Point], study: Study, figure: Figure, split: str = Split.TEST) -> Picture:
    picture = new_figure(8, 4.5)
    axis = picture.subplots()
    values = _values(points)
    category = _is_category(values)
    for point in points:
        if point.value is None:
            colour, mean, spread = role_colour(point.role), point.mean, point.spread or 0.0
            axis.axhspan(mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
            axis.axhline(
                mean, color=colour, linestyle=_DASHES[role_dash(point.role)], label=_with_figure(point, figure)
            )
    for role, line in _lines(points).items():
        xs = [values.index(point.value) if category else point.value for point in line]
        axis.errorbar(
            xs,
            [point.mean for point in line],
            [point.spread or 0.0 for point in line],
            color=role_colour(role),
            linestyle="none" if category else _DASHES[role_dash(role)],
            marker=MARKERS[role_symbol(role)],
            capsize=4,
            label=role_title(role),
        )
        seeds = [(x, result) for x, point in zip(xs, line, strict=True) for _seed, result in point.runs]
        style = {"marker": MARKERS[role_symbol(role)], "markersize": 4, "fillstyle": "none", "linestyle": "none"}
        axis.plot(*zip(*seeds, strict=True), color=role_colour(role), **style)
    axis.set_xscale("log" if study.column in _LOG else "linear")
    named = _named(values)
    axis.set_xticks(range(len(values)) if category else named, [_tick_text(value) for value in named])
    if sum(map(len, map(_tick_text, named))) > _LETTERS_IN_A_ROW:
        axis.tick_params(axis="x", rotation=90)
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(lambda value, _position: figure.text(value))
    axis.set(xlabel=_(_AXES[study.column]), ylabel=_y_title(figure, split))
    picture.legend(
        loc="outside upper center", ncols=3, frameon=False
    )  # outside of the plot, where no line runs behind it
    return picture


def _with_figure(point: Point, figure: Figure) -> str:
    return _("{model}, {value}", model=role_title(point.role), value=figure.text(point.mean))


def _over_seeds(count: int) -> str:
    return plural("over {count} seed", "over {count} seeds", count)


def _lines(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Role -> its points, for the models that depend on the value that is varied."""
    lines: dict[str, list[Point]] = {}
    for point in points:
        if point.value is not None:
            lines.setdefault(point.role, []).append(point)
    return lines


def _values(points: Sequence[Point]) -> list[Any]:
    return sorted({point.value for point in points if point.value is not None})


def _named(values: Sequence[Any]) -> list[Any]:
    """The values that an axis names: all names, and of many numbers every second, third... from the first on."""
    return list(values) if _is_category(values) else list(values[:: max(1, -(-len(values) // _MOST_NUMBERS))])


def _is_category(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _x_value(value: Any) -> Any:
    return _value_text(value) if isinstance(value, str) else value


def _tick_text(value: Any) -> str:
    """A value below the axis: a loss between layers stands below the one against the teacher."""
    return _value_text(value).replace(" + ", "\n+ ")


def _longest_line(values: Sequence[Any]) -> int:
    """Letters of the longest line below the axis; many values are written upwards there, which takes height."""
    return max((len(line) for value in values for line in _tick_text(value).splitlines()), default=0)


def _value_text(value: Any) -> str:
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"


def value_title(study: Study, value: Any) -> str:
    """A value after a model's name: ``T = 4``, ``teacher of 3 epochs``, or a loss."""
    if study.column == "teacher_epochs":
        return plural("teacher of {count} epoch", "teacher of {count} epochs", int(value))
    return _value_text(value) if isinstance(value, str) else study.shown(value)


def _y_title(figure: Figure, split: str) -> str:
    return _(_Y_TITLES[split, figure.better], figure=_(figure.title))


def _tick_format(points: Sequence[Point], figure: Figure) -> str:
    """A number format with enough digits to tell neighbouring ticks apart."""
    ends = [point.mean + sign * (point.spread or 0.0) for point in points for sign in (-1, 1)]
    span = max(ends) - min(ends) if ends else 1.0
    if figure.share:
        return ".0%" if span > 0.05 else ".1%" if span > 0.005 else ".2%"
    return ".2f" if span > 0.05 else ".3f" if span > 0.005 else ".4f"
