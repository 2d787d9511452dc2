"""The viewer of maps, and the payload that is sent to it."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from kdviz import figures
from kdviz.app.widgets.component import component
from kdviz.core.language import N_, _, interval_digits, number, percent
from kdviz.core.vocabulary import Role
from kdviz.metrics import AgreementReport, PairAgreement
from kdviz.saliency import SaliencyMap, difference, methods
from kdviz.studies.regions import StudiedRegion

MEASURE_TITLES = {"spearman": N_("Spearman"), "ssim": N_("SSIM"), "iou": N_("Top-20 % overlap")}


def _texts(with_teacher: bool, legend: str) -> dict[str, str]:
    """The texts of viewer.js."""
    reference = (
        _("Reference"),
        _(
            "The students are compared with this map. In their difference, orange: they give the pixel more weight "
            "than the teacher does; blue: less."
        ),
    )
    if not with_teacher:
        reference = (_("No teacher"), _("There is no teacher's map here to compare this one with."))
    return {
        "display": _("How the maps are drawn"),
        "opacity": _("Opacity"),
        "threshold": _("Hide below"),
        "palette": _("Colours"),
        "scale": _("Scale"),
        "shared": _("Shared"),
        "own": _("Own"),
        "lower": _("Below the maps"),
        "difference": _("Difference"),
        "error": _("Error"),
        "zoom": _("Zoom"),
        "zoomIn": _("Zoom in"),
        "zoomOut": _("Zoom out"),
        "reset": _("Reset"),
        "region": _("Region"),
        "draw": _("Draw"),
        "remove": _("Remove"),
        "regionHelp": _("Drag over a map, or move with the arrow keys and press Enter at two corners."),
        "inside": _("{share} of its positive saliency inside the region drawn here, {area} of the area"),
        "outline": _("Outline the region"),
        "studied": _("{share} of its positive saliency inside the study's region, {area} of the area"),
        "picture": _("What the models see"),
        "legend": legend,
        "least": _("lowest"),
        "most": _("highest"),
        "right": _("right"),
        "wrong": _("wrong"),
        "reference": reference[0],
        "isReference": reference[1],
        "differenceTitle": _("Difference to the teacher"),
        "errorTitle": _("Standard error of the map"),
        "hover": _("Point at a map to read all"),
        "row": _("row"),
        "column": _("column"),
        "misfit": _("No map"),
    }


@dataclass(frozen=True)
class ViewerRow:
    """Maps that were made with the same settings, one of each model.

    Attributes:
        baseline: Name of what a removed pixel became; empty for methods without a baseline.
        heading: Heading above the maps; empty if there is only one row.
        complete: Whether no more masks will come.
        settled: Whether the computation ended early because the maps were reliable enough.
        measures: Name of a measure -> agreement by it; more come when the row is complete.
        misfits: Role -> why the method cannot explain the model.
    """

    baseline: str
    heading: str
    maps: Mapping[str, SaliencyMap]
    report: AgreementReport
    complete: bool
    settled: bool
    measures: Mapping[str, AgreementReport] = field(default_factory=dict)
    misfits: Mapping[str, str] = field(default_factory=dict)


def show_viewer(payload: Mapping[str, Any], key: str) -> None:
    """Show maps side by side; see assets/app/viewer.js for the payload."""
    component("viewer", '<div class="kv"></div>')(data=dict(payload), key=key)


@lru_cache(maxsize=1)
def palettes() -> list[dict[str, str]]:
    """Palettes for values from -1 to 1, each of 256 RGBA colours in bytes; alpha is how much they cover the picture."""
    position = np.linspace(-1, 1, 256)
    colours = np.where(position[:, None] < 0, to_rgb(figures.NEGATIVE), to_rgb(figures.POSITIVE))
    clear = np.column_stack([colours, np.abs(position) ** 0.7])
    tables = [("clear", N_("Orange–blue, clear at zero"), clear)]
    for name, title in (("berlin", N_("Red–blue, dark centre")), ("RdBu_r", N_("Red–blue, light centre"))):
        tables.append((name, title, matplotlib.colormaps[name](np.linspace(0, 1, 256))))
    positive = matplotlib.colormaps["viridis"](np.clip(position, 0, 1))
    tables.append(("viridis", N_("Viridis, above zero only"), positive))
    return [
        {"name": name, "title": title, "lut": _encode((lut * 255).round(), np.uint8)} for name, title, lut in tables
    ]


def comparison_payload(rows: Sequence[ViewerRow], true_class: int | None, name: str) -> dict[str, Any]:
    """The payload of viewer.js.

    Args:
        rows: The rows of maps, at least one.
        true_class: Index of the true class; None if it is not known.
        name: Name of the picture.
    """
    first = next(iter(rows[0].maps.values()))
    about = "" if true_class is None else _("True class: {name}", name=first.classes[true_class])
    return {
        "name": name,
        "masks": [next(iter(row.maps.values())).n_masks for row in rows],
        "texts": _texts(Role.TEACHER in rows[0].maps, _legend(first)),
        "limit": max(figures.colour_limit(row.maps) for row in rows),
        "size": list(first.picture.shape[:2]),
        "picture": _encode(first.picture, np.uint8),
        "palettes": [{**palette, "title": _(palette["title"])} for palette in palettes()],
        "about": about,
        "rows": [
            {
                "heading": row.heading,
                "models": [_model(row, role, true_class) for role in row.maps],
                "misfits": [_misfit(role, why) for role, why in row.misfits.items()],
            }
            for row in rows
        ],
    }


def region_payload(region: StudiedRegion) -> dict[str, Any]:
    """A region of the study of regions, for the payload's ``region``; it must not be empty."""
    values = {"area": percent(region.area), "source": region.source}
    about = _("Region that people drew: {area} of the area", **values)
    if region.source:
        about = _("Region that people drew, from {source}: {area} of the area", **values)
    top, bottom, left, right = region.bounds
    return {
        "shares": _encode(np.round(region.shares * 255), np.uint8),
        "outlines": [[position for corner in polygon for position in corner] for polygon in region.outlines],
        "about": about,
        "alt": _(
            "the study's region from row {top} to {bottom} and from column {left} to {right}, {area} of the area",
            top=top,
            bottom=bottom,
            left=left,
            right=right,
            **values,
        ),
    }


def _legend(saliency_map: SaliencyMap) -> str:
    """The meaning of a map's values."""
    if saliency_map.method == "rise":
        return _("change of probability when a pixel is kept")
    if methods[saliency_map.method].explains == "probability":
        return _("share of the pixel in the class's probability")
    return _("share of the pixel in the class's score (logit)")


def _misfit(role: str, why: str) -> dict[str, Any]:
    return {
        "title": figures.role_title(role),
        "colour": figures.role_colour(role),
        "symbol": figures.role_symbol(role),
        "reason": why,
    }


def _model(row: ViewerRow, role: str, true_class: int | None) -> dict[str, Any]:
    saliency_map = row.maps[role]
    predicted, target = saliency_map.classes[saliency_map.predicted], saliency_map.classes[saliency_map.target]
    confidence = float(saliency_map.probabilities[saliency_map.predicted])
    title = figures.role_title(role)
    compared = Role.TEACHER in row.maps and role != Role.TEACHER
    y, x = np.unravel_index(int(saliency_map.values.argmax()), saliency_map.values.shape)
    of_target = percent(float(saliency_map.probabilities[saliency_map.target]))
    return {
        "role": role,
        "title": title,
        "colour": figures.role_colour(role),
        "symbol": figures.role_symbol(role),
        "map": _packed(saliency_map.values),
        "centre": figures.colour_centre(saliency_map),
        "limit": figures.colour_limit(row.maps, role),
        "error": _packed(saliency_map.standard_error),
        "difference": _difference(saliency_map, row.maps[Role.TEACHER]) if compared else None,
        "predicted": predicted,
        "confidence": confidence,
        "confidenceText": percent(confidence),
        "correct": None if true_class is None else saliency_map.predicted == true_class,
        "targetText": _("Map explains class {name} ({probability})", name=target, probability=of_target),
        "alt": _(
            "{model}: saliency of class {name}, strongest at row {row}, column {column}",
            model=title,
            name=target,
            row=int(y),
            column=int(x),
        ),
        "agreement": _agreement(row, role) if compared else None,
        "ceilingText": _ceiling_text(row.report, role),
    }


def _difference(saliency_map: SaliencyMap, teacher: SaliencyMap) -> dict[str, Any]:
    change = difference(saliency_map, teacher)
    return {
        "map": _packed(change.values),
        "error": _packed(change.standard_error),
        "centre": figures.colour_centre(saliency_map) - figures.colour_centre(teacher),
        "reliabilityText": _("reliability {reliability}", reliability=number(change.reliability, 3)),
    }


def _agreement(row: ViewerRow, role: str) -> dict[str, Any] | None:
    pair = row.report.between(Role.TEACHER, role)
    if not math.isfinite(pair.agreement):
        return None
    values = {"agreement": f"{number(pair.agreement, 2)}{interval(pair)}", "ceiling": number(pair.ceiling, 2)}
    if pair.same_target:
        text = _("Agreement with the teacher {agreement}, noise ceiling {ceiling}", **values)
    else:
        text = _("Agreement with the teacher {agreement}, noise ceiling {ceiling} (other class)", **values)
    return {"value": pair.agreement, "ceiling": pair.ceiling, "text": text, "more": _other_measures(row, role)}


def _other_measures(row: ViewerRow, role: str) -> str:
    """The agreement by SSIM and overlap, with the noise ceilings."""
    texts = []
    for name, report in row.measures.items():
        pair = report.between(Role.TEACHER, role)
        if name != "spearman" and math.isfinite(pair.agreement):
            title, values = _(MEASURE_TITLES[name]), (number(pair.agreement, 2), number(pair.ceiling, 2))
            texts.append(_("{measure} {value} (ceiling {ceiling})", measure=title, value=values[0], ceiling=values[1]))
    return " · ".join(texts)


def interval(pair: PairAgreement) -> str:
    """The 95 % interval of an agreement, to be put behind its value; empty if it is not known."""
    if not math.isfinite(pair.low):
        return ""
    digits = interval_digits(pair.low, pair.high, 2)
    return f" [{number(pair.low, digits)}, {number(pair.high, digits)}]"


def _ceiling_text(report: AgreementReport, role: str) -> str:
    for pair in report.pairs:
        ceiling = {pair.first: pair.ceiling_first, pair.second: pair.ceiling_second}.get(role)
        if ceiling is not None and math.isfinite(ceiling):
            return _("Agreement with a re-estimate of itself {ceiling}", ceiling=number(ceiling, 2))
    return ""


def _packed(values: np.ndarray) -> dict[str, Any]:
    step = float(np.abs(values).max()) / 32767 or 1e-12
    return {"data": _encode(np.round(values / step), np.int16), "step": step}


def _encode(values: np.ndarray, kind: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(values.astype(kind)).tobytes()).decode()
