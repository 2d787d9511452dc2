"""Figures of softened targets: bars at one temperature, and entropy against temperature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.figure import Figure

from kdviz.core.language import _, number
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import ROLE_PATTERNS, label, role_colour, role_dash, role_symbol, role_title
from kdviz.studies.predictions.soft_targets import TEMPERATURES, entropy_bits, entropy_curve, soft_targets

MOST_CLASSES = 16
_FLOOR = 1e-6  # lower end of a logarithmic axis
_TICKS = (0.5, 1, 2, 4, 8, 16, 32, 64)


@Chart
def soft_target_bars(
    logits: Mapping[str, np.ndarray],
    classes: Sequence[str],
    temperature: float,
    true_class: int | None = None,
    log: bool = False,
) -> go.Figure:
    """Each model's softened targets of one sample, a bar for each class or for those with the largest logits.

    The file form has the entropy against temperature beside the bars.

    Args:
        logits: Role -> (classes,).
        classes: Names of the classes.
        temperature: T.
        true_class: Index of the true class, which the axis marks; None: not known.
        log: Whether the axis is logarithmic, so that small probabilities are visible.
    """
    indices = _largest(next(iter(logits.values())))
    names = [_class_name(classes, index, true_class) for index in indices]
    figure = go.Figure()
    for role, values in logits.items():
        target = soft_targets(values, temperature)
        figure.add_trace(
            go.Bar(
                x=names,
                y=target[indices],
                name=_with_bits(role, target),
                marker={
                    "color": role_colour(role),
                    "pattern": {
                        "shape": ROLE_PATTERNS.get(role, "x"),
                        "fillmode": "overlay",
                        "fgcolor": "#fff",
                        "fgopacity": 0.6,
                        "size": 7,
                    },
                },
                hovertemplate=_(
                    "{model}: {share} for {name}", model=label(role_title(role)), share="%{y:.3%}", name="%{x}"
                )
                + "<extra></extra>",
            )
        )
    figure.update_xaxes(type="category", title=_("Class"), showgrid=False)
    scale: dict[str, Any] = (
        {"type": "log", "range": [float(np.log10(_FLOOR)), 0.05]} if log else {"range": [0, _axis_end(logits)]}
    )
    figure.update_yaxes(title=_probability(temperature), tickformat="~%" if log else ".0%", **scale)
    return _with_layout(figure, 380).update_layout(barmode="group", bargap=0.25, showlegend=True)


def entropy_against_temperature(
    logits: Mapping[str, np.ndarray], temperature: float, temperatures: Sequence[float] = TEMPERATURES
) -> go.Figure:
    """Entropy in bits of each model's softened targets of one sample, with ``temperature`` marked."""
    figure = go.Figure()
    for role, values in logits.items():
        figure.add_trace(
            go.Scatter(
                x=list(temperatures),
                y=entropy_curve(values, temperatures),
                mode="lines",
                name=role_title(role),
                line={"color": role_colour(role), "width": 2, "dash": role_dash(role)},
                hovertemplate=_("T = {value}: {bits} bits", value="%{x:.3~g}", bits="%{y:.2f}") + "<extra></extra>",
            )
        )
        figure.add_trace(
            go.Scatter(
                x=[temperature],
                y=[float(entropy_bits(soft_targets(values, temperature)))],
                mode="markers",
                showlegend=False,
                marker={"color": role_colour(role), "size": 11, "symbol": role_symbol(role)},
                hovertemplate=_("T = {value}: {bits} bits", value="%{x:.3~g}", bits="%{y:.2f}") + "<extra></extra>",
            )
        )
    most = float(np.log2(len(next(iter(logits.values())))))
    figure.add_hline(y=most, line={"color": "#888", "width": 1, "dash": "dot"})
    text = _("most: {bits} bits", bits=number(most, 2))
    figure.add_annotation(x=1, xref="paper", xanchor="right", y=most, yanchor="bottom", showarrow=False, text=text)
    figure.add_vline(x=temperature, line={"color": "#888", "width": 1})
    figure.update_xaxes(
        type="log", title=_("Temperature T"), tickvals=_TICKS, ticktext=[f"{tick:g}" for tick in _TICKS]
    )
    figure.update_yaxes(title=_("Entropy, bits"), range=[0, 1.15 * most])
    return _with_layout(figure, 300)


@soft_target_bars.file_form
def _draw_soft_target_bars(
    logits: Mapping[str, np.ndarray],
    classes: Sequence[str],
    temperature: float,
    true_class: int | None = None,
    log: bool = False,
) -> Figure:
    picture = new_figure(11, 4)
    bars, curve = picture.subplots(1, 2, width_ratios=[3, 2])
    indices = _largest(next(iter(logits.values())))
    width = 0.8 / len(logits)
    for position, (role, values) in enumerate(logits.items()):
        target = soft_targets(values, temperature)
        colour, name = role_colour(role), _with_bits(role, target)
        xs = np.arange(len(indices)) + (position - (len(logits) - 1) / 2) * width
        bars.bar(xs, target[indices], width, color=colour, hatch=_hatch(role), edgecolor="white", label=name)
        dash = {"dash": "--", "dot": ":", "dashdot": "-."}.get(role_dash(role), "-")
        curve.plot(TEMPERATURES, entropy_curve(values), color=colour, linestyle=dash, label=role_title(role))
        curve.plot([temperature], [float(entropy_bits(target))], "o", color=colour)
    names = [_class_name(classes, index, true_class, escaped=False) for index in indices]
    bars.set_xticks(np.arange(len(indices)), names, rotation=0 if max(map(len, names)) < 9 else 30, parse_math=False)
    bars.set_ylim(*((_FLOOR, 1.2) if log else (0, _axis_end(logits))))
    bars.set_yscale("log" if log else "linear")
    bars.set(ylabel=_probability(temperature))
    bars.legend()
    curve.set(xscale="log", xlabel=_("Temperature T"), ylabel=_("Entropy, bits"), ylim=(0, None))
    curve.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
    curve.minorticks_off()
    return picture


def _axis_end(logits: Mapping[str, np.ndarray]) -> float:
    """Upper end of the linear axis, the same at every temperature, so that bars stay comparable as it changes."""
    return min(1.02, 1.05 * max(float(soft_targets(values, TEMPERATURES[0]).max()) for values in logits.values()))


def _largest(logits: np.ndarray) -> np.ndarray:
    """Indices of the classes to show, ascending: all, or those with the largest logits."""
    return np.sort(np.argsort(-np.asarray(logits), kind="stable")[:MOST_CLASSES])


def _class_name(classes: Sequence[str], index: int, true_class: int | None, escaped: bool = True) -> str:
    name = label(classes[index]) if escaped else classes[index]
    return _("{name} (true)", name=name) if index == true_class else name


def _with_bits(role: str, target: np.ndarray) -> str:
    return _("{model}, {bits} bits", model=role_title(role), bits=number(float(entropy_bits(target)), 2))


def _probability(temperature: float) -> str:
    return _("Probability at T = {value}", value=f"{temperature:g}")


def _hatch(role: str) -> str:
    return {"/": "//", ".": "..", "": ""}.get(ROLE_PATTERNS.get(role, "x"), "xx")


def _with_layout(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        height=height,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
