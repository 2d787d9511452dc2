"""Data in, figure out: Plotly for pages and HTML files, Matplotlib for PNG and SVG files (no browser needed)."""

from kdviz.figures.attention import (
    agreement_distribution,
    agreement_distribution_file,
    claim_and_controls,
    claim_and_controls_file,
    effect_against_value,
    effect_against_value_file,
)
from kdviz.figures.cost import accuracy_against_cost, accuracy_against_cost_file, entry_title
from kdviz.figures.faithfulness import faithfulness_curves, faithfulness_curves_file, faithfulness_points
from kdviz.figures.maps import (
    NEGATIVE,
    POSITIVE,
    colour_centre,
    colour_limit,
    comparison,
    comparison_file,
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
from kdviz.figures.softened import entropy_against_temperature, softened_bars, softened_file
from kdviz.figures.studies import against_value, against_value_file, value_title
from kdviz.figures.training_curves import curves, curves_file

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "ROLE_COLOURS",
    "ROLE_SYMBOLS",
    "ROLE_TITLES",
    "accuracy_against_cost",
    "accuracy_against_cost_file",
    "against_value",
    "against_value_file",
    "agreement_distribution",
    "agreement_distribution_file",
    "claim_and_controls",
    "claim_and_controls_file",
    "colour_centre",
    "colour_limit",
    "comparison",
    "comparison_file",
    "curves",
    "curves_file",
    "difference_to_teacher",
    "effect_against_value",
    "effect_against_value_file",
    "entropy_against_temperature",
    "entry_title",
    "faithfulness_curves",
    "faithfulness_curves_file",
    "faithfulness_points",
    "role_colour",
    "role_dash",
    "role_symbol",
    "role_title",
    "softened_bars",
    "softened_file",
    "value_title",
]
