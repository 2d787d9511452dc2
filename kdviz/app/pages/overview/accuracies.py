"""The models' accuracies, with intervals, as bars."""

from __future__ import annotations

import math

import streamlit as st

from kdviz import figures
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.language import _, number, percent, plural
from kdviz.narrative.overview import Accuracy, ExperimentSummary
from kdviz.studies.predictions.mistakes import members


def accuracies(found: ExperimentSummary) -> None:
    known = found.accuracies
    if not known:
        st.caption(_unmeasured(found))
        return
    split = {"test": _("test"), "validation": _("validation"), "bundled": _("bundled")}.get(known[0].split, "")
    ends = [end for one in known for end in _ends(one)]
    low, high = min(ends), max(ends)
    rows = "".join(_accuracy_row(one, low, high) for one in known)
    title = _("Accuracy on {count} {split} images", count=number(known[0].samples), split=split)
    bars = _("Bar: 95 % interval over images. Dots: this model; open: mean over seeds.")
    html.show(
        f'<div class="ov-accuracy"><h3>{text(title)}</h3><ul>{rows}</ul><p class="ov-legend">{text(bars)}</p></div>'
    )


def _unmeasured(found: ExperimentSummary) -> str:
    said = found.predictions
    if said is None and found.experiment.is_imported:
        return _("These models were imported without pictures; import them again with --data to measure them.")
    if said is None or said.labelled:
        return _("The accuracies of these models are not known yet; kdviz evaluate measures them.")
    differ = float(members(said, "differ").mean()) if len(said.labels) else 0.0
    return _(
        "The {count} images have no labels, so that there are no accuracies. On {share} of them the models disagree.",
        count=number(len(said.labels)),
        share=percent(differ),
    )


def _ends(one: Accuracy) -> list[float]:
    known = [one.value, one.low, one.high, one.mean if one.mean is not None else math.nan]
    return [value for value in known if not math.isnan(value)]


def _accuracy_row(one: Accuracy, low: float, high: float) -> str:
    def place(value: float) -> str:
        return f"{100 * (value - low) / ((high - low) or 1.0):.2f}%"

    bar = ""
    if not math.isnan(one.low):
        bar = f'<i style="left:{place(one.low)};right:calc(100% - {place(one.high)})"></i>'
    interval = "" if math.isnan(one.low) else f"{percent(one.low, 2)} – {percent(one.high, 2)}"
    mean = ""
    if one.mean is not None and one.spread is not None:
        mean = f'<u style="left:{place(one.mean)}"></u>'
        interval += " · " + _(
            "{seeds}: {mean} ± {spread}",
            seeds=plural("{count} seed", "{count} seeds", one.seeds),
            mean=percent(one.mean, 2),
            spread=percent(one.spread, 2),
        )
    return (
        f'<li style="--role:{figures.role_colour(one.role)}"><div class="ov-name">{html.role(one.role)}'
        f"<span>{text(figures.role_title(one.role))}</span><b>{text(percent(one.value, 2))}</b></div>"
        f'<div class="ov-range" aria-hidden="true">{bar}{mean}<s style="left:{place(one.value)}"></s></div>'
        f"<small>{text(interval)}</small></li>"
    )
