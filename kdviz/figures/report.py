"""A comparison as one HTML file that opens without a network and has the command that makes it again."""

from __future__ import annotations

import base64
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd

from kdviz.core.files import ASSETS
from kdviz.core.language import _, language, number, percent
from kdviz.figures.faithfulness import Curves, faithfulness_curves
from kdviz.figures.maps import comparison
from kdviz.figures.roles import role_title
from kdviz.saliency import SaliencyMap

_PACKAGES = ("torch", "torchvision", "captum", "numpy")


@dataclass(frozen=True)
class ReportRow:
    """Maps made with the same settings.

    Attributes:
        method, baseline: Their titles, for people.
        maps: Role -> map.
        agreement: Agreement of every pair of models by every measure.
        curves: Role -> name of a map -> deletion and insertion, where they were computed.
    """

    method: str
    baseline: str
    maps: Mapping[str, SaliencyMap]
    agreement: pd.DataFrame
    curves: Curves = field(default_factory=dict)


@dataclass(frozen=True)
class MapReport:
    """The contents of the file.

    Attributes:
        title: Title of the experiment.
        picture_name, true_class: Name and class of the picture; the class is empty when it is not known.
        picture: The picture as the models saw it, as PNG.
        file: The picture's file name in ``command``.
        command: The command that makes the same maps from the picture.
        rows: The rows of maps.
        models: ``role``, ``network`` and ``sha256`` of the weights of each model.
    """

    title: str
    picture_name: str
    true_class: str
    picture: bytes = field(repr=False)
    file: str
    command: str
    rows: Sequence[ReportRow]
    models: Sequence[Mapping[str, str]]


def html_report(report: MapReport) -> bytes:
    """The file's content; every text in it is escaped."""
    from jinja2 import Environment

    template = (ASSETS / "app" / "report.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return page.render(
        _=_,
        language=language().replace("_", "-"),
        report=report,
        picture=_png(report.picture),
        rows=[_row(row) for row in report.rows],
        models=[{**model, "title": role_title(model["role"])} for model in report.models],
        versions=_versions(),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    ).encode()


def _row(row: ReportRow) -> dict[str, Any]:
    first = next(iter(row.maps.values()))
    return {
        "heading": " · ".join(part for part in (row.method, row.baseline) if part),
        "maps": _png(comparison.file("png", row.maps)),
        "curves": _png(faithfulness_curves.file("png", row.curves)) if row.curves else "",
        "predictions": [_prediction(role, saliency_map) for role, saliency_map in row.maps.items()],
        "columns": list(row.agreement.columns),
        "agreement": row.agreement.to_numpy().tolist(),
        "settings": json.dumps({"method": first.method, **first.settings, "n_masks": first.n_masks}, default=str),
    }


def _prediction(role: str, saliency_map: SaliencyMap) -> dict[str, str]:
    return {
        "model": role_title(role),
        "predicted": saliency_map.classes[saliency_map.predicted],
        "confidence": percent(float(saliency_map.probabilities[saliency_map.predicted])),
        "target": saliency_map.classes[saliency_map.target],
        "reliability": number(saliency_map.reliability, 3),
    }


def _png(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _versions() -> dict[str, str]:
    import kdviz

    versions = {"kdviz": kdviz.__version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
