"""The models' accuracies, with intervals, as bars."""

from __future__ import annotations

import math

import streamlit as st

from kdviz import figures
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.language import _, number, percent, plural
from kdviz.core.vocabulary import Split
from kdviz.narrative.overview import Accuracy, ExperimentSummary
from kdviz.studies.predictions.mistakes import members


def show_accuracies(summary: ExperimentSummary) -> None:
    rows = summary.accuracies
    if not rows:
        st.caption(_unmeasured(summary))
        return
    splits: dict[str, str] = {
        Split.TEST: _("test"),
        Split.VALIDATION: _("validation"),
        Split.BUNDLED: _("bundled"),
    }
    split = splits.get(rows[0].split, "")
    ends = [end for accuracy in rows for end in _ends(accuracy)]
    low, high = min(ends), max(ends)
    items = "".join(_accuracy_row(accuracy, low, high) for accuracy in rows)
    title = _("Accuracy on {count} {split} images", count=number(rows[0].samples), split=split)
    bars = _("Bar: 95 % interval over images. Dots: this model; open: mean over seeds.")
    html.show(
        f'<div class="ov-accuracy"><h3>{text(title)}</h3><ul>{items}</ul><p class="ov-legend">{text(bars)}</p></div>'
    )


def _unmeasured(summary: ExperimentSummary) -> str:
    predictions = summary.predictions
    if predictions is None and summary.experiment.is_imported:
        return _("These models were imported without pictures; import them again with --data to measure them.")
    if predictions is None or predictions.labelled:
        return _("The accuracies of these models are not known yet; kdviz evaluate measures them.")
    disagreement = float(members(predictions, "differ").mean()) if len(predictions.labels) else 0.0
    return _(
        "The {count} images have no labels, so that there are no accuracies. On {share} of them the models disagree.",
        count=number(len(predictions.labels)),
        share=percent(disagreement),
    )


def _ends(accuracy: Accuracy) -> list[float]:
    values = [accuracy.value, accuracy.low, accuracy.high, accuracy.mean if accuracy.mean is not None else math.nan]
    return [value for value in values if not math.isnan(value)]


def _accuracy_row(accuracy: Accuracy, low: float, high: float) -> str:
    def position(value: float) -> str:
        return f"{100 * (value - low) / ((high - low) or 1.0):.2f}%"

    bar = ""
    if not math.isnan(accuracy.low):
        bar = f'<i style="left:{position(accuracy.low)};right:calc(100% - {position(accuracy.high)})"></i>'
    interval = "" if math.isnan(accuracy.low) else f"{percent(accuracy.low, 2)} – {percent(accuracy.high, 2)}"
    mean = ""
    if accuracy.mean is not None and accuracy.spread is not None:
        mean = f'<u style="left:{position(accuracy.mean)}"></u>'
        interval += " · " + _(
            "{seeds}: {mean} ± {spread}",
            seeds=plural("{count} seed", "{count} seeds", accuracy.seeds),
            mean=percent(accuracy.mean, 2),
            spread=percent(accuracy.spread, 2),
        )
    return (
        f'<li style="--role:{figures.role_colour(accuracy.role)}"><div class="ov-name">{html.role(accuracy.role)}'
        f"<span>{text(figures.role_title(accuracy.role))}</span><b>{text(percent(accuracy.value, 2))}</b></div>"
        f'<div class="ov-range" aria-hidden="true">{bar}{mean}<s style="left:{position(accuracy.value)}"></s></div>'
        f"<small>{text(interval)}</small></li>"
    )
