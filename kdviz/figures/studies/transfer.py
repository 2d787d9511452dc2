"""The figure of what distillation transferred: how alike each layer of every model and the teacher's are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _, number
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_colour, role_symbol, role_title
from kdviz.studies.transfer import TransferReport
from kdviz.studies.transfer.report import LayerLikeness
from kdviz.studies.transfer.table import UNTRAINED

_NEUTRAL = "#767676"
_MARKERS = {"square": "s", "circle": "o", "diamond": "D", "x": "x"}
_STEP = 0.16  # of a layer, between the rows of its models
_ROW = 62  # pixels of a layer


def model_title(role: str) -> str:
    """The title of a model of the study."""
    return _("Random weights") if role == UNTRAINED else role_title(role)


def _style(role: str) -> tuple[str, str]:
    """Colour and symbol."""
    return (_NEUTRAL, "x") if role == UNTRAINED else (role_colour(role), role_symbol(role))


def _models(report: TransferReport) -> Iterator[tuple[str, list[LayerLikeness], np.ndarray]]:
    """(Role, its layers, their heights) of each model: a layer is 1 high, its models side by side in it."""
    roles = report.roles
    for index, role in enumerate(roles):
        layers = report.counterparts(role)
        heights = np.array([entry.depth for entry in layers]) + _STEP * (index - (len(roles) - 1) / 2)
        yield role, layers, heights


def _ticks(report: TransferReport) -> dict[int, str]:
    """Height -> name of a layer and its counterpart, of the model with the most layers."""
    role = max(report.roles, key=report.depths)
    return {entry.depth: tick_of(report, entry) for entry in report.counterparts(role)}


def tick_of(report: TransferReport, entry: LayerLikeness) -> str:
    """``2 · 3`` for the second layer, which is compared with the teacher's third."""
    if entry.depth == report.depths(entry.role):
        return _("logits")
    return f"{number(entry.depth)} · {number(entry.teacher_depth)}"


def _axis_titles() -> tuple[str, str]:
    return _("CKA with the teacher's layer"), _("layer · teacher's")


@Chart
def layer_likeness(report: TransferReport) -> go.Figure:
    """CKA of each layer of every model with its counterpart in the teacher, with 95 % intervals over pictures.

    A tick marks what the classes alone would give: each picture paired with a random one of its class.

    Args:
        report: See :func:`kdviz.studies.transfer.read_transfer_report`.
    """
    chart = go.Figure()
    for role, layers, heights in _models(report):
        colour, symbol = _style(role)
        name = label(model_title(role))
        values = np.array([entry.cka.value for entry in layers])
        texts = [
            f"{label(entry.layer)} · {label(entry.teacher_layer)}<br>{number(entry.cka.value, 3)} "
            f"[{number(entry.cka.low, 3)}, {number(entry.cka.high, 3)}]"
            for entry in layers
        ]
        chart.add_trace(
            go.Scatter(
                x=values,
                y=heights,
                mode="markers",
                name=name,
                text=texts,
                marker={"color": colour, "symbol": symbol, "size": 9},
                error_x={
                    "array": [entry.cka.high - entry.cka.value for entry in layers],
                    "arrayminus": [entry.cka.value - entry.cka.low for entry in layers],
                    "color": colour,
                    "thickness": 1.5,
                    "width": 3,
                },
                hovertemplate=f"{name}<br>%{{text}}<extra></extra>",
            )
        )
        chart.add_trace(
            go.Scatter(
                x=[entry.within for entry in layers],
                y=heights,
                mode="markers",
                showlegend=False,
                marker={"symbol": "line-ns-open", "size": 9, "color": colour, "line": {"width": 2, "color": colour}},
                hovertemplate=f"{name}<br>{_('classes alone')}: %{{x:.3f}}<extra></extra>",
            )
        )
    neutral = {"symbol": "line-ns-open", "size": 9, "color": _NEUTRAL, "line": {"width": 2, "color": _NEUTRAL}}
    chart.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=_("classes alone"), marker=neutral))
    x_title, y_title = _axis_titles()
    ticks = _ticks(report)
    chart.update_xaxes(title=x_title, range=[-0.04, 1.04], zeroline=False)
    chart.update_yaxes(
        title=y_title,
        tickvals=list(ticks),
        ticktext=list(ticks.values()),
        range=[max(ticks) + 0.5, min(ticks) - 0.5],
        zeroline=False,
    )
    return chart.update_layout(
        height=130 + _ROW * len(ticks),
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )


@layer_likeness.file_form
def _draw_layer_likeness(report: TransferReport) -> Figure:
    ticks = _ticks(report)
    picture = new_figure(7, 1.6 + 0.6 * len(ticks))
    axis = picture.subplots()
    for role, layers, heights in _models(report):
        colour, symbol = _style(role)
        values = np.array([entry.cka.value for entry in layers])
        errors = np.array([[entry.cka.value - entry.cka.low, entry.cka.high - entry.cka.value] for entry in layers]).T
        axis.errorbar(
            values,
            heights,
            xerr=errors,
            fmt=_MARKERS.get(symbol, "s"),
            color=colour,
            capsize=2,
            label=model_title(role),
        )
        axis.scatter([entry.within for entry in layers], heights, marker="|", s=60, color=colour)
    axis.scatter([], [], marker="|", s=60, color=_NEUTRAL, label=_("classes alone"))
    x_title, y_title = _axis_titles()
    axis.set_xlabel(x_title)
    axis.set_ylabel(y_title)
    axis.set_xlim(-0.04, 1.04)
    axis.set_ylim(max(ticks) + 0.5, min(ticks) - 0.5)
    axis.set_yticks(list(ticks), list(ticks.values()))
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    return picture
