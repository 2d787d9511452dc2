"""Data in, figure out: Plotly for pages and HTML files, Matplotlib for PNG and SVG files (no browser needed)."""

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
from kdviz.figures.studies import against_value, against_value_file, curves, curves_file, value_title

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "ROLE_COLOURS",
    "ROLE_SYMBOLS",
    "ROLE_TITLES",
    "against_value",
    "against_value_file",
    "colour_centre",
    "colour_limit",
    "comparison",
    "comparison_file",
    "curves",
    "curves_file",
    "difference_to_teacher",
    "entropy_against_temperature",
    "role_colour",
    "role_dash",
    "role_symbol",
    "role_title",
    "softened_bars",
    "softened_file",
    "value_title",
]
