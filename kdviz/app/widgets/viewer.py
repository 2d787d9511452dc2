"""The viewer of maps, and the payload that goes to it."""

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
from kdviz.core.language import N_, _, number, percent
from kdviz.metrics import AgreementReport, PairAgreement
from kdviz.saliency import SaliencyMap, difference, methods

MEASURE_TITLES = {"spearman": N_("Spearman"), "ssim": N_("SSIM"), "iou": N_("Top-20 % overlap")}


def _texts(with_teacher: bool, legend: str) -> dict[str, str]:
    """What viewer.js writes."""
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
    """Maps that were made with the same settings, one a model.

    Attributes:
        baseline: What a removed pixel became.
        heading: Above the maps; none when there is one row only.
        complete: Whether no more masks will come.
        settled: Whether it ended early because the maps were reliable enough.
        measures: Agreement by each measure that is known so far.
        misfits: Role -> why the method does not fit this model.
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
    """Colours for values from -1 to 1, as 256 RGBA bytes each; alpha is how much they cover the picture."""
    position = np.linspace(-1, 1, 256)
    ends = np.where(position[:, None] < 0, to_rgb(figures.NEGATIVE), to_rgb(figures.POSITIVE))
    clear = np.column_stack([ends, np.abs(position) ** 0.7])
    chosen = [("clear", N_("Orange–blue, clear at zero"), clear)]
    for name, title in (("berlin", N_("Red–blue, dark centre")), ("RdBu_r", N_("Red–blue, light centre"))):
        chosen.append((name, title, matplotlib.colormaps[name](np.linspace(0, 1, 256))))
    positive = matplotlib.colormaps["viridis"](np.clip(position, 0, 1))
    chosen.append(("viridis", N_("Viridis, above zero only"), positive))
    return [
        {"name": name, "title": title, "lut": _encode((lut * 255).round(), np.uint8)} for name, title, lut in chosen
    ]


def comparison_payload(rows: Sequence[ViewerRow], true_class: int | None, name: str) -> dict[str, Any]:
    """Everything that viewer.js draws; ``name`` is the picture's."""
    first = next(iter(rows[0].maps.values()))
    about = "" if true_class is None else _("True class: {name}", name=first.classes[true_class])
    return {
        "name": name,
        "masks": [next(iter(row.maps.values())).n_masks for row in rows],
        "texts": _texts("teacher" in rows[0].maps, _legend(first)),
        "limit": max(figures.colour_limit(row.maps) for row in rows),
        "size": list(first.picture.shape[:2]),
        "picture": _encode(first.picture, np.uint8),
        "palettes": [{**one, "title": _(one["title"])} for one in palettes()],
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


def _legend(one: SaliencyMap) -> str:
    """What the map's values are."""
    if one.method == "rise":
        return _("change of probability when a pixel is kept")
    if methods[one.method].explains == "probability":
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
    one = row.maps[role]
    predicted, target = one.classes[one.predicted], one.classes[one.target]
    confidence = float(one.probabilities[one.predicted])
    title = figures.role_title(role)
    compared = "teacher" in row.maps and role != "teacher"
    y, x = np.unravel_index(int(one.values.argmax()), one.values.shape)
    of_target = percent(float(one.probabilities[one.target]))
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
        "confidenceText": percent(confidence),
        "correct": None if true_class is None else one.predicted == true_class,
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


def _difference(one: SaliencyMap, teacher: SaliencyMap) -> dict[str, Any]:
    found = difference(one, teacher)
    return {
        "map": _packed(found.values),
        "error": _packed(found.standard_error),
        "centre": figures.colour_centre(one) - figures.colour_centre(teacher),
        "reliabilityText": _("reliability {reliability}", reliability=number(found.reliability, 3)),
    }


def _agreement(row: ViewerRow, role: str) -> dict[str, Any] | None:
    pair = row.report.between("teacher", role)
    if not math.isfinite(pair.agreement):
        return None
    values = {"agreement": f"{number(pair.agreement, 2)}{interval(pair)}", "ceiling": number(pair.ceiling, 2)}
    if pair.same_target:
        text = _("Agreement with the teacher {agreement}, noise ceiling {ceiling}", **values)
    else:
        text = _("Agreement with the teacher {agreement}, noise ceiling {ceiling} (other class)", **values)
    return {"value": pair.agreement, "ceiling": pair.ceiling, "text": text, "more": _other_measures(row, role)}


def _other_measures(row: ViewerRow, role: str) -> str:
    """SSIM and overlap, with their ceilings."""
    found = []
    for name, report in row.measures.items():
        pair = report.between("teacher", role)
        if name != "spearman" and math.isfinite(pair.agreement):
            title, values = _(MEASURE_TITLES[name]), (number(pair.agreement, 2), number(pair.ceiling, 2))
            found.append(_("{measure} {value} (ceiling {ceiling})", measure=title, value=values[0], ceiling=values[1]))
    return " · ".join(found)


def interval(pair: PairAgreement) -> str:
    """The 95 % interval of an agreement, to put behind it; nothing when it is not known."""
    return f" [{number(pair.low, 2)}, {number(pair.high, 2)}]" if math.isfinite(pair.low) else ""


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
