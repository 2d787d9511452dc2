"""How much of a map lies inside its picture's region, beside the thumbnails."""

from __future__ import annotations

from typing import Any

import numpy as np

from kdviz.app.library import OpenExperiment
from kdviz.app.pages.mistakes.filters import View
from kdviz.app.samples import SampleView
from kdviz.app.texts import say_error
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, percent
from kdviz.studies.predictions.mistake_index import MistakeIndex
from kdviz.studies.regions import RegionShares


def shares_of(opened: OpenExperiment, samples: SampleView) -> list[RegionShares]:
    """What a study of regions found about these samples, by method; empty without one."""
    try:
        return opened.region_shares(samples)
    except KdvizError as error:
        say_error(error)
        return []


def with_shares(
    items: list[dict[str, Any]], index: MistakeIndex, view: View, indices: np.ndarray
) -> list[dict[str, Any]]:
    """The items with the share of the filters' model inside each region, where there are some."""
    if view.filters.model not in index.inside:
        return items
    shares = index.inside[view.filters.model][indices]
    notes = ["" if share != share else _("{share} inside", share=percent(share, 0)) for share in shares.tolist()]
    return [
        {**item, "note": note, "alt": f"{item['alt']}; {note}"} if note else item
        for item, note in zip(items, notes, strict=True)
    ]
