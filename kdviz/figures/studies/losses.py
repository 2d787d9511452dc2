"""The figure of losses beside each other: what each adds to accuracy, and to agreement with the teacher's maps."""

from __future__ import annotations

from collections.abc import Iterator

import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.figures.attention.parts import CEILING_COLOUR, MARGIN, measure_title
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import FURTHER_COLOURS, label, role_colour, role_title
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.losses import REFERENCE, Gain, LossComparison, LossResult
from kdviz.studies.sweep.loss_values import short_loss

_SYMBOLS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "triangle-down": "v", "star": "*"}
_COLOURS = (role_colour(Role.KD_STUDENT), *FURTHER_COLOURS)
_LEGEND_ROW = 22  # pixels


def _points(comparison: LossComparison) -> Iterator[tuple[LossResult, Gain, Gain, str, str, str]]:
    """(Result, its gains, title, colour, symbol) of each point; no two have the same colour and symbol."""
    symbols = list(_SYMBOLS)
    position = 0
    for result in comparison.results:
        if result.accuracy_gain is None or result.agreement_gain is None:
            continue
        if result.loss is None:
            yield result, result.accuracy_gain, result.agreement_gain, role_title(Role.STUDENT), *_of_alone()
            continue
        colour, symbol = _COLOURS[position % len(_COLOURS)], symbols[position % len(symbols)]
        yield result, result.accuracy_gain, result.agreement_gain, short_loss(result.loss), colour, symbol
        position += 1


def _of_alone() -> tuple[str, str]:
    return role_colour(Role.STUDENT), "x"


def _axis_titles(comparison: LossComparison) -> tuple[str, str]:
    return (
        _("Accuracy less that of {loss}, in points", loss=REFERENCE),
        _("Agreement less that of {loss} ({measure})", loss=REFERENCE, measure=measure_title(comparison.attention)),
    )


def _ends(gain: Gain) -> tuple[float, float, float]:
    return gain.value, gain.low, gain.high


def _with_interval(value: str, low: str, high: str) -> str:
    return f"{value} [{low}, {high}]"


def _bars(gain: Gain, scale: float, colour: str) -> dict[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [scale * (gain.high - gain.value)],
        "arrayminus": [scale * (gain.value - gain.low)],
        "color": colour,
        "thickness": 1.5,
        "width": 4,
    }


@Chart
def accuracy_and_agreement(comparison: LossComparison) -> go.Figure:
    """Each loss at its accuracy (points) and agreement less those of the softened targets, with 95 % intervals.

    Losses that are measured by the maps that they were trained on are hollow.

    Args:
        comparison: See :func:`kdviz.studies.losses.compare_losses`.
    """
    chart = go.Figure()
    x_title, y_title = _axis_titles(comparison)
    for result, accuracy, agreement, title, colour, symbol in _points(comparison):
        chart.add_trace(
            go.Scatter(
                x=[100 * accuracy.value],
                y=[agreement.value],
                error_x=_bars(accuracy, 100, colour),
                error_y=_bars(agreement, 1, colour),
                mode="markers",
                name=label(title),
                marker={
                    "symbol": f"{symbol}-open" if result.trained_on_maps else symbol,
                    "size": 11,
                    "color": colour,
                    "line": {"width": 2, "color": colour},
                },
                hovertemplate=f"{label(title)}<br>{x_title}: {_with_interval(*points_interval(*_ends(accuracy)))}<br>"
                f"{y_title}: {_with_interval(*signed_interval(*_ends(agreement), 3))}<extra></extra>",
            )
        )
    line = {"color": CEILING_COLOUR, "width": 1, "dash": "dot"}
    chart.add_hline(y=0, line=line).add_vline(x=0, line=line)
    chart.update_xaxes(title=x_title, zeroline=False)
    chart.update_yaxes(title=y_title, zeroline=False)
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    return chart.update_layout(height=420 + _LEGEND_ROW * len(comparison.results), margin=MARGIN, legend=legend)


@accuracy_and_agreement.file_form
def _draw_accuracy_and_agreement(comparison: LossComparison) -> Figure:
    picture = new_figure(8, 5.5)
    axis = picture.subplots()
    for result, accuracy, agreement, title, colour, symbol in _points(comparison):
        axis.errorbar(
            [100 * accuracy.value],
            [agreement.value],
            xerr=[[100 * (accuracy.value - accuracy.low)], [100 * (accuracy.high - accuracy.value)]],
            yerr=[[agreement.value - agreement.low], [agreement.high - agreement.value]],
            fmt=_SYMBOLS.get(symbol, symbol),
            color=colour,
            markerfacecolor="none" if result.trained_on_maps else colour,
            capsize=3,
            label=title,
        )
    axis.axhline(0, color="0.6", linewidth=0.8, linestyle=":")
    axis.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
    x_title, y_title = _axis_titles(comparison)
    axis.set_xlabel(x_title)
    axis.set_ylabel(y_title)
    axis.legend(frameon=False, fontsize=9)
    return picture
