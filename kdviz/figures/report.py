"""A comparison as one HTML file that opens without a network and says how to make it again."""

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
        method, baseline: As people call them.
        maps: Role -> map.
        agreement: Every pair of models by every measure.
        curves: Role -> name of a map -> deletion and insertion, where they were computed.
    """

    method: str
    baseline: str
    maps: Mapping[str, SaliencyMap]
    agreement: pd.DataFrame
    curves: Curves = field(default_factory=dict)


@dataclass(frozen=True)
class MapReport:
    """What is in the file.

    Attributes:
        title: Of the experiment.
        picture_name, true_class: Of the picture; the class is empty when it is not known.
        picture: PNG bytes of what the models saw.
        file: The picture's name in ``command``.
        command: Makes the same maps from the picture.
        models: Of each model: ``role``, ``network``, ``sha256`` of its weights.
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
    """The file. Every text in it is escaped."""
    from jinja2 import Environment

    template = (ASSETS / "app" / "report.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(template)
    return page.render(
        _=_,
        language=language().replace("_", "-"),
        report=report,
        picture=_png(report.picture),
        rows=[_row(row) for row in report.rows],
        models=[{**one, "title": role_title(one["role"])} for one in report.models],
        versions=_versions(),
        when=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    ).encode()


def _row(row: ReportRow) -> dict[str, Any]:
    first = next(iter(row.maps.values()))
    return {
        "heading": " · ".join(part for part in (row.method, row.baseline) if part),
        "maps": _png(comparison.file("png", row.maps)),
        "curves": _png(faithfulness_curves.file("png", row.curves)) if row.curves else "",
        "said": [_said(role, one) for role, one in row.maps.items()],
        "columns": list(row.agreement.columns),
        "agreement": row.agreement.to_numpy().tolist(),
        "settings": json.dumps({"method": first.method, **first.settings, "n_masks": first.n_masks}, default=str),
    }


def _said(role: str, one: SaliencyMap) -> dict[str, str]:
    return {
        "model": role_title(role),
        "predicted": one.classes[one.predicted],
        "confidence": percent(float(one.probabilities[one.predicted])),
        "target": one.classes[one.target],
        "reliability": number(one.reliability, 3),
    }


def _png(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _versions() -> dict[str, str]:
    import kdviz

    found = {"kdviz": kdviz.__version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
