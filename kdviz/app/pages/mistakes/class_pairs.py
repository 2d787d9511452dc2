"""The class pairs of *Mistakes*: a confusion matrix whose cells can be clicked.

Of many classes only the blocks that matter are shown: groups of classes that are confused with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import streamlit as st

from kdviz import figures
from kdviz.app.pages.mistakes.filters import CHANGE, COUNTS, View, keep
from kdviz.app.samples import SampleCache, SampleView
from kdviz.app.widgets.component import component, locale
from kdviz.core.language import _, language, percent
from kdviz.studies.predictions.class_blocks import confused_blocks
from kdviz.studies.predictions.mistake_index import MistakeIndex, confused_pairs, without

_PAIRS, _PAIRS_OF_MANY = 6, 60
_TABLE = 12  # classes; more are drawn as a picture
_WHOLE = 20  # classes; of more only blocks are shown
_BLOCKS = 12

_parts: SampleCache[dict[str, Any]] = SampleCache(16)


def show_matrix(samples: SampleView, index: MistakeIndex, view: View, classes: Sequence[str]) -> None:
    """Show the confusion matrix, or its blocks; clicking a cell filters by it."""
    filters = view.filters
    key = (without(without(filters, "true"), "said"), view.change, language())
    data = {
        **_parts.get(samples, key, lambda: _counts_of(index, view, classes)),
        "count": len(classes),
        "form": "table" if len(classes) <= _TABLE else "picture" if len(classes) <= _WHOLE else "blocks",
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


def _counts_of(index: MistakeIndex, view: View, classes: Sequence[str]) -> dict[str, Any]:
    """What is counted under the filters other than the classes: cells, pairs and blocks, with their classes' names."""
    counts = index.change(view.filters) if view.change else index.confusion(view.filters)
    pairs = confused_pairs(counts, _PAIRS if len(classes) <= _TABLE else _PAIRS_OF_MANY)
    if len(classes) <= _WHOLE:
        cells = {(int(true), int(answer)) for true, answer in zip(*counts.nonzero(), strict=True)}
        return {"classes": dict(enumerate(classes)), "blocks": [], **_cells_and_pairs(counts, cells, pairs)}
    blocks = confused_blocks(counts, _BLOCKS)
    cells = {(true, answer) for block in blocks for true in block.classes for answer in block.classes}
    cells |= {(true, answer) for true, answer, _ in pairs}
    confusions = int(np.abs(counts).sum() - np.abs(counts.diagonal()).sum())
    return {
        "classes": {number: classes[number] for number in sorted({number for cell in cells for number in cell})},
        "blocks": [[list(block.classes), block.count] for block in blocks],
        "coverage": percent(sum(block.count for block in blocks) / confusions, 0) if confusions else "",
        **_cells_and_pairs(counts, cells, pairs),
    }


def _cells_and_pairs(
    counts: np.ndarray, cells: set[tuple[int, int]], pairs: list[tuple[int, int, int]]
) -> dict[str, Any]:
    numbers = [[true, answer, int(counts[true, answer])] for true, answer in sorted(cells)]
    return {"cells": [cell for cell in numbers if cell[2]], "pairs": pairs}


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
        "blocks": _("Classes taken for each other"),
        "blocksHint": _("These groups hold {share} of the confusions. Choose one to see its classes."),
        "block": _("{names}: {count}"),
        "more": _("and {count} more"),
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
