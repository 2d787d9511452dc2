"""Data in, figure out: Plotly for pages and HTML files, Matplotlib for PNG and SVG files (no browser needed)."""

from __future__ import annotations

import io
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from matplotlib.colors import LinearSegmentedColormap
from plotly.subplots import make_subplots

from kdviz.errors import UnknownNameError
from kdviz.saliency import SaliencyMap, difference

ROLE_COLOURS = {"teacher": "#0072B2", "kd_student": "#009E73", "student": "#D55E00"}
"""Of the Okabe-Ito palette, which people with any colour vision can tell apart."""

_FURTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#8C6BB1")
ROLE_TITLES = {"teacher": "Teacher", "kd_student": "KD student", "student": "Student alone"}
ROLE_SYMBOLS = {"teacher": "square", "kd_student": "circle", "student": "diamond"}

POSITIVE, NEGATIVE = "#F08A00", "#2F8FFF"
_STOPS = [(0.0, NEGATIVE), (0.5, "#7f7f7f"), (1.0, POSITIVE)]


def role_colour(role: str) -> str:
    """The colour of a role; a further role always gets the same of a few, by its name."""
    return ROLE_COLOURS.get(role) or _FURTHER_COLOURS[zlib.crc32(role.encode()) % len(_FURTHER_COLOURS)]


def role_title(role: str) -> str:
    return ROLE_TITLES.get(role, role.replace("_", " "))


def colour_centre(one: SaliencyMap) -> float:
    """The value in the middle of a map's colour scale.

    Zero, where a pixel does not matter. The published estimator adds a constant to all pixels, another one for each
    model, so its maps are shown about their own mean.
    """
    return float(one.values.mean()) if one.settings.get("estimator") == "rise" else 0.0


def colour_limit(maps: Mapping[str, SaliencyMap], role: str | None = None) -> float:
    """Half the width of the colour scale about :func:`colour_centre`, of one map or of all."""
    chosen = [maps[role]] if role else list(maps.values())
    return max(float(np.abs(one.values - colour_centre(one)).max()) for one in chosen) or 1.0


def comparison(maps: Mapping[str, SaliencyMap], *, shared_scale: bool = True, opacity: float = 0.75) -> go.Figure:
    """The picture, a map a model over it, and below each student its difference to the teacher.

    Zoom is linked between all panels; a map's hover gives its value and standard error.

    Args:
        maps: Role -> map, as :func:`kdviz.explain` gives them.
        shared_scale: One colour scale for all maps, or each its own.
        opacity: Of the maps over the picture, 0 to 1.
    """
    roles = list(maps)
    others = [role for role in roles if role != "teacher" and "teacher" in maps]
    titles = ["Picture", *(_panel_title(maps[role]) for role in roles)]
    titles += ["", *(f"{role_title(role)} − teacher" if role in others else "" for role in roles)] if others else []
    rows = 2 if others else 1
    figure = make_subplots(rows, len(roles) + 1, subplot_titles=titles, horizontal_spacing=0.03, vertical_spacing=0.14)
    picture = maps[roles[0]].picture
    figure.add_trace(_picture(picture), 1, 1)
    for column, role in enumerate(roles, 2):
        one = maps[role]
        scale = colour_centre(one), colour_limit(maps, None if shared_scale else role)
        figure.add_trace(_picture(picture), 1, column)
        figure.add_trace(_heatmap(one.values, one.standard_error, scale, opacity, column == len(roles) + 1), 1, column)
        if role in others:
            difference, error = difference_to_teacher(maps, role)
            figure.add_trace(
                _heatmap(difference, error, (_mean_gap(maps, role), colour_limit(maps)), 1.0, False), 2, column
            )
    height, width = picture.shape[:2]
    axis = {"showticklabels": False, "showgrid": False, "zeroline": False, "ticks": "", "matches": "x"}
    figure.update_xaxes(**axis, range=[-0.5, width - 0.5], constrain="domain")
    figure.update_yaxes(**{**axis, "matches": "y"}, range=[height - 0.5, -0.5], constrain="domain", scaleanchor="x")
    figure.update_layout(height=330 * rows, margin={"l": 10, "r": 10, "t": 50, "b": 10}, plot_bgcolor="rgba(0,0,0,0)")
    return figure


def difference_to_teacher(maps: Mapping[str, SaliencyMap], role: str) -> tuple[np.ndarray, np.ndarray]:
    """A model's map less the teacher's, and its standard error, float32 (H, W) each."""
    found = difference(maps[role], maps["teacher"])
    return found.values, found.standard_error


def _mean_gap(maps: Mapping[str, SaliencyMap], role: str) -> float:
    return colour_centre(maps[role]) - colour_centre(maps["teacher"])


def _panel_title(one: SaliencyMap) -> str:
    predicted, target = one.classes[one.predicted], one.classes[one.target]
    text = f"{role_title(one.role)}<br><sup>predicts {predicted} ({one.probabilities[one.predicted]:.1%})"
    return f"{text}; map of {target}</sup>"


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
        colorbar={"title": {"text": "change of<br>probability"}, "len": 0.9},
        hovertemplate="row %{y}, column %{x}<br>%{z:.4f} ± %{customdata:.4f}<extra></extra>",
    )


def comparison_file(maps: Mapping[str, SaliencyMap], kind: str) -> bytes:
    """The comparison as the bytes of a ``png`` or ``svg`` file.

    Raises:
        UnknownNameError: Another kind.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if kind not in ("png", "svg"):
        raise UnknownNameError("picture format", kind, ("png", "svg"))
    roles = list(maps)
    others = [role for role in roles if role != "teacher" and "teacher" in maps]
    rows = 2 if others else 1
    figure = Figure(figsize=(2.9 * (len(roles) + 1), 3.1 * rows), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(roles) + 1, squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    picture = maps[roles[0]].picture
    axes[0, 0].imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes[0, 0].set_title("Picture", fontsize=10)
    shown: list[Any] = []
    for column, role in enumerate(roles, 1):
        shown.append(
            _draw(axes[0, column], maps[role].values, (colour_centre(maps[role]), colour_limit(maps)), picture)
        )
        axes[0, column].set_title(_panel_title(maps[role]).replace("<br><sup>", "\n").replace("</sup>", ""), fontsize=9)
        if role in others:
            _draw(
                axes[1, column],
                difference_to_teacher(maps, role)[0],
                (_mean_gap(maps, role), colour_limit(maps)),
                picture,
            )
            axes[1, column].set_title(f"{role_title(role)} − teacher", fontsize=9)
    figure.colorbar(shown[0], ax=axes[0, -1], label="change of probability", shrink=0.8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _draw(axis: Any, values: np.ndarray, scale: tuple[float, float], picture: np.ndarray) -> Any:
    centre, limit = scale
    colours = LinearSegmentedColormap.from_list("kdviz", _STOPS)
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    strength = np.clip(np.abs(values - centre) / limit, 0, 1) ** 0.7  # zero is clear, so that the picture shows through
    return axis.imshow(values, cmap=colours, vmin=centre - limit, vmax=centre + limit, alpha=0.15 + 0.8 * strength)


def accuracy_against_temperature(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Accuracy of KD students against temperature, with the spread over seeds and lines for both references.

    Args:
        rows: As :func:`kdviz.analysis.studies.accuracy_by_temperature` gives them.
    """
    figure = go.Figure()
    for row in rows:
        if row["temperature"] is None:
            _reference(figure, row)
    points = [row for row in rows if row["temperature"] is not None]
    spread = [row["accuracy_sd"] or 0.0 for row in points]
    figure.add_trace(
        go.Scatter(
            x=[row["temperature"] for row in points],
            y=[row["accuracy"] for row in points],
            error_y={"type": "data", "array": spread, "thickness": 2, "width": 6},
            mode="lines+markers",
            name=role_title("kd_student"),
            line={"color": role_colour("kd_student"), "width": 2},
            marker={"size": 10, "symbol": ROLE_SYMBOLS["kd_student"]},
            customdata=np.array([[row["seeds"], sd] for row, sd in zip(points, spread, strict=True)]),
            hovertemplate="T = %{x}<br>%{y:.2%} ± %{customdata[1]:.2%} over %{customdata[0]} seeds<extra></extra>",
        )
    )
    ticks = [row["temperature"] for row in points]
    figure.update_xaxes(
        type="log", title="Temperature T", tickvals=ticks, ticktext=[f"{value:g}" for value in ticks], showgrid=False
    )
    figure.update_yaxes(title="Accuracy on the test digits", tickformat=".1%")
    figure.update_layout(
        height=440,
        margin={"l": 10, "r": 10, "t": 10, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"},
        hovermode="closest",
    )
    return figure


def _reference(figure: go.Figure, row: Mapping[str, Any]) -> None:
    colour, spread = role_colour(row["role"]), row["accuracy_sd"]
    name = role_title(row["role"])
    if spread:
        figure.add_hrect(
            y0=row["accuracy"] - spread, y1=row["accuracy"] + spread, fillcolor=colour, opacity=0.12, line_width=0
        )
    dash = "dash" if row["role"] == "teacher" else "dot"
    figure.add_hline(y=row["accuracy"], line={"color": colour, "width": 2, "dash": dash})
    # A line across the plot has no legend entry of its own.
    figure.add_trace(
        go.Scatter(x=[None], y=[None], mode="lines", name=name, line={"color": colour, "width": 2, "dash": dash})
    )
