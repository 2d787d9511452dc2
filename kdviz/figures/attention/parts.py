"""What the figures of an attention study share: titles, colours, symbols and error bars."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kdviz.core.language import N_, _, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.figures.roles import FURTHER_COLOURS, role_colour
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.controls import Control
from kdviz.studies.attention.statistics.uncertainty import Effect

CEILING_COLOUR = "#767676"
MARGIN = {"l": 10, "r": 10, "t": 10, "b": 10}
SYMBOLS = {"claim": "circle", "second": "diamond-open", "shuffled": "square-open", "other": "x"}
MARKERS = {"claim": "o", "second": "D", "shuffled": "s", "other": "x"}
COLOURS = {"second": FURTHER_COLOURS[2], "shuffled": FURTHER_COLOURS[0], "other": FURTHER_COLOURS[1]}
_MEASURES = {"spearman": "Spearman", "pearson": "Pearson", "ssim": "SSIM", "iou": N_("overlap of the top 20 %")}


def measure_title(report: AttentionReport) -> str:
    return _(_MEASURES.get(report.measure, report.measure))


def difference_title(report: AttentionReport) -> str:
    return _("KD student less student alone ({measure})", measure=measure_title(report))


def in_two_lines(title: str) -> str:
    """The title with its measure below it: beside long names of rows, a phone has no room for both in one line."""
    return re.sub(r" ?([(（])", r"<br>\1", title, count=1)


def control_title(control: Control) -> str:
    return _("Control: {what}", what=_(control.name))


def effect_colour(kind: str) -> str:
    return COLOURS.get(kind, role_colour(Role.KD_STUDENT))


def error_bars(*effects: Effect) -> dict[str, Any]:
    below, above = half_widths(effects)
    return {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 2, "width": 6}


def half_widths(effects: Sequence[Effect]) -> tuple[list[float], list[float]]:
    below = [effect.value - effect.interval.low for effect in effects]
    return below, [effect.interval.high - effect.value for effect in effects]


def hover_text(name: str) -> str:
    return f"{name}: %{{customdata[0]}} (%{{customdata[1]}} to %{{customdata[2]}})<extra></extra>"


def value_and_interval(effect: Effect) -> tuple[str, str, str]:
    """Value and interval as texts: Plotly's own format writes -0.000."""
    return signed_interval(effect.value, effect.interval.low, effect.interval.high, 3)
