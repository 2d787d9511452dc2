"""Accuracy against cost: every model in every kind of file, and the front of those that no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.compress.cost import FORMS, Axis, CostEntry, pareto_front
from kdviz.core.language import N_, _, number, percent
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_symbol, role_title

FORM_SYMBOLS = {"torch": "", "onnx": "-open", "onnx_int8": "-x-open", "file": "-dot"}
"""Form -> what is added to a role's symbol: filled, open, open with a cross."""

_FILE_MARKERS = {"square": "s", "circle": "o", "diamond": "D"}
_FILE_LEGEND = {"onnx_int8": N_("ONNX Runtime, int8 (with a cross)")}
_GREY = "#7A8794"


@Chart
def accuracy_against_cost(entries: Sequence[CostEntry], axis: Axis, split: str) -> go.Figure:
    """Accuracy, with 95 % intervals, against a cost on a logarithmic scale, quartiles as bars.

    Args:
        entries: Those to show.
        axis: One of :data:`kdviz.compress.cost.AXES`.
        split: On which accuracy was measured; for the axis.
    """
    shown = _shown(entries, axis)
    chart = go.Figure()
    steps = pareto_front(shown, axis.name)
    chart.add_trace(
        go.Scatter(
            x=[one.costs[axis.name] for one in steps],
            y=[one.accuracy for one in steps],
            mode="lines",
            line={"color": _GREY, "width": 1.5, "dash": "dash", "shape": "hv"},
            name=_("Best at its cost"),
            hoverinfo="skip",
        )
    )
    chart.add_traces([*(_point(one, axis) for one in shown), *_legend(shown)])
    marks, texts = _ticks(shown, axis)
    chart.update_xaxes(type="log", title=_x_title(axis), zeroline=False, tickvals=marks, ticktext=texts)
    chart.update_yaxes(title=_("Accuracy, {split} samples", split=split), tickformat=_tick_format(shown))
    return chart.update_layout(
        height=460,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )


def _legend(shown: Sequence[CostEntry]) -> list[go.Scatter]:
    """What colours and shapes mean, and apart from it what their filling means."""
    roles = list(dict.fromkeys(one.role for one in shown))
    looks = [(role_title(role), role_colour(role), role_symbol(role)) for role in roles]
    forms = [form for form in FORMS if any(one.form == form for one in shown)]
    looks += [(_(FORMS[form]), _GREY, f"circle{FORM_SYMBOLS[form]}") for form in forms]
    return [
        go.Scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=label(name),
            marker={"size": 12, "color": colour, "symbol": symbol, "line": {"width": 2, "color": colour}},
        )
        for name, colour, symbol in looks
    ]


def entry_title(one: CostEntry) -> str:
    """A model and its kind of file: ``Teacher, ONNX Runtime, int8``."""
    return _("{model}, {form}", model=role_title(one.role), form=_(FORMS[one.form]))


def _point(one: CostEntry, axis: Axis) -> go.Scatter:
    value = one.costs[axis.name]
    low, high = one.ranges.get(axis.name, (value, value))
    name = label(entry_title(one))
    known = not math.isnan(one.low)
    lines = [
        f"<b>{name}</b>",
        _("{cost}: {value} {unit}", cost=_(axis.title), value=number(value, _digits(value)), unit=_unit(axis)),
        _("Accuracy: {accuracy}", accuracy=percent(one.accuracy, 2)),
    ]
    if known:
        lines.append(_("95 % interval {low} to {high}", low=percent(one.low, 2), high=percent(one.high, 2)))
    return go.Scatter(
        x=[value],
        y=[one.accuracy],
        error_x={"type": "data", "symmetric": False, "array": [high - value], "arrayminus": [value - low], "width": 3}
        if high > low
        else None,
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [one.high - one.accuracy],
            "arrayminus": [one.accuracy - one.low],
            "width": 3,
            "thickness": 1,
        }
        if known
        else None,
        mode="markers",
        name=name,
        showlegend=False,
        marker={
            "size": 14,
            "color": role_colour(one.role),
            "symbol": role_symbol(one.role) + FORM_SYMBOLS[one.form],
            "line": {"width": 2, "color": role_colour(one.role)},
        },
        hovertemplate="<br>".join(lines) + "<extra></extra>",
    )


@accuracy_against_cost.file_form
def _draw_accuracy_against_cost(entries: Sequence[CostEntry], axis: Axis, split: str) -> Figure:
    picture = new_figure(9, 5)
    plot = picture.subplots()
    shown = _shown(entries, axis)
    steps = pareto_front(shown, axis.name)
    places = [one.costs[axis.name] for one in steps]
    heights = [one.accuracy for one in steps]
    plot.step(places, heights, where="post", color=_GREY, linestyle="--", label=_("Best at its cost"))
    for one in shown:
        value = one.costs[axis.name]
        low, high = one.ranges.get(axis.name, (value, value))
        errors = None if math.isnan(one.low) else [[one.accuracy - one.low], [one.high - one.accuracy]]
        plot.errorbar(
            [value],
            [one.accuracy],
            yerr=errors,
            xerr=[[value - low], [high - value]],
            color=role_colour(one.role),
            marker=_FILE_MARKERS.get(role_symbol(one.role), "s"),
            markerfacecolor=role_colour(one.role) if one.form == "torch" else "white",
            markersize=9,
            capsize=3,
            linestyle="none",
            elinewidth=1,
        )
        if one.form == "onnx_int8":
            _cross(plot, [value], [one.accuracy], role_colour(one.role))
    for role in dict.fromkeys(one.role for one in shown):
        colour, marker = role_colour(role), _FILE_MARKERS.get(role_symbol(role), "s")
        plot.plot([], [], color=colour, marker=marker, markersize=9, linestyle="none", label=role_title(role))
    for form in FORMS:
        if any(one.form == form for one in shown):
            look = {"markerfacecolor": _GREY if form == "torch" else "white", "markersize": 9}
            plot.plot(
                [], [], color=_GREY, marker="o", linestyle="none", label=_(_FILE_LEGEND.get(form, FORMS[form])), **look
            )
    plot.set_xscale("log")
    plot.set_xticks(*_ticks(shown, axis))
    plot.minorticks_off()
    plot.yaxis.set_major_formatter(lambda value, _place: percent(value, 2))
    plot.set(xlabel=_x_title(axis), ylabel=_("Accuracy, {split} samples", split=split))
    plot.grid(alpha=0.3)
    picture.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return picture


def _cross(plot: Any, x: list[float], y: list[float], colour: str) -> None:
    plot.plot(x, y, marker="x", color=colour, markersize=6, linestyle="none", zorder=5)


def _shown(entries: Sequence[CostEntry], axis: Axis) -> list[CostEntry]:
    return [one for one in entries if axis.name in one.costs and not math.isnan(one.accuracy)]


def _unit(axis: Axis) -> str:
    return _(axis.unit)


def _x_title(axis: Axis) -> str:
    return _("{cost}, {unit} (logarithmic)", cost=_(axis.title), unit=_unit(axis))


def _ticks(shown: Sequence[CostEntry], axis: Axis) -> tuple[list[float], list[str]]:
    """1, 2 and 5 of each decade that is shown."""
    values = [one.costs[axis.name] for one in shown] or [1.0]
    low, high = math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1
    marks = [step * 10.0**decade for decade in range(low, high + 1) for step in (1, 2, 5)]
    near = [one for one in marks if min(values) / 2.6 <= one <= max(values) * 2.6]
    return near, [number(one, _digits(one)) for one in near]


def _digits(value: float) -> int:
    """So many decimals that two or three digits say something."""
    return max(0, 1 - math.floor(math.log10(value))) if 0 < value < 10 else 0 if value >= 100 else 1


def _tick_format(shown: Sequence[CostEntry]) -> str:
    span = max((one.accuracy for one in shown), default=1.0) - min((one.accuracy for one in shown), default=0.0)
    return ".0%" if span > 0.05 else ".1%"
