"""Figures of the attention study: distributions with ceilings, the effect beside its controls, and against values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import N_, _
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


def _level(report: AttentionReport) -> str:
    return _("Agreement with the teacher's map ({measure})", measure=_measure(report))


def _change(report: AttentionReport) -> str:
    return _("KD student less student alone ({measure})", measure=_measure(report))


def _measure(report: AttentionReport) -> str:
    return _(_MEASURES.get(report.measure, report.measure))


# distribution ---------------------------------------------------------------------------------------------------------


@Chart
def agreement_distribution(report: AttentionReport, value: float | None = None) -> go.Figure:
    """How alike the maps of each student and the teacher's are, image by image, beside what equal maps would reach.

    Args:
        report: See :func:`kdviz.studies.attention.read_attention`.
        value: Of the KD students; None: the one that is judged.
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
    chart.update_xaxes(title=_level(report), zeroline=True, showgrid=False)
    chart.update_yaxes(autorange="reversed")
    return chart.update_layout(height=360, margin=_MARGIN)


@agreement_distribution.file_form
def _draw_agreement_distribution(report: AttentionReport, value: float | None = None) -> Figure:
    picture = new_figure(8, 3.6)
    axis = picture.subplots()
    found = report.distribution(value)
    places = list(range(len(found), 0, -1))
    parts: Any = axis.violinplot(list(found.values()), places, orientation="horizontal", showmeans=True, widths=0.8)
    for body, role in zip(parts["bodies"], found, strict=True):
        body.set_facecolor(_colour(role))
        body.set_alpha(0.6)
    for name in ("cmeans", "cmins", "cmaxes", "cbars"):
        parts[name].set_color([_colour(role) for role in found])
    axis.set_yticks(places, [_title(role) for role in found])
    axis.axvline(0, color="0.6", linewidth=0.8)
    axis.set_xlabel(_level(report))
    return picture


# the claim and its controls -------------------------------------------------------------------------------------------


@Chart
def claim_and_controls(report: AttentionReport) -> go.Figure:
    """The effect for the judged value beside the controls, which must lie within a quarter of it: 95 % intervals.

    The band is +- a quarter of the effect: a control passes when its 90 % interval lies in it.
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
                customdata=[[effect.interval.low, effect.interval.high]],
            )
        )
        chart.add_trace(
            go.Scatter(
                x=list(effect.by_training),
                y=[name] * effect.trainings,
                mode="markers",
                marker={"size": 5, "color": _effect_colour(kind), "opacity": 0.6},
                showlegend=False,
                hovertemplate=_("{name}, one training: {value}", name=name, value="%{x:+.3f}") + "<extra></extra>",
            )
        )
    chart.add_vline(x=0, line={"color": _CEILING, "width": 1, "dash": "dot"})
    chart.update_xaxes(title=_change(report), showgrid=False, zeroline=False)
    chart.update_yaxes(autorange="reversed", showgrid=False)
    return chart.update_layout(height=280, margin=_MARGIN)


@claim_and_controls.file_form
def _draw_claim_and_controls(report: AttentionReport) -> Figure:
    picture = new_figure(8, 2.8)
    axis = picture.subplots()
    rows = _claims(report)
    for place, (what, _name, effect) in enumerate(rows):
        colour, y = _effect_colour(what), len(rows) - place
        axis.errorbar(effect.value, y, xerr=_half_widths([effect]), fmt=_MARKERS[what], color=colour, capsize=4)
        axis.plot(effect.by_training, [y] * effect.trainings, ".", color=colour, alpha=0.6)
    bound = _bound(report)
    if bound:
        axis.axvspan(-bound, bound, color="0.9", zorder=0)
    axis.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(rows), 0, -1), [name for _, name, _ in rows])
    axis.set_ylim(0.5, len(rows) + 0.5)
    axis.set_xlabel(_change(report))
    return picture


def _bound(report: AttentionReport) -> float:
    """Within which controls pass; 0 without any, or without an effect to hold them against."""
    return max((one.bound for one in report.controls if one.bound > 0), default=0.0)


def _claims(report: AttentionReport) -> list[tuple[str, str, Effect]]:
    """(kind, name, effect) of the claim and of the controls for the judged value."""
    controls = [(one.kind, _control(one), one.difference) for one in report.controls]
    return [("claim", _claimed(report), report.chosen.difference), *controls]


def _control(control: Control) -> str:
    return _("Control: {what}", what=_(control.name))


def _claimed(report: AttentionReport) -> str:
    value, student = report.chosen.value, role_title("kd_student")
    if value is None or report.study not in STUDIES:
        return student
    return _("{student}, {value}", student=student, value=STUDIES[report.study].amount(value))


def _effect_colour(kind: str) -> str:
    return _COLOURS.get(kind, role_colour("kd_student"))


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
                y=[one.value for one in effects],
                error_y=_error(*effects),
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2, "dash": "solid" if kind == "claim" else "dot"},
                marker={"size": 10, "symbol": _SYMBOLS[kind], "color": colour, "line": {"width": 2}},
                customdata=[[one.interval.low, one.interval.high] for one in effects],
                hovertemplate=_hover(name).replace("%{x:", "%{y:"),
            )
        )
    values = [one.value for one in report.values if one.value is not None]
    title = _title_of_values(report)
    ticks: dict[str, Any] = {"tickvals": values, "ticktext": [f"{one:g}" for one in values]}
    chart.update_xaxes(
        title=title, type="log" if _is_log(report) else "linear", showgrid=False, zeroline=False, **ticks
    )
    chart.add_hline(y=0, line={"color": _CEILING, "width": 1, "dash": "dot"})
    chart.update_yaxes(title=_change(report), zeroline=False)
    return chart.update_layout(height=440, margin=_MARGIN, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"})


@effect_against_value.file_form
def _draw_effect_against_value(report: AttentionReport) -> Figure:
    picture = new_figure(8, 4.5)
    axis = picture.subplots()
    for what, name, values, effects in _lines(report):
        axis.errorbar(
            values,
            [one.value for one in effects],
            yerr=_half_widths(effects),
            fmt=_MARKERS[what] + ("-" if what == "claim" else ":"),
            color=_effect_colour(what),
            capsize=4,
            label=name,
        )
    values = [one.value for one in report.values if one.value is not None]
    if _is_log(report):
        axis.set_xscale("log")
    axis.set_xticks(values, [f"{one:g}" for one in values])
    axis.minorticks_off()
    axis.axhline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.set_xlabel(_title_of_values(report))
    axis.set_ylabel(_change(report))
    axis.legend(frameon=False, fontsize=9)
    return picture


def _lines(report: AttentionReport) -> list[tuple[str, str, list[float], list[Effect]]]:
    """(kind, name, values, effects) of the KD students and of each control that varies with them."""
    points = [("claim", role_title("kd_student"), one.value, one.difference) for one in report.values]
    points += [(one.kind, _control(one), one.value, one.difference) for one in report.all_controls]
    found = []
    for kind, name in dict.fromkeys(point[:2] for point in points):
        line = [(value, effect) for one, _, value, effect in points if one == kind and value is not None]
        if line:
            found.append((kind, name, [value for value, _ in line], [effect for _, effect in line]))
    return found


def _title_of_values(report: AttentionReport) -> str:
    return _(STUDIES[report.study].title) if report.study in STUDIES else ""


def _is_log(report: AttentionReport) -> bool:
    return report.study == "temperature"


# parts ----------------------------------------------------------------------------------------------------------------


def _error(*effects: Effect) -> dict[str, Any]:
    below, above = _half_widths(effects)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 2, "width": 6}


def _half_widths(effects: Sequence[Effect]) -> tuple[list[float], list[float]]:
    below = [one.value - one.interval.low for one in effects]
    return below, [one.interval.high - one.value for one in effects]


def _hover(name: str) -> str:
    return f"{name}: %{{x:+.3f}} (%{{customdata[0]:+.3f}} to %{{customdata[1]:+.3f}})<extra></extra>"
