"""How alike the maps of each student and of the teacher are, over the images of a study, and the noise ceiling."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import N_, _
from kdviz.figures.attention.parts import CEILING_COLOUR, COLOURS, MARGIN, in_two_lines, measure_title
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import role_colour, role_title
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.agreements import Value

_TITLES = {"second": N_("Second student alone"), "ceiling": N_("Noise ceiling")}


@Chart
def agreement_distribution(report: AttentionReport, value: Value | None = None) -> go.Figure:
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
    chart.update_xaxes(title=in_two_lines(_agreement_title(report)), zeroline=True, showgrid=False)
    chart.update_yaxes(autorange="reversed")
    return chart.update_layout(height=360, margin=MARGIN)


@agreement_distribution.file_form
def _draw_agreement_distribution(report: AttentionReport, value: Value | None = None) -> Figure:
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


def _title(role: str) -> str:
    return _(_TITLES[role]) if role in _TITLES else role_title(role)


def _colour(role: str) -> str:
    return {"second": COLOURS["second"], "ceiling": CEILING_COLOUR}.get(role, role_colour(role))


def _agreement_title(report: AttentionReport) -> str:
    return _("Agreement with the teacher's map ({measure})", measure=measure_title(report))
