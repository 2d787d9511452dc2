"""Saliency maps side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from plotly.subplots import make_subplots

from kdviz.core.language import _, percent
from kdviz.core.vocabulary import Role
from kdviz.figures.chart import Chart
from kdviz.figures.files import new_figure
from kdviz.figures.roles import label, role_title
from kdviz.saliency import SaliencyMap, difference

_LINE = 36  # characters in a line of a panel's title
POSITIVE, NEGATIVE = "#F08A00", "#2F8FFF"
_STOPS = [(0.0, NEGATIVE), (0.5, "#7f7f7f"), (1.0, POSITIVE)]


def colour_centre(saliency_map: SaliencyMap) -> float:
    """The value in the middle of a map's colour scale.

    It is zero, the value of a pixel that does not matter. The published estimator adds a constant to all pixels,
    another one for each model, so that its maps are shown about their own mean.
    """
    return float(saliency_map.values.mean()) if saliency_map.settings.get("estimator") == "rise" else 0.0


def colour_limit(maps: Mapping[str, SaliencyMap], role: str | None = None) -> float:
    """Half the width of the colour scale about :func:`colour_centre`, for one map or for all."""
    in_scale = [maps[role]] if role else list(maps.values())
    return (
        max(float(np.abs(saliency_map.values - colour_centre(saliency_map)).max()) for saliency_map in in_scale) or 1.0
    )


@Chart
def comparison(maps: Mapping[str, SaliencyMap], *, shared_scale: bool = True, opacity: float = 0.75) -> go.Figure:
    """The picture, each model's map over it, and below each student its difference from the teacher.

    Zoom is linked between all panels; a map's hover gives its value and standard error.

    Args:
        maps: Role -> map, as :func:`kdviz.explain` gives them.
        shared_scale: Whether all maps share one colour scale.
        opacity: Opacity of the maps over the picture in the interactive form, 0 to 1.
    """
    roles = list(maps)
    students = [role for role in roles if role != Role.TEACHER and Role.TEACHER in maps]
    titles = [_("Picture"), *(_panel_title(maps[role]) for role in roles)]
    titles += ["", *(label(_less_teacher(role)) if role in students else "" for role in roles)] if students else []
    rows = 2 if students else 1
    figure = make_subplots(
        rows,
        len(roles) + 1,
        subplot_titles=titles,
        horizontal_spacing=min(0.03, 0.5 / (len(roles) + 1)),
        vertical_spacing=0.14,
    )
    picture = maps[roles[0]].picture
    figure.add_trace(_picture(picture), 1, 1)
    for column, role in enumerate(roles, 2):
        saliency_map = maps[role]
        scale = colour_centre(saliency_map), colour_limit(maps, None if shared_scale else role)
        figure.add_trace(_picture(picture), 1, column)
        figure.add_trace(
            _heatmap(saliency_map.values, saliency_map.standard_error, scale, opacity, column == len(roles) + 1),
            1,
            column,
        )
        if role in students:
            difference, error = difference_to_teacher(maps, role)
            figure.add_trace(
                _heatmap(difference, error, (_mean_gap(maps, role), colour_limit(maps)), 1.0, False), 2, column
            )
    height, width = picture.shape[:2]
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": "", "matches": "x"}
    figure.update_xaxes(**axis, range=[-0.5, width - 0.5], constrain="domain")
    figure.update_yaxes(**{**axis, "matches": "y"}, range=[height - 0.5, -0.5], constrain="domain", scaleanchor="x")
    top = 20 + 16 * max(len(_panel_lines(saliency_map)) for saliency_map in maps.values())
    figure.update_layout(height=330 * rows, margin={"l": 10, "r": 10, "t": top, "b": 10}, plot_bgcolor="rgba(0,0,0,0)")
    return figure


def difference_to_teacher(maps: Mapping[str, SaliencyMap], role: str) -> tuple[np.ndarray, np.ndarray]:
    """A model's map less the teacher's, and its standard error, float32 (H, W) each."""
    gap = difference(maps[role], maps[Role.TEACHER])
    return gap.values, gap.standard_error


def _mean_gap(maps: Mapping[str, SaliencyMap], role: str) -> float:
    return colour_centre(maps[role]) - colour_centre(maps[Role.TEACHER])


def _panel_lines(saliency_map: SaliencyMap) -> list[str]:
    """The title of a map: the model, its prediction and the explained class, the last two on one line if short."""
    predicted, target = saliency_map.classes[saliency_map.predicted], saliency_map.classes[saliency_map.target]
    share = percent(float(saliency_map.probabilities[saliency_map.predicted]))
    details = [_("predicts {name} ({share})", name=predicted, share=share), _("map of {name}", name=target)]
    fits = sum(map(len, details)) <= _LINE
    return [
        role_title(saliency_map.role),
        *([_("{first}; {second}", first=details[0], second=details[1])] if fits else details),
    ]


def _less_teacher(role: str) -> str:
    return _("{model} − teacher", model=role_title(role))


def _panel_title(saliency_map: SaliencyMap) -> str:
    first, *details = map(label, _panel_lines(saliency_map))
    return "<br>".join([first, *(f"<sup>{line}</sup>" for line in details)])


def _picture(picture: np.ndarray) -> go.Image | go.Heatmap:
    if picture.ndim == 3:
        return go.Image(z=picture, hoverinfo="skip")
    return go.Heatmap(z=picture, colorscale="Greys_r", zmin=0, zmax=255, showscale=False, hoverinfo="skip")


def _heatmap(
    values: np.ndarray, error: np.ndarray, scale: tuple[float, float], opacity: float, bar: bool
) -> go.Heatmap:
    centre, limit = scale
    return go.Heatmap(
        z=values,
        customdata=error,
        zmin=centre - limit,
        zmax=centre + limit,
        colorscale=[list(stop) for stop in _STOPS],
        opacity=opacity,
        showscale=bar,
        colorbar={"title": {"text": _("change of<br>probability")}, "len": 0.9},
        hovertemplate=_("row %{y}, column %{x}") + "<br>%{z:.4f} ± %{customdata:.4f}<extra></extra>",
    )


@comparison.file_form
def _draw_comparison(maps: Mapping[str, SaliencyMap], *, shared_scale: bool = True, **_interactive: Any) -> Figure:
    roles = list(maps)
    students = [role for role in roles if role != Role.TEACHER and Role.TEACHER in maps]
    rows = 2 if students else 1
    figure = new_figure(2.9 * (len(roles) + 1), 3.1 * rows)
    axes = figure.subplots(rows, len(roles) + 1, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    picture = maps[roles[0]].picture
    axes[0, 0].imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes[0, 0].set_title(_("Picture"), fontsize=10)
    images: list[Any] = []
    for column, role in enumerate(roles, 1):
        scale = colour_centre(maps[role]), colour_limit(maps, None if shared_scale else role)
        images.append(_draw(axes[0, column], maps[role].values, scale, picture))
        axes[0, column].set_title("\n".join(_panel_lines(maps[role])), fontsize=9, parse_math=False)
        if role in students:
            _draw(
                axes[1, column],
                difference_to_teacher(maps, role)[0],
                (_mean_gap(maps, role), colour_limit(maps)),
                picture,
            )
            axes[1, column].set_title(_less_teacher(role), fontsize=9, parse_math=False)
    figure.colorbar(images[0], ax=axes[0, -1], label=_("change of probability"), shrink=0.8)
    return figure


def _draw(axis: Any, values: np.ndarray, scale: tuple[float, float], picture: np.ndarray) -> Any:
    centre, limit = scale
    colours = LinearSegmentedColormap.from_list("kdviz", _STOPS)
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    # Zero is transparent, so that the picture shows through.
    strength = np.clip(np.abs(values - centre) / limit, 0, 1) ** 0.7
    return axis.imshow(values, cmap=colours, vmin=centre - limit, vmax=centre + limit, alpha=0.15 + 0.8 * strength)
