"""The two canvas components, and the payloads that go to them."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
import streamlit as st
from matplotlib.colors import to_rgb
from streamlit.components.v2 import component

from kdviz import figures
from kdviz.files import ASSETS
from kdviz.metrics import AgreementReport, PairAgreement
from kdviz.saliency import SaliencyMap, difference
from kdviz.ui.library import Shown, sprite

TEXTS = {
    "display": "How the maps are drawn",
    "opacity": "Opacity",
    "threshold": "Hide below",
    "palette": "Colours",
    "scale": "Scale",
    "shared": "Shared",
    "own": "Own",
    "lower": "Below the maps",
    "difference": "Difference",
    "error": "Error",
    "zoom": "Zoom",
    "zoomIn": "Zoom in",
    "zoomOut": "Zoom out",
    "reset": "Reset",
    "picture": "What the models see",
    "legend": "change of probability when a pixel is kept",
    "least": "lowest",
    "most": "highest",
    "right": "right",
    "wrong": "wrong",
    "reference": "Reference",
    "isReference": "The students are compared with this map. In their difference, orange: they give the pixel more "
    "weight than the teacher does; blue: less.",
    "differenceTitle": "Difference to the teacher",
    "errorTitle": "Standard error of the map",
    "hover": "Point at a map to read all",
    "row": "row",
    "column": "column",
}


_WITHOUT_TEACHER = {
    "reference": "No teacher",
    "isReference": "This experiment has no teacher model to compare this map with.",
}


@dataclass(frozen=True)
class Row:
    """Maps that were made with the same settings, one a model.

    Attributes:
        baseline: What a removed pixel became.
        heading: Above the maps; none when there is one row only.
        complete: Whether no more masks will come.
        settled: Whether it ended early because the maps were reliable enough.
    """

    baseline: str
    heading: str
    maps: Mapping[str, SaliencyMap]
    report: AgreementReport
    complete: bool
    settled: bool


@st.cache_resource(show_spinner=False)
def _component(name: str) -> Any:
    folder = ASSETS / "app"
    return component(
        f"kdviz_{name}",
        html=f'<div class="k{name[0]}"></div>',
        css=(folder / f"{name}.css").read_text(encoding="utf-8"),
        js=(folder / f"{name}.js").read_text(encoding="utf-8"),
    )


def viewer(payload: Mapping[str, Any], key: str) -> None:
    """Show maps side by side; see assets/app/viewer.js for the payload."""
    _component("viewer")(data=dict(payload), key=key)


def gallery(
    shown: Shown,
    places: Sequence[int],
    items: Sequence[Mapping[str, Any]],
    *,
    key: str,
    label: str,
    thumb: int,
    strip: bool = False,
    selected: int | None = None,
) -> int | None:
    """Thumbnails of the samples at some places; returns the ``id`` of the one that was just clicked, once."""
    columns = max(1, math.isqrt(max(0, len(places) - 1)) + 1)
    content, kind = sprite(shown, tuple(int(one) for one in places), columns, 2 * thumb)
    data = {
        "sprite": f"data:{kind};base64,{base64.b64encode(content).decode()}",
        "columns": columns,
        "rows": -(-len(places) // columns),
        "items": list(items),
        "label": label,
        "thumb": thumb,
        "strip": strip,
        "selected": selected,
    }
    result = _component("gallery")(data=data, key=key, on_picked_change=lambda: None)
    return None if result.picked is None else int(result.picked)


def with_article(name: str) -> str:
    """A class's name in a sentence: ``a 7``, ``an adenocarcinoma``."""
    spoken = name.lower().startswith(("a", "e", "i", "o", "u")) or name in ("8", "11", "18")
    return f"{'an' if spoken else 'a'} {name}"


@lru_cache(maxsize=1)
def palettes() -> list[dict[str, str]]:
    """Colours for values from -1 to 1, as 256 RGBA bytes each; alpha is how much they cover the picture."""
    position = np.linspace(-1, 1, 256)
    ends = np.where(position[:, None] < 0, to_rgb(figures.NEGATIVE), to_rgb(figures.POSITIVE))
    clear = np.column_stack([ends, np.abs(position) ** 0.7])
    chosen = [("clear", "Orange–blue, clear at zero", clear)]
    for name, title in (("berlin", "Red–blue, dark centre"), ("RdBu_r", "Red–blue, light centre")):
        chosen.append((name, title, matplotlib.colormaps[name](np.linspace(0, 1, 256))))
    positive = matplotlib.colormaps["viridis"](np.clip(position, 0, 1))
    chosen.append(("viridis", "Viridis, above zero only", positive))
    return [
        {"name": name, "title": title, "lut": _encode((lut * 255).round(), np.uint8)} for name, title, lut in chosen
    ]


def comparison_payload(rows: Sequence[Row], true_class: int | None, name: str) -> dict[str, Any]:
    """Everything that viewer.js draws; ``name`` is the picture's."""
    first = next(iter(rows[0].maps.values()))
    return {
        "name": name,
        "masks": [next(iter(row.maps.values())).n_masks for row in rows],
        "texts": TEXTS if "teacher" in rows[0].maps else {**TEXTS, **_WITHOUT_TEACHER},
        "limit": max(figures.colour_limit(row.maps) for row in rows),
        "size": list(first.picture.shape[:2]),
        "picture": _encode(first.picture, np.uint8),
        "palettes": palettes(),
        "about": "" if true_class is None else f"True class: {first.classes[true_class]}",
        "rows": [
            {"heading": row.heading, "models": [_model(row, role, true_class) for role in row.maps]} for row in rows
        ],
    }


def _model(row: Row, role: str, true_class: int | None) -> dict[str, Any]:
    one = row.maps[role]
    predicted, target = one.classes[one.predicted], one.classes[one.target]
    confidence = float(one.probabilities[one.predicted])
    title = figures.role_title(role)
    compared = "teacher" in row.maps and role != "teacher"
    y, x = np.unravel_index(int(one.values.argmax()), one.values.shape)
    return {
        "role": role,
        "title": title,
        "colour": figures.role_colour(role),
        "symbol": figures.role_symbol(role),
        "map": _packed(one.values),
        "centre": figures.colour_centre(one),
        "limit": figures.colour_limit(row.maps, role),
        "error": _packed(one.standard_error),
        "difference": _difference(one, row.maps["teacher"]) if compared else None,
        "predicted": predicted,
        "confidence": confidence,
        "confidenceText": f"{confidence:.1%}",
        "correct": None if true_class is None else one.predicted == true_class,
        "targetText": f"Map explains class {target} ({one.probabilities[one.target]:.1%})",
        "alt": f"{title}: saliency of class {target}, strongest at row {y}, column {x}",
        "agreement": _agreement(row.report, role) if compared else None,
        "ceilingText": _ceiling_text(row.report, role),
    }


def _difference(one: SaliencyMap, teacher: SaliencyMap) -> dict[str, Any]:
    found = difference(one, teacher)
    return {
        "map": _packed(found.values),
        "error": _packed(found.standard_error),
        "centre": figures.colour_centre(one) - figures.colour_centre(teacher),
        "reliabilityText": f"reliability {found.reliability:.3f}",
    }


def _agreement(report: AgreementReport, role: str) -> dict[str, Any] | None:
    pair = report.between("teacher", role)
    if not math.isfinite(pair.agreement):
        return None
    text = f"Agreement with the teacher {pair.agreement:.2f}{interval(pair)}, noise ceiling {pair.ceiling:.2f}"
    if not pair.same_target:
        text += " (other class)"
    return {"value": pair.agreement, "ceiling": pair.ceiling, "text": text}


def interval(pair: PairAgreement) -> str:
    """The 95 % interval of an agreement, to put behind it; nothing when it is not known."""
    return f" [{pair.low:.2f}, {pair.high:.2f}]" if math.isfinite(pair.low) else ""


def _ceiling_text(report: AgreementReport, role: str) -> str:
    for pair in report.pairs:
        ceiling = {pair.first: pair.ceiling_first, pair.second: pair.ceiling_second}.get(role)
        if ceiling is not None and math.isfinite(ceiling):
            return f"Agreement with a re-estimate of itself {ceiling:.2f}"
    return ""


def _packed(values: np.ndarray) -> dict[str, Any]:
    step = float(np.abs(values).max()) / 32767 or 1e-12
    return {"data": _encode(np.round(values / step), np.int16), "step": step}


def _encode(values: np.ndarray, kind: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode()
