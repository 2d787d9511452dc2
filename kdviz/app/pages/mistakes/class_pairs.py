"""The class pairs of *Mistakes*: a confusion matrix whose cells can be clicked."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from kdviz import figures
from kdviz.app.pages.mistakes.filters import CHANGE, COUNTS, View, keep
from kdviz.app.widgets.component import component, locale
from kdviz.core.language import _
from kdviz.studies.predictions.mistake_index import MistakeIndex, confused_pairs

_PAIRS, _PAIRS_OF_MANY = 6, 60
_MANY = 12  # classes; the same number as in confusion.js


def show_matrix(index: MistakeIndex, view: View, classes: Sequence[str]) -> None:
    """Show the confusion matrix; clicking a cell filters by it."""
    counts = index.change(view.filters) if view.change else index.confusion(view.filters)
    cells = [(int(true), int(answer)) for true, answer in zip(*counts.nonzero(), strict=True)]
    filters = view.filters
    data = {
        "classes": list(classes),
        "cells": [[true, answer, int(counts[true, answer])] for true, answer in cells],
        "pairs": confused_pairs(counts, _PAIRS if len(classes) <= _MANY else _PAIRS_OF_MANY),
        "chosen": [-1 if filters.true is None else filters.true, -1 if filters.said is None else filters.said],
        "mode": CHANGE if view.change else COUNTS,
        "modes": [[COUNTS, _("Counts")], [CHANGE, _("KD − alone")]] if index.has_change else [],
        "colours": {
            "counts": figures.role_colour(filters.model),
            "more": figures.POSITIVE,
            "fewer": figures.NEGATIVE,
        },
        "frame": "#0B5CAD",
        "locale": locale(),
        "texts": _matrix_texts(view),
    }
    component("confusion")(
        data=data, key="mistakes-matrix", on_cell_change=_cell_chosen(classes), on_mode_change=_mode_chosen
    )


def _matrix_texts(view: View) -> dict[str, str]:
    """The texts of confusion.js, which fills in {true}, {said}, {count} and {name}."""
    model = figures.role_title(view.filters.model)
    if view.change:
        cell = _("True {true}, answer {said}: {count} by distillation")
        legend = _("KD student less student alone. Orange: distillation made more of these; blue: fewer.")
        none = _("Distillation changed no mistake among these samples.")
    else:
        cell = _("True {true}, answer {said}: {count}")
        legend = _("Answers of: {model}. A row is a true class, a column an answer.", model=model)
        none = _("{model} confuses no classes among these samples.", model=model)
    return {
        "title": _("Class pairs"),
        "label": _("Confusion matrix, true class by answer"),
        "corner": _("true ↓ says →"),
        "modes": _("What is counted"),
        "row": _("True class {name}"),
        "column": _("Answer {name}"),
        "cell": cell,
        "legend": legend,
        "pairs": _("Most confused") if not view.change else _("Most changed"),
        "none": none,
        "hint": _("Point at a cell, or move with the arrows; click or Enter chooses it."),
    }


def _cell_chosen(classes: Sequence[str]) -> Callable[[], None]:
    def chosen() -> None:
        true, answer = (int(index) for index in st.session_state["mistakes-matrix"]["cell"])
        for name, index in (("class", true), ("said", answer)):
            keep(name, str(classes[index]) if 0 <= index < len(classes) else "")

    return chosen


def _mode_chosen() -> None:
    keep("matrix", str(st.session_state["mistakes-matrix"]["mode"]))
