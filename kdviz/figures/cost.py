"""Accuracy against cost: every model in every form, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.compress.cost import FORMS, Axis, CostEntry, Form, pareto_front
from kdviz.core.language import N_, _, number, percent
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_symbol, role_title

FORM_SYMBOLS: Mapping[str, str] = {
    Form.TORCH: "",
    Form.ONNX: "-open",
    Form.ONNX_INT8: "-x-open",
    Form.FILE: "-dot",
    Form.OPENVINO: "-open-dot",
    Form.EXECUTORCH: "-cross-open",
    Form.LITERT: "-cross-dot",
}
"""Form -> suffix of a role's symbol: filled, open, open with a cross, with a dot, open with a dot."""

_FILE_MARKERS = {"square": "s", "circle": "o", "diamond": "D"}
_FILE_LEGEND: Mapping[str, str] = {Form.ONNX_INT8: N_("ONNX Runtime, int8 (with a cross)")}
_GREY = "#7A8794"


@Chart
def accuracy_against_cost(entries: Sequence[CostEntry], axis: Axis, split: str) -> go.Figure:
    """Accuracy, with 95 % intervals, against a cost on a logarithmic scale, with quartiles as bars.

    Args:
        entries: Entries of the cost table to show.
        axis: One of :data:`kdviz.compress.cost.AXES`.
        split: Split on which accuracy was measured, for the axis title.
    """
    entries_to_plot = _plottable(entries, axis)
    chart = go.Figure()
    steps = pareto_front(entries_to_plot, axis.name)
    chart.add_trace(
        go.Scatter(
            x=[entry.costs[axis.name] for entry in steps],
            y=[entry.accuracy for entry in steps],
            mode="lines",
            line={"color": _GREY, "width": 1.5, "dash": "dash", "shape": "hv"},
            name=_("Best at its cost"),
            hoverinfo="skip",
        )
    )
    chart.add_traces([*(_point(entry, axis) for entry in entries_to_plot), *_legend(entries_to_plot)])
    marks, texts = _ticks(entries_to_plot, axis)
    chart.update_xaxes(type="log", title=_x_title(axis), zeroline=False, tickvals=marks, ticktext=texts)
    chart.update_yaxes(title=_("Accuracy, {split} samples", split=split), tickformat=_tick_format(entries_to_plot))
    return chart.update_layout(
        height=460,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )


def _legend(entries: Sequence[CostEntry]) -> list[go.Scatter]:
    """Legend entries for roles, which are colours and shapes, and for forms, which are fillings."""
    roles = list(dict.fromkeys(entry.role for entry in entries))
    styles = [(role_title(role), role_colour(role), role_symbol(role)) for role in roles]
    forms = [form for form in FORMS if any(entry.form == form for entry in entries)]
    styles += [(_(FORMS[form]), _GREY, f"circle{FORM_SYMBOLS[form]}") for form in forms]
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=label(name),
            marker={"size": 12, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}},
        )
        for name, colour, symbol in styles
    ]


def entry_title(entry: CostEntry) -> str:
    """A model and its form: ``Teacher, ONNX Runtime, int8``."""
    return _("{model}, {form}", model=role_title(entry.role), form=_(FORMS[entry.form]))


def _point(entry: CostEntry, axis: Axis) -> go.Scatter:
    value = entry.costs[axis.name]
    low, high = entry.ranges.get(axis.name, (value, value))
    name = label(entry_title(entry))
    has_interval = not math.isnan(entry.low)
    lines = [
        f"<b>{name}</b>",
        _("{cost}: {value} {unit}", cost=_(axis.title), value=number(value, _digits(value)), unit=_unit(axis)),
        _("Accuracy: {accuracy}", accuracy=percent(entry.accuracy, 2)),
    ]
    if has_interval:
        lines.append(_("95 % interval {low} to {high}", low=percent(entry.low, 2), high=percent(entry.high, 2)))
    return go.Scatter(
        x=[value],
        y=[entry.accuracy],
        error_x={"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "width": 3}
        if high > low
        else None,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [entry.high - entry.accuracy],
            "arrayminus": [entry.accuracy - entry.low],
            "width": 3,
            "thickness": 1,
        }
        if has_interval
        else None,
        mode="markers",
        name=name,
        showlegend=False,
        marker={
            "size": 14,
            "color": role_colour(entry.role),
            "symbol": role_symbol(entry.role) + FORM_SYMBOLS[entry.form],
            "line": {"width": 2, "color": role_colour(entry.role)},
        },
        hovertemplate="<br>".join(lines) + "<extra></extra>",
    )


@accuracy_against_cost.file_form
def _draw_accuracy_against_cost(entries: Sequence[CostEntry], axis: Axis, split: str) -> Figure:
    picture = new_figure(9, 5)
    plot = picture.subplots()
    entries_to_plot = _plottable(entries, axis)
    steps = pareto_front(entries_to_plot, axis.name)
    xs = [entry.costs[axis.name] for entry in steps]
    ys = [entry.accuracy for entry in steps]
    plot.step(xs, ys, where="post", color=_GREY, linestyle="--", label=_("Best at its cost"))
    for entry in entries_to_plot:
        value = entry.costs[axis.name]
        low, high = entry.ranges.get(axis.name, (value, value))
        errors = None if math.isnan(entry.low) else [[entry.accuracy - entry.low], [entry.high - entry.accuracy]]
        plot.errorbar(
            [value],
            [entry.accuracy],
            yerr=errors,
            xerr=[[value - low], [high - value]],
            color=role_colour(entry.role),
            marker=_FILE_MARKERS.get(role_symbol(entry.role), "s"),
            markerfacecolor=role_colour(entry.role) if entry.form == Form.TORCH else "white",
            markersize=9,
            capsize=3,
            linestyle="none",
            elinewidth=1,
        )
        if entry.form == Form.ONNX_INT8:
            _cross(plot, [value], [entry.accuracy], role_colour(entry.role))
    for role in dict.fromkeys(entry.role for entry in entries_to_plot):
        colour, marker = role_colour(role), _FILE_MARKERS.get(role_symbol(role), "s")
        plot.plot([], [], color=colour, marker=marker, markersize=9, linestyle="none", label=role_title(role))
    for form in FORMS:
        if any(entry.form == form for entry in entries_to_plot):
            style = {"markerfacecolor": _GREY if form == Form.TORCH else "white", "markersize": 9}
            plot.plot(
                [], [], color=_GREY, marker="o", linestyle="none", label=_(_FILE_LEGEND.get(form, FORMS[form])), **style
            )
    plot.set_xscale("log")
    plot.set_xticks(*_ticks(entries_to_plot, axis))
    plot.minorticks_off()
    plot.yaxis.set_major_formatter(lambda value, _position: percent(value, 2))
    plot.set(xlabel=_x_title(axis), ylabel=_("Accuracy, {split} samples", split=split))
    plot.grid(alpha=0.3)
    picture.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return picture


def _cross(plot: Any, x: list[float], y: list[float], colour: str) -> None:
    plot.plot(x, y, marker="x", color=colour, markersize=6, linestyle="none", zorder=5)


def _plottable(entries: Sequence[CostEntry], axis: Axis) -> list[CostEntry]:
    return [entry for entry in entries if axis.name in entry.costs and not math.isnan(entry.accuracy)]


def _unit(axis: Axis) -> str:
    return _(axis.unit)


def _x_title(axis: Axis) -> str:
    return _("{cost}, {unit} (logarithmic)", cost=_(axis.title), unit=_unit(axis))


def _ticks(entries: Sequence[CostEntry], axis: Axis) -> tuple[list[float], list[str]]:
    """Positions and texts of the ticks: 1, 2 and 5 in each decade that is shown, which one digit tells."""
    values = [entry.costs[axis.name] for entry in entries] or [1.0]
    low, high = math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1
    marks = [step * 10.0**decade for decade in range(low, high + 1) for step in (1, 2, 5)]
    in_range = [mark for mark in marks if min(values) / 2.6 <= mark <= max(values) * 2.6]
    return in_range, [number(mark, max(0, -math.floor(math.log10(mark)))) for mark in in_range]


def _digits(value: float) -> int:
    """Number of decimals that leaves two or three significant digits."""
    return max(0, 1 - math.floor(math.log10(value))) if 0 < value < 10 else 0 if value >= 100 else 1


def _tick_format(entries: Sequence[CostEntry]) -> str:
    span = max((entry.accuracy for entry in entries), default=1.0) - min(
        (entry.accuracy for entry in entries), default=0.0
    )
    return ".0%" if span > 0.05 else ".1%"
