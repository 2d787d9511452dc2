"""Deletion and insertion curves."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from kdviz.core.language import _
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_dash, role_title
from kdviz.metrics import Curve, Faithfulness

_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}
_FAINT = 0.35
Curves = Mapping[str, Mapping[str, Faithfulness]]
"""Role -> name of a map (``map``, ``trivial``) -> its curves."""


def _curve_kinds() -> list[tuple[str, str, str]]:
    return [
        ("deletion", _("Deletion: lower is better"), _("Share of the pixels removed")),
        ("insertion", _("Insertion: higher is better"), _("Share of the pixels put back")),
    ]


def _map_names() -> dict[str, str]:
    return {"map": _("its map"), "trivial": _("blurred picture")}


@Chart
def faithfulness_curves(curves: Curves) -> go.Figure:
    """Deletion and insertion side by side: a model's map as a full line, the blurred picture as a faint one.

    Args:
        curves: Role -> name of a map -> its curves.
    """
    kinds, names = _curve_kinds(), _map_names()
    chart = make_subplots(1, 2, subplot_titles=[title for _name, title, _x in kinds], horizontal_spacing=0.08)
    for column, (kind, _title, x_title) in enumerate(kinds, 1):
        for role, maps in curves.items():
            for name, pair in maps.items():
                curve: Curve = getattr(pair, kind)
                text = f"{label(role_title(role))}, {names[name]}"
                chart.add_trace(
                    go.Scatter(
                        x=curve.fraction,
                        y=curve.probability,
                        name=text,
                        legendgroup=text,
                        showlegend=column == 1,
                        mode="lines",
                        opacity=1 if name == "map" else _FAINT,
                        line={"color": role_colour(role), "dash": role_dash(role), "width": 2.5},
                        hovertemplate=f"{text}<br>%{{x:.1%}}: %{{y:.3f}} (AUC {curve.auc:.3f})<extra></extra>",
                    ),
                    1,
                    column,
                )
        chart.update_xaxes(title=x_title, tickformat=".0%", showgrid=False, zeroline=False, row=1, col=column)
    chart.update_yaxes(title=_("Probability of the class"), range=[-0.02, 1.02], row=1, col=1)
    chart.update_yaxes(range=[-0.02, 1.02], row=1, col=2)
    return chart.update_layout(
        height=380,
        margin={"l": 10, "r": 10, "t": 40, "b": 10},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
    )


@faithfulness_curves.file_form
def _draw_faithfulness_curves(curves: Curves) -> Figure:
    figure = new_figure(9, 3.8)
    names = _map_names()
    for axis, (kind, title, x_title) in zip(figure.subplots(1, 2), _curve_kinds(), strict=True):
        for role, maps in curves.items():
            for name, pair in maps.items():
                curve: Curve = getattr(pair, kind)
                axis.plot(
                    curve.fraction,
                    curve.probability,
                    color=role_colour(role),
                    linestyle=_DASHES[role_dash(role)],
                    alpha=1 if name == "map" else _FAINT,
                    label=f"{role_title(role)}, {names[name]}: {curve.auc:.3f}",
                )
        axis.set(title=title, xlabel=x_title, ylim=(-0.02, 1.02))
        axis.legend(fontsize=7)
    return figure


def faithfulness_points(curves: Curves) -> pd.DataFrame:
    """Every point of the curves as a table with the columns model, map, curve, fraction and probability."""
    tables = [
        pd.DataFrame(
            {
                "model": role,
                "map": name,
                "curve": kind,
                "fraction": getattr(pair, kind).fraction,
                "probability": getattr(pair, kind).probability,
            }
        )
        for role, maps in curves.items()
        for name, pair in maps.items()
        for kind in ("deletion", "insertion")
    ]
    return pd.concat(tables, ignore_index=True)
