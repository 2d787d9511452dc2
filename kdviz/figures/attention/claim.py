"""The effect that a study judges, beside its controls."""

from __future__ import annotations

import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _, signed
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
from kdviz.studies.attention.statistics.uncertainty import Effect
from kdviz.studies.sweep.kinds import STUDIES


@Chart
def claim_and_controls(report: AttentionReport) -> go.Figure:
    """The effect for the judged value and the controls, with 95 % intervals.

    The band is +- a quarter of the effect: a control passes when its 90 % interval lies within it.
    """
    chart = go.Figure()
    bound = _bound(report)
    if bound:
        chart.add_vrect(x0=-bound, x1=bound, fillcolor=CEILING_COLOUR, opacity=0.15, line_width=0, layer="below")
    for kind, name, effect in _claims(report):
        chart.add_trace(
            go.Scatter(
                x=[effect.value],
                y=[name],
                error_x=error_bars(effect),
                mode="markers",
                marker={"size": 11, "symbol": SYMBOLS[kind], "color": effect_colour(kind), "line": {"width": 2}},
                showlegend=False,
                hovertemplate=hover_text(name),
                customdata=[value_and_interval(effect)],
            )
        )
        chart.add_trace(
            go.Scatter(
                x=list(effect.by_training),
                y=[name] * effect.trainings,
                mode="markers",
                marker={"size": 5, "color": effect_colour(kind), "opacity": 0.6},
                showlegend=False,
                hovertemplate=_("{name}, one training: {value}", name=name, value="%{customdata}") + "<extra></extra>",
                customdata=[signed(value, 3) for value in effect.by_training],
            )
        )
    chart.add_vline(x=0, line={"color": CEILING_COLOUR, "width": 1, "dash": "dot"})
    chart.update_xaxes(title=in_two_lines(difference_title(report)), showgrid=False, zeroline=False)
    chart.update_yaxes(autorange="reversed", showgrid=False)
    return chart.update_layout(height=280, margin=MARGIN)


@claim_and_controls.file_form
def _draw_claim_and_controls(report: AttentionReport) -> Figure:
    picture = new_figure(8, 2.8)
    axis = picture.subplots()
    rows = _claims(report)
    for row, (kind, _name, effect) in enumerate(rows):
        colour, y = effect_colour(kind), len(rows) - row
        axis.errorbar(effect.value, y, xerr=half_widths([effect]), fmt=MARKERS[kind], color=colour, capsize=4)
        axis.plot(effect.by_training, [y] * effect.trainings, ".", color=colour, alpha=0.6)
    bound = _bound(report)
    if bound:
        axis.axvspan(-bound, bound, color="0.9", zorder=0)
    axis.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(rows), 0, -1), [name for _, name, _ in rows])
    axis.set_ylim(0.5, len(rows) + 0.5)
    axis.set_xlabel(difference_title(report))
    return picture


def _bound(report: AttentionReport) -> float:
    """The bound within which controls pass; 0 without controls, or without an effect to hold them against."""
    return max((control.bound for control in report.controls if control.bound > 0), default=0.0)


def _claims(report: AttentionReport) -> list[tuple[str, str, Effect]]:
    """(kind, name, effect) of the claim and of the controls for the judged value."""
    controls = [(control.kind, control_title(control), control.difference) for control in report.controls]
    return [("claim", _claim_title(report), report.chosen.difference), *controls]


def _claim_title(report: AttentionReport) -> str:
    value, student = report.chosen.value, role_title(Role.KD_STUDENT)
    if value is None or report.study not in STUDIES:
        return student
    return _("{student}, {value}", student=student, value=STUDIES[report.study].amount(value))
