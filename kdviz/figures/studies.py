"""Studies: a figure against what was varied, and each run's curves."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from kdviz.analysis.series import Figure, Point
from kdviz.analysis.study_kinds import Study
from kdviz.figures.files import new_picture, picture_file
from kdviz.figures.roles import FURTHER_COLOURS, role_colour, role_dash, role_symbol, role_title

_AXES = {"temperature": "Temperature T", "alpha": "Weight of the teacher, alpha", "kd_loss": "Loss against the teacher"}
_AXES["teacher_epochs"] = "Epochs after which the teacher was stopped"
_LOG = ("temperature",)
_MARKERS = {"square": "s", "circle": "o", "diamond": "D", "triangle-up": "^", "cross": "P", "x": "X", "star": "*"}
_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_SYMBOLS = ("circle", "triangle-up", "cross", "x", "star", "square", "diamond")
_PANELS = {"loss": "Loss, logarithmic", "accuracy": "Accuracy"}


# against what was varied ----------------------------------------------------------------------------------------------


def against_value(points: Sequence[Point], study: Study, figure: Figure, split: str = "test") -> go.Figure:
    """A figure against what was varied: mean and standard deviation over seeds, each run as a faint point, and a line
    for each model that does not depend on it.

    Args:
        points: See :meth:`kdviz.analysis.series.Report.points`.
        study: One of ``STUDIES``.
        figure: Which of ``FIGURES`` it is.
        split: On which it was measured; for the axis.
    """
    chart = go.Figure()
    for point in points:
        if point.value is None:
            _reference(chart, point, figure)
    for role, line in _lines(points).items():
        _line(chart, role, line, study, figure)
    values = _values(points)
    ticks: dict[str, Any] = {
        "tickvals": [_place(one) for one in values],
        "ticktext": [_value_text(one) for one in values],
    }
    kind = "category" if _is_category(values) else "log" if study.column in _LOG else "linear"
    chart.update_xaxes(title=_AXES[study.column], showgrid=False, zeroline=False, type=kind, **ticks)
    chart.update_yaxes(title=_y_title(figure, split), tickformat=_tick_format(points, figure))
    return chart.update_layout(
        height=440,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )


def _line(chart: go.Figure, role: str, line: Sequence[Point], study: Study, figure: Figure) -> None:
    colour, symbol = role_colour(role), role_symbol(role)
    number = ".2%" if figure.share else ".4f"
    runs = [(_place(point.value), seed, one) for point in line for seed, one in point.runs if len(point.runs) > 1]
    chart.add_trace(
        go.Scatter(
            x=[place for place, _, _ in runs],
            y=[one for _, _, one in runs],
            customdata=[seed for _, seed, _ in runs],
            mode="markers",
            showlegend=False,
            marker={"size": 6, "color": colour, "symbol": f"{symbol}-open", "line": {"width": 1.5}},
            hovertemplate=f"{role_title(role)}, seed %{{customdata}}: %{{y:{number}}}<extra></extra>",
        )
    )
    about = [[value_title(study, p.value), len(p.runs), p.spread or 0.0] for p in line]
    chart.add_trace(
        go.Scatter(
            x=[_place(point.value) for point in line],
            y=[point.mean for point in line],
            error_y={"type": "data", "array": [point.spread or 0.0 for point in line], "thickness": 2, "width": 6},
            mode="markers" if _is_category([line[0].value]) else "lines+markers",
            name=role_title(role),
            line={"color": colour, "width": 2, "dash": role_dash(role)},
            marker={"size": 10, "symbol": symbol, "color": colour},
            customdata=np.array(about, dtype=object),
            hovertemplate=f"{role_title(role)}, %{{customdata[0]}}<br>%{{y:{number}}} ± %{{customdata[2]:{number}}} "
            "over %{customdata[1]} seed(s)<extra></extra>",
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
    name = f"{role_title(point.role)}, {figure.text(point.mean)}"
    chart.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name, line=line))


def against_value_file(points: Sequence[Point], study: Study, figure: Figure, kind: str, split: str = "test") -> bytes:
    """The same as the bytes of a ``png`` or ``svg`` file.

    Raises:
        UnknownNameError: Another kind.
    """
    picture = new_picture(8, 4.5, kind)
    axis = picture.subplots()
    values = _values(points)
    category = _is_category(values)
    for point in points:
        if point.value is None:
            colour, mean, spread = role_colour(point.role), point.mean, point.spread or 0.0
            axis.axhspan(mean - spread, mean + spread, color=colour, alpha=0.12, linewidth=0)
            name = f"{role_title(point.role)}, {figure.text(mean)}"
            axis.axhline(mean, color=colour, linestyle=_DASHES[role_dash(point.role)], label=name)
    for role, line in _lines(points).items():
        places = [values.index(point.value) if category else point.value for point in line]
        axis.errorbar(
            places,
            [point.mean for point in line],
            [point.spread or 0.0 for point in line],
            color=role_colour(role),
            linestyle="none" if category else _DASHES[role_dash(role)],
            marker=_MARKERS[role_symbol(role)],
            capsize=4,
            label=role_title(role),
        )
        seeds = [(place, one) for place, point in zip(places, line, strict=True) for _, one in point.runs]
        look = {"marker": _MARKERS[role_symbol(role)], "markersize": 4, "fillstyle": "none", "linestyle": "none"}
        axis.plot(*zip(*seeds, strict=True), color=role_colour(role), **look)
    axis.set_xscale("log" if study.column in _LOG else "linear")
    axis.set_xticks(range(len(values)) if category else values, [_value_text(one) for one in values])
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(lambda value, _: figure.text(value))
    axis.set(xlabel=_AXES[study.column], ylabel=_y_title(figure, split))
    picture.legend(loc="outside upper center", ncols=3, frameon=False)  # no line can be behind it
    return picture_file(picture, kind)


def _lines(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Role -> its points, of the models that depend on what is varied."""
    found: dict[str, list[Point]] = {}
    for point in points:
        if point.value is not None:
            found.setdefault(point.role, []).append(point)
    return found


def _values(points: Sequence[Point]) -> list[Any]:
    return sorted({point.value for point in points if point.value is not None})


def _is_category(values: Sequence[Any]) -> bool:
    return any(isinstance(value, str) for value in values)


def _place(value: Any) -> Any:
    return _value_text(value) if isinstance(value, str) else value


def _value_text(value: Any) -> str:
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"


def value_title(study: Study, value: Any) -> str:
    """A value beside a model's name: ``T = 4``, ``teacher of 3 epochs``, or a loss."""
    if study.column == "teacher_epochs":
        return f"teacher of {value:g} epoch{'' if value == 1 else 's'}"
    return _value_text(value) if isinstance(value, str) else study.shown(value)


def _y_title(figure: Figure, split: str) -> str:
    return f"{figure.title}, {split} split" + (f" ({figure.better} is better)" if figure.better else "")


def _tick_format(points: Sequence[Point], figure: Figure) -> str:
    """As many digits as tell neighbouring ticks apart."""
    ends = [point.mean + sign * (point.spread or 0.0) for point in points for sign in (-1, 1)]
    span = max(ends) - min(ends) if ends else 1.0
    if figure.share:
        return ".0%" if span > 0.05 else ".1%" if span > 0.005 else ".2%"
    return ".2f" if span > 0.05 else ".3f" if span > 0.005 else ".4f"


# curves ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Style:
    name: str
    colour: str
    symbol: str


def curves(
    rows: Sequence[Mapping[str, Any]], study: Study, panels: Sequence[str] = ("loss", "accuracy"), height: int = 360
) -> go.Figure:
    """Curves of runs over their epochs: validation as a line with symbols, training dotted.

    Args:
        rows: Of :attr:`kdviz.analysis.series.Report.curves`.
        study: One of ``STUDIES``.
        panels: ``loss``, ``accuracy`` or both, side by side.
        height: In pixels.
    """
    chart = make_subplots(1, len(panels), horizontal_spacing=0.1)
    styles = _styles(rows, study)
    step = max(1, -(-max(row["epoch"] for row in rows) // 10)) if rows else 1
    for column, panel in enumerate(panels, 1):
        chart.update_xaxes(title="Epoch", showgrid=False, tick0=0, dtick=step, row=1, col=column)
        axis: dict[str, Any] = (
            {"tickformat": ".0%"} if panel == "accuracy" else {"type": "log", "dtick": "D2", "tickformat": ".2~g"}
        )
        chart.update_yaxes(title=_PANELS[panel], **axis, row=1, col=column)
    named: set[Any] = set()
    for (column, panel), run in product(enumerate(panels, 1), _runs(rows)):
        key = run[0]["role"], run[0]["value"]
        for part in ("train", "validation"):
            trace = _curve(run, f"{part}_{panel}", styles[key], part, key not in named and part == "validation")
            chart.add_trace(trace, 1, column)
        named.add(key)
    for name, dash in (("Validation", "solid"), ("Training", "dot")):
        grey = {"color": "#888", "width": 2, "dash": dash}
        chart.add_trace(go.Scatter(x=[None], y=[None], mode="lines", name=name, line=grey), 1, 1)
    return chart.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )


def _curve(run: Sequence[Mapping[str, Any]], column: str, style: _Style, part: str, named: bool) -> go.Scatter:
    said = f"{style.name}, seed {run[0]['seed']}, {'training' if part == 'train' else part}"
    number = ".2%" if column.endswith("accuracy") else ".4f"
    return go.Scatter(
        x=[row["epoch"] for row in run],
        y=[row[column] for row in run],
        mode="lines" if part == "train" else "lines+markers",
        name=style.name,
        legendgroup=style.name,
        showlegend=named,
        line={"color": style.colour, "width": 1.5, "dash": "dot" if part == "train" else "solid"},
        marker={"size": 6, "symbol": style.symbol},
        hovertemplate=f"{said}<br>epoch %{{x}}: %{{y:{number}}}<extra></extra>",
    )


def curves_file(rows: Sequence[Mapping[str, Any]], study: Study, kind: str) -> bytes:
    """Both panels as the bytes of a ``png`` or ``svg`` file.

    Raises:
        UnknownNameError: Another kind.
    """
    picture = new_picture(11, 4.2, kind)
    styles, named = _styles(rows, study), set()
    for axis, (panel, title) in zip(picture.subplots(1, 2), _PANELS.items(), strict=True):
        for run in _runs(rows):
            style, epochs = styles[run[0]["role"], run[0]["value"]], [row["epoch"] for row in run]
            train, validation = ([row[f"{part}_{panel}"] for row in run] for part in ("train", "validation"))
            axis.plot(epochs, train, ":", color=style.colour, linewidth=1)
            name = "" if (panel, style.name) in named else style.name
            axis.plot(epochs, validation, color=style.colour, marker=_MARKERS[style.symbol], markersize=4, label=name)
            named.add((panel, style.name))
        axis.plot([], [], ":", color="#888", label="training")
        axis.set(xlabel="Epoch", ylabel=title, yscale="log" if panel == "loss" else "linear")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8)
    return picture_file(picture, kind)


def _runs(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    found: dict[Hashable, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["run"], []).append(row)
    return list(found.values())


def _styles(rows: Sequence[Mapping[str, Any]], study: Study) -> dict[tuple[str, Any], _Style]:
    """(role, value) -> how it looks. One value of the KD student has its role's colour; of several, each its own."""
    keys = list(dict.fromkeys((row["role"], row["value"]) for row in rows))
    varied = [key for key in keys if key[1] is not None]
    found = {}
    for role, value in keys:
        if value is None:
            found[role, value] = _Style(role_title(role), role_colour(role), role_symbol(role))
            continue
        place = varied.index((role, value))
        colours = (role_colour(role), *FURTHER_COLOURS)
        name = f"{role_title(role)}, {value_title(study, value)}"
        found[role, value] = _Style(name, colours[place % len(colours)], _SYMBOLS[place % len(_SYMBOLS)])
    return found
