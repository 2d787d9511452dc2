"""The figure of a study of shortcuts: each picture by how much the mark is used, and how much of the map lies in it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_symbol, role_title
from kdviz.studies.shortcuts import ShortcutsReport

_AREA = "#767676"
_MARKERS = {"square": "s", "circle": "o", "diamond": "D"}


def _titles() -> tuple[str, str]:
    return _("Change of the class's probability by its mark"), _("Share of the map inside the mark")


def _points(report: ShortcutsReport, method: str) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(Role, use, share inside) of each model; a map without any positive value has nothing inside."""
    for (name, role), (use, inside) in report.points.items():
        if name == method:
            yield role, use, np.nan_to_num(inside)


def _area(report: ShortcutsReport, method: str) -> float:
    return next(role_maps.area for role_maps in report.maps if role_maps.method == method)


@Chart
def shortcut_use(report: ShortcutsReport, method: str) -> go.Figure:
    """Every picture with the mark of another class: how much it is used, and how much of the map lies inside it.

    Args:
        report: One condition of a study; see :func:`kdviz.studies.shortcuts.read_shortcut_reports`.
        method: Of the maps.
    """
    x_title, y_title = _titles()
    chart = go.Figure()
    area = _area(report, method)
    chart.add_hline(y=area, line={"dash": "dot", "color": _AREA}, annotation_text=_("share of the area"))
    for role, use, inside in _points(report, method):
        chart.add_trace(
            go.Scatter(
                x=use,
                y=inside,
                mode="markers",
                name=label(role_title(role)),
                marker={"color": role_colour(role), "symbol": role_symbol(role), "size": 7, "opacity": 0.6},
                hovertemplate=f"{label(role_title(role))}<br>%{{x:+.1%}}, %{{y:.1%}}<extra></extra>",
            )
        )
    chart.update_xaxes(title=x_title, tickformat=".0%", showgrid=False)
    chart.update_yaxes(title=y_title, tickformat=".0%", range=[-0.02, 1.02])
    return chart.update_layout(
        height=400,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
    )


@shortcut_use.file_form
def _draw_shortcut_use(report: ShortcutsReport, method: str) -> Figure:
    x_title, y_title = _titles()
    picture = new_figure(7, 4)
    axis = picture.subplots()
    axis.axhline(_area(report, method), color=_AREA, linestyle=":", label=_("share of the area"))
    for role, use, inside in _points(report, method):
        marker = _MARKERS.get(role_symbol(role), "s")
        axis.scatter(use, inside, s=18, alpha=0.6, color=role_colour(role), marker=marker, label=role_title(role))
    axis.set_xlabel(x_title)
    axis.set_ylabel(y_title)
    axis.set_ylim(-0.02, 1.02)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, frameon=False)
    return picture
