"""Figures of data: by Plotly for pages and HTML files, by Matplotlib for PNG and SVG files, which needs no browser.

Each figure with both forms is a :class:`~kdviz.figures.chart.Chart`: ``comparison(maps)`` is a Plotly figure,
``comparison.file("png", maps)`` returns the bytes of a file.
"""

import warnings
from collections.abc import Callable
from typing import Any

from kdviz.core.moved import warn_renamed
from kdviz.figures.attention import (
    agreement_distribution,
    claim_and_controls,
    effect_against_value,
)
from kdviz.figures.chart import Chart
from kdviz.figures.cost import accuracy_against_cost, entry_title
from kdviz.figures.faithfulness import faithfulness_curves, faithfulness_points
from kdviz.figures.maps import (
    NEGATIVE,
    POSITIVE,
    colour_centre,
    colour_limit,
    comparison,
    difference_to_teacher,
)
from kdviz.figures.roles import (
    ROLE_COLOURS,
    ROLE_SYMBOLS,
    ROLE_TITLES,
    role_colour,
    role_dash,
    role_symbol,
    role_title,
)
from kdviz.figures.soft_targets import entropy_against_temperature, soft_target_bars
from kdviz.figures.studies.losses import accuracy_and_agreement
from kdviz.figures.studies.search import search_front, search_history, search_importance
from kdviz.figures.studies.search_coordinates import search_coordinates
from kdviz.figures.studies.shifts import shares_against_severity
from kdviz.figures.studies.shortcuts import shortcut_use
from kdviz.figures.studies.sweeps import against_value, value_title
from kdviz.figures.studies.transfer import layer_likeness
from kdviz.figures.studies.tree import accuracy_against_depth, tree_title, weight_picture
from kdviz.figures.training_curves import curves

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "ROLE_COLOURS",
    "ROLE_SYMBOLS",
    "ROLE_TITLES",
    "Chart",
    "accuracy_against_cost",
    "accuracy_against_depth",
    "accuracy_and_agreement",
    "against_value",
    "agreement_distribution",
    "claim_and_controls",
    "colour_centre",
    "colour_limit",
    "comparison",
    "curves",
    "difference_to_teacher",
    "effect_against_value",
    "entropy_against_temperature",
    "entry_title",
    "faithfulness_curves",
    "faithfulness_points",
    "layer_likeness",
    "role_colour",
    "role_dash",
    "role_symbol",
    "role_title",
    "search_coordinates",
    "search_front",
    "search_history",
    "search_importance",
    "shares_against_severity",
    "shortcut_use",
    "soft_target_bars",
    "tree_title",
    "value_title",
    "weight_picture",
]

_FILE_FUNCTIONS: dict[str, tuple[Chart, int]] = {
    "accuracy_against_cost_file": (accuracy_against_cost, 3),
    "against_value_file": (against_value, 3),
    "agreement_distribution_file": (agreement_distribution, 1),
    "claim_and_controls_file": (claim_and_controls, 1),
    "comparison_file": (comparison, 1),
    "curves_file": (curves, 2),
    "effect_against_value_file": (effect_against_value, 1),
    "faithfulness_curves_file": (faithfulness_curves, 1),
    "softened_file": (soft_target_bars, 3),
}
"""Functions of earlier versions -> the chart whose file they made, and the position of the argument for its kind."""


def __getattr__(name: str) -> Callable[..., Any]:
    """Return the functions of earlier versions, for one more release."""
    if name == "softened_bars":
        warn_renamed(f"{__name__}.{name}", "soft_target_bars")
        return soft_target_bars
    if name not in _FILE_FUNCTIONS:
        raise AttributeError(f"module 'kdviz.figures' has no attribute '{name}'")
    chart, position = _FILE_FUNCTIONS[name]
    new = getattr(chart, "__name__", "")
    warnings.warn(f"kdviz.figures.{name} is now kdviz.figures.{new}.file", DeprecationWarning, stacklevel=2)

    def file(*args: Any, **options: Any) -> bytes:
        if "kind" in options:
            return chart.file(options.pop("kind"), *args, **options)
        return chart.file(args[position], *args[:position], *args[position + 1 :], **options)

    return file
