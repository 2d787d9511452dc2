"""Figures of an attention study: distributions with ceilings, the effect with its controls, and against values."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import N_, _, signed, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import FURTHER_COLOURS, role_colour, role_title
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.controls import Control
from kdviz.studies.attention.statistics.uncertainty import Effect
from kdviz.studies.sweep.kinds import STUDIES

_CEILING = "#767676"
_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}
_SYMBOLS = {"claim": "circle", "second": "diamond-open", "shuffled": "square-open", "other": "x"}
_MARKERS = {"claim": "o", "second": "D", "shuffled": "s", "other": "x"}
_COLOURS = {"second": FURTHER_COLOURS[2], "shuffled": FURTHER_COLOURS[0], "other": FURTHER_COLOURS[1]}
_MEASURES = {"spearman": "Spearman", "pearson": "Pearson", "ssim": "SSIM", "iou": N_("overlap of the top 20 %")}
_TITLES = {"second": N_("Second student alone"), "ceiling": N_("Noise ceiling")}


def _title(role: str) -> str:
    return _(_TITLES[role]) if role in _TITLES else role_title(role)


def _colour(role: str) -> str:
    return {"second": _COLOURS["second"], "ceiling": _CEILING}.get(role, role_colour(role))


def _agreement_title(report: AttentionReport) -> str:
    return _("Agreement with the teacher's map ({measure})", measure=_measure(report))


def _difference_title(report: AttentionReport) -> str:
    return _("KD student less student alone ({measure})", measure=_measure(report))


def _in_two_lines(title: str) -> str:
    """The title with its measure below it: beside long names of rows, a phone has no room for both in one line."""
    return re.sub(r" ?([(（])", r"<br>\1", title, count=1)


def _measure(report: AttentionReport) -> str:
    return _(_MEASURES.get(report.measure, report.measure))


# distribution ---------------------------------------------------------------------------------------------------------


@Chart
def agreement_distribution(report: AttentionReport, value: float | None = None) -> go.Figure:
    """Distributions over images of the agreement of each student's maps with the teacher's, and the noise ceiling.

    Args:
        report: See :func:`kdviz.studies.attention.read_attention`.
        value: Value of the KD students; None: the one that is judged.
    """
    chart = go.Figure()
    for role, values in report.distribution(value).items():
        chart.add_trace(
            go.Violin(
                x=values.astype(np.float32),
                name=_title(role),
                orientation="h",
                line_color=_colour(role),
                box_visible=True,
                meanline_visible=True,
                points=False,
                spanmode="hard",
                hoveron="violins",
                showlegend=False,
            )
        )
    chart.update_xaxes(title=_in_two_lines(_agreement_title(report)), zeroline=True, showgrid=False)
    chart.update_yaxes(autorange="reversed")
    return chart.update_layout(height=360, margin=_MARGIN)


@agreement_distribution.file_form
def _draw_agreement_distribution(report: AttentionReport, value: float | None = None) -> Figure:
    picture = new_figure(8, 3.6)
    axis = picture.subplots()
    distribution = report.distribution(value)
    positions = list(range(len(distribution), 0, -1))
    parts: Any = axis.violinplot(
        list(distribution.values()), positions, orientation="horizontal", showmeans=True, widths=0.8
    )
    for body, role in zip(parts["bodies"], distribution, strict=True):
        body.set_facecolor(_colour(role))
        body.set_alpha(0.6)
    for name in ("cmeans", "cmins", "cmaxes", "cbars"):
        parts[name].set_color([_colour(role) for role in distribution])
    axis.set_yticks(positions, [_title(role) for role in distribution])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.set_xlabel(_agreement_title(report))
    return picture


# the claim and its controls -------------------------------------------------------------------------------------------


@Chart
def claim_and_controls(report: AttentionReport) -> go.Figure:
    """The effect for the judged value and the controls, with 95 % intervals.

    The band is +- a quarter of the effect: a control passes when its 90 % interval lies within it.
    """
    chart = go.Figure()
    bound = _bound(report)
    if bound:
        chart.add_vrect(x0=-bound, x1=bound, fillcolor=_CEILING, opacity=0.15, line_width=0, layer="below")
    for kind, name, effect in _claims(report):
        chart.add_trace(
            go.Scatter(
                x=[effect.value],
                y=[name],
                error_x=_error(effect),
                mode="markers",
                marker={"size": 11, "symbol": _SYMBOLS[kind], "color": _effect_colour(kind), "line": {"width": 2}},
                showlegend=False,
                hovertemplate=_hover(name),
                customdata=[_figures(effect)],
            )
        )
        chart.add_trace(
            go.Scatter(
                x=list(effect.by_training),
                y=[name] * effect.trainings,
                mode="markers",
                marker={"size": 5, "color": _effect_colour(kind), "opacity": 0.6},
                showlegend=False,
                hovertemplate=_("{name}, one training: {value}", name=name, value="%{customdata}") + "<extra></extra>",
                customdata=[signed(value, 3) for value in effect.by_training],
            )
        )
    chart.add_vline(x=0, line={"color": _CEILING, "width": 1, "dash": "dot"})
    chart.update_xaxes(title=_in_two_lines(_difference_title(report)), showgrid=False, zeroline=False)
    chart.update_yaxes(autorange="reversed", showgrid=False)
    return chart.update_layout(height=280, margin=_MARGIN)


@claim_and_controls.file_form
def _draw_claim_and_controls(report: AttentionReport) -> Figure:
    picture = new_figure(8, 2.8)
    axis = picture.subplots()
    rows = _claims(report)
    for row, (kind, _name, effect) in enumerate(rows):
        colour, y = _effect_colour(kind), len(rows) - row
        axis.errorbar(effect.value, y, xerr=_half_widths([effect]), fmt=_MARKERS[kind], color=colour, capsize=4)
        axis.plot(effect.by_training, [y] * effect.trainings, ".", color=colour, alpha=0.6)
    bound = _bound(report)
    if bound:
        axis.axvspan(-bound, bound, color="0.9", zorder=0)
    axis.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(rows), 0, -1), [name for _, name, _ in rows])
    axis.set_ylim(0.5, len(rows) + 0.5)
    axis.set_xlabel(_difference_title(report))
    return picture


def _bound(report: AttentionReport) -> float:
    """The bound within which controls pass; 0 without controls, or without an effect to hold them against."""
    return max((control.bound for control in report.controls if control.bound > 0), default=0.0)


def _claims(report: AttentionReport) -> list[tuple[str, str, Effect]]:
    """(kind, name, effect) of the claim and of the controls for the judged value."""
    controls = [(control.kind, _control_title(control), control.difference) for control in report.controls]
    return [("claim", _claim_title(report), report.chosen.difference), *controls]


def _control_title(control: Control) -> str:
    return _("Control: {what}", what=_(control.name))


def _claim_title(report: AttentionReport) -> str:
    value, student = report.chosen.value, role_title(Role.KD_STUDENT)
    if value is None or report.study not in STUDIES:
        return student
    return _("{student}, {value}", student=student, value=STUDIES[report.study].amount(value))


def _effect_colour(kind: str) -> str:
    return _COLOURS.get(kind, role_colour(Role.KD_STUDENT))


# against the study's value --------------------------------------------------------------------------------------------


@Chart
def effect_against_value(report: AttentionReport) -> go.Figure:
    """The effect against temperature, alpha or the teacher's epochs, with intervals, seeds, and the controls."""
    chart = go.Figure()
    for kind, name, values, effects in _lines(report):
        colour = _effect_colour(kind)
        chart.add_trace(
            go.Scatter(
                x=values,
                y=[effect.value for effect in effects],
                error_y=_error(*effects),
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2, "dash": "solid" if kind == "claim" else "dot"},
                marker={"size": 10, "symbol": _SYMBOLS[kind], "color": colour, "line": {"width": 2}},
                customdata=[_figures(effect) for effect in effects],
                hovertemplate=_hover(name),
            )
        )
    values = [value_effect.value for value_effect in report.values if value_effect.value is not None]
    title = _title_of_values(report)
    ticks: dict[str, Any] = {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}
    chart.update_xaxes(
        title=title, type="log" if _is_log(report) else "linear", showgrid=False, zeroline=False, **ticks
    )
    chart.add_hline(y=0, line={"color": _CEILING, "width": 1, "dash": "dot"})
    chart.update_yaxes(title=_difference_title(report), zeroline=False)
    return chart.update_layout(height=440, margin=_MARGIN, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


@effect_against_value.file_form
def _draw_effect_against_value(report: AttentionReport) -> Figure:
    picture = new_figure(8, 4.5)
    axis = picture.subplots()
    for kind, name, values, effects in _lines(report):
        axis.errorbar(
            values,
            [effect.value for effect in effects],
            yerr=_half_widths(effects),
            fmt=_MARKERS[kind] + ("-" if kind == "claim" else ":"),
            color=_effect_colour(kind),
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
    axis.set_ylabel(_difference_title(report))
    axis.legend(frameon=False, fontsize=9)
    return picture


def _lines(report: AttentionReport) -> list[tuple[str, str, list[float], list[Effect]]]:
    """(kind, name, values, effects) of the KD students and of each control that varies with them."""
    points = [
        ("claim", role_title(Role.KD_STUDENT), value_effect.value, value_effect.difference)
        for value_effect in report.values
    ]
    points += [
        (control.kind, _control_title(control), control.value, control.difference) for control in report.all_controls
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


# parts ----------------------------------------------------------------------------------------------------------------


def _error(*effects: Effect) -> dict[str, Any]:
    below, above = _half_widths(effects)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 2, "width": 6}


def _half_widths(effects: Sequence[Effect]) -> tuple[list[float], list[float]]:
    below = [effect.value - effect.interval.low for effect in effects]
    return below, [effect.interval.high - effect.value for effect in effects]


def _hover(name: str) -> str:
    return f"{name}: %{{customdata[0]}} (%{{customdata[1]}} to %{{customdata[2]}})<extra></extra>"


def _figures(effect: Effect) -> tuple[str, str, str]:
    """Value and interval as texts: Plotly's own format writes -0.000."""
    return signed_interval(effect.value, effect.interval.low, effect.interval.high, 3)
