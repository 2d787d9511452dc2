"""The figure of a study of shifted pictures: accuracy and the teacher's answers against severity."""

from __future__ import annotations

import math
from collections.abc import Iterator

import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from kdviz.core.language import _, percent
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_dash, role_symbol, role_title
from kdviz.studies.shifts import ShiftsReport
from kdviz.studies.shifts.table import ACCURACY, ALL, MEASURES, UNSHIFTED

_MARKERS = {"square": "s", "circle": "o", "diamond": "D"}
_LINES = {"dash": "--", "solid": "-", "dot": ":", "dashdot": "-."}
_HEIGHT = 460  # pixels


def _curves(report: ShiftsReport, shift: str) -> Iterator[tuple[int, str, list[int], list[float]]]:
    """(Row, role, severities, shares) of each model; severity 0 is that of pictures without a shift."""
    for row, measure in enumerate(MEASURES):
        for role in report.roles:
            if math.isnan(report.share(measure, role)):  # the teacher's agreement with itself
                continue
            shares = [report.share(measure, role, shift, severity) for severity in report.severities]
            yield row, role, [0, *report.severities], [report.share(measure, role, UNSHIFTED), *shares]


def _axis_titles() -> tuple[str, ...]:
    return _("Accuracy"), _("Same as teacher")


def _ticks(report: ShiftsReport) -> dict[int, str]:
    return {0: _("none"), **{severity: str(severity) for severity in report.severities}}


@Chart
def shares_against_severity(report: ShiftsReport, shift: str = ALL) -> go.Figure:
    """Accuracy of each model against severity, and below it how often it answers as its teacher does.

    Args:
        report: See :func:`kdviz.studies.shifts.read_shifts_report`.
        shift: Name of a shift; ``ALL``: the mean over all.
    """
    chart = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07)
    for row, role, severities, shares in _curves(report, shift):
        colour, name = role_colour(role), label(role_title(role))
        trace = go.Scatter(
            x=severities,
            y=shares,
            mode="lines+markers",
            name=name,
            legendgroup=name,
            showlegend=row == MEASURES.index(ACCURACY),
            text=[percent(share) for share in shares],
            line={"color": colour, "dash": role_dash(role), "width": 2},
            marker={"color": colour, "symbol": role_symbol(role), "size": 8},
            hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
        )
        chart.add_trace(trace, row + 1, 1)
    ticks = _ticks(report)
    chart.update_xaxes(tickvals=list(ticks), ticktext=list(ticks.values()), showgrid=False, zeroline=False)
    chart.update_xaxes(title=_("Severity"), row=2, col=1)
    for row, title in enumerate(_axis_titles(), 1):
        chart.update_yaxes(title=title, tickformat=".0%", zeroline=False, row=row, col=1)
    return chart.update_layout(
        height=_HEIGHT,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


@shares_against_severity.file_form
def _draw_shares_against_severity(report: ShiftsReport, shift: str = ALL) -> Figure:
    picture = new_figure(7, 5.4)
    axes = picture.subplots(2, 1, sharex=True)
    for row, role, severities, shares in _curves(report, shift):
        axes[row].plot(
            severities,
            shares,
            color=role_colour(role),
            linestyle=_LINES[role_dash(role)],
            marker=_MARKERS[role_symbol(role)],
            label=role_title(role),
        )
    ticks = _ticks(report)
    for axis, title in zip(axes, _axis_titles(), strict=True):
        axis.set_ylabel(title)
        axis.yaxis.set_major_formatter(lambda share, _position: percent(share, 0))
    axes[-1].set(xlabel=_("Severity"))
    axes[-1].set_xticks(list(ticks), list(ticks.values()))
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return picture
