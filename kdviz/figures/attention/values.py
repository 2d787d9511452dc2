"""The effect against the values of a study: numbers along an axis, names of losses in rows."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _
from kdviz.core.vocabulary import Role
from kdviz.figures.attention.parts import (
    CEILING_COLOUR,
    MARGIN,
    MARKERS,
    SYMBOLS,
    control_title,
    difference_title,
    effect_colour,
    error_bars,
    half_widths,
    hover_text,
    in_two_lines,
    value_and_interval,
)
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import role_title
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.agreements import Value
from kdviz.studies.attention.statistics.uncertainty import Effect
from kdviz.studies.sweep.kinds import STUDIES


@Chart
def effect_against_value(report: AttentionReport) -> go.Figure:
    """The effect against temperature, alpha or the teacher's epochs, with intervals, and the controls.

    Values that are names, of losses, are rows from top to bottom.
    """
    if _has_names(report):
        return _effect_by_name(report)
    chart = go.Figure()
    for kind, name, values, effects in _lines(report):
        colour = effect_colour(kind)
        chart.add_trace(
            go.Scatter(
                x=values,
                y=[effect.value for effect in effects],
                error_y=error_bars(*effects),
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2, "dash": "solid" if kind == "claim" else "dot"},
                marker={"size": 10, "symbol": SYMBOLS[kind], "color": colour, "line": {"width": 2}},
                customdata=[value_and_interval(effect) for effect in effects],
                hovertemplate=hover_text(name),
            )
        )
    values = [value_effect.value for value_effect in report.values if value_effect.value is not None]
    title = _title_of_values(report)
    ticks: dict[str, Any] = {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    chart.update_xaxes(
        title=title, type="log" if _is_log(report) else "linear", showgrid=False, zeroline=False, **ticks
    )
    chart.add_hline(y=0, line={"color": CEILING_COLOUR, "width": 1, "dash": "dot"})
    chart.update_yaxes(title=difference_title(report), zeroline=False)
    return chart.update_layout(height=440, margin=MARGIN, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


def _effect_by_name(report: AttentionReport) -> go.Figure:
    chart, names = go.Figure(), [str(value_effect.value) for value_effect in report.values]
    for kind, title, rows, effects in _rows(report):
        colour = effect_colour(kind)
        texts = [[*value_and_interval(effect), names[round(row)]] for effect, row in zip(effects, rows, strict=True)]
        chart.add_trace(
            go.Scatter(
                x=[effect.value for effect in effects],
                y=rows,
                error_x=error_bars(*effects),
                mode="markers",
                name=title,
                marker={"size": 10, "symbol": SYMBOLS[kind], "color": colour, "line": {"width": 2}},
                customdata=texts,
                hovertemplate=hover_text(f"%{{customdata[3]}}, {title}"),
            )
        )
    chart.add_vline(x=0, line={"color": CEILING_COLOUR, "width": 1, "dash": "dot"})
    chart.update_xaxes(title=in_two_lines(difference_title(report)), showgrid=False, zeroline=False)
    ticks = {"tickvals": list(range(len(names))), "ticktext": list(map(_with_breaks, names))}
    chart.update_yaxes(range=[len(names) - 0.5, -0.5], showgrid=False, zeroline=False, **ticks)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return chart.update_layout(height=160 + 60 * len(names), margin=MARGIN, legend=legend)


def _with_breaks(name: str) -> str:
    """Both losses of a value one above the other: beside long names of rows, a phone has no room for the chart."""
    return name.replace(" + ", "<br>+ ")


@effect_against_value.file_form
def _draw_effect_against_value(report: AttentionReport) -> Figure:
    if _has_names(report):
        return _draw_effect_by_name(report)
    picture = new_figure(8, 4.5)
    axis = picture.subplots()
    for kind, name, values, effects in _lines(report):
        axis.errorbar(
            values,
            [effect.value for effect in effects],
            yerr=half_widths(effects),
            fmt=MARKERS[kind] + ("-" if kind == "claim" else ":"),
            color=effect_colour(kind),
            capsize=4,
            label=name,
        )
    values = [value_effect.value for value_effect in report.values if value_effect.value is not None]
    if _is_log(report):
        axis.set_xscale("log")
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    axis.axhline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.set_xlabel(_title_of_values(report))
    axis.set_ylabel(difference_title(report))
    axis.legend(frameon=False, fontsize=9)
    return picture


def _draw_effect_by_name(report: AttentionReport) -> Figure:
    names = [str(value_effect.value) for value_effect in report.values]
    picture = new_figure(8, 1.2 + 0.6 * len(names))
    axis = picture.subplots()
    for kind, title, rows, effects in _rows(report):
        centres, widths = [effect.value for effect in effects], half_widths(effects)
        axis.errorbar(centres, rows, xerr=widths, fmt=MARKERS[kind], color=effect_colour(kind), capsize=3, label=title)
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.set_xlabel(difference_title(report))
    axis.legend(frameon=False, fontsize=9)
    return picture


def _rows(report: AttentionReport) -> list[tuple[str, str, list[float], list[Effect]]]:
    """(kind, title, rows, effects) of a study whose values are names: each name has a row, and each kind its height."""
    lines, names = _lines(report), [value_effect.value for value_effect in report.values]
    offsets = [0.7 * ((index + 0.5) / len(lines) - 0.5) for index in range(len(lines))]
    return [
        (kind, title, [names.index(value) + offset for value in values], effects)
        for (kind, title, values, effects), offset in zip(lines, offsets, strict=True)
    ]


def _has_names(report: AttentionReport) -> bool:
    """Whether the study's values are names."""
    return isinstance(report.chosen.value, str)


def _lines(report: AttentionReport) -> list[tuple[str, str, list[Value], list[Effect]]]:
    """(kind, name, values, effects) of the KD students and of each control that varies with them."""
    points = [
        ("claim", role_title(Role.KD_STUDENT), value_effect.value, value_effect.difference)
        for value_effect in report.values
    ]
    points += [
        (control.kind, control_title(control), control.value, control.difference) for control in report.all_controls
    ]
    lines = []
    for kind, name in dict.fromkeys(point[:2] for point in points):
        line = [(value, effect) for point_kind, _, value, effect in points if point_kind == kind and value is not None]
        if line:
            lines.append((kind, name, [value for value, _ in line], [effect for _, effect in line]))
    return lines


def _title_of_values(report: AttentionReport) -> str:
    return _(STUDIES[report.study].title) if report.study in STUDIES else ""


def _is_log(report: AttentionReport) -> bool:
    return report.study == "temperature"
