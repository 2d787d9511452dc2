"""The margin within which two accuracies count as equal.

Its field is on the page Overview; it is in the address of every page with a verdict.
"""

from __future__ import annotations

import math

import streamlit as st

from kdviz.app import address
from kdviz.app.texts import say_error
from kdviz.core.language import _
from kdviz.studies.comparison.judgement import Margins

NAME = "margin"
"""Name in the address; the value is in points of accuracy."""

_LEAST, _MOST = 0.01, 20.0
_DEFAULT = 100 * Margins().accuracy


def margins() -> Margins:
    """The margins that the address or the session requests; an invalid one is reported and replaced by the default."""
    points = _requested_points()
    address.keep(NAME, f"{points:g}", f"{_DEFAULT:g}")
    return Margins(accuracy=points / 100)


def number_field() -> Margins:
    """Show the field for the margin, and return the margins."""
    points = st.number_input(
        _("Equal within (points)"),
        _LEAST,
        _MOST,
        step=0.1,
        format="%.2f",
        key=address.widget_key("margin-points", _requested_points()),
        help=_(
            "Two accuracies count as equal when the whole 90 % interval of their difference lies within this many "
            "points (two one-sided tests at 5 %), and as different when the 95 % interval excludes zero. The number of "
            "samples that would decide is for 4 of 5 cases, were the shares as they were measured."
        ),
        width=170,
    )
    address.keep(NAME, f"{points:g}", f"{_DEFAULT:g}")
    return Margins(accuracy=points / 100)


def _requested_points() -> float:
    value = address.read(NAME, f"{_DEFAULT:g}")
    try:
        points = float(value)
    except ValueError:
        points = math.nan
    if _LEAST <= points <= _MOST:
        return points
    say_error(
        _(
            "'{value}' in the page's address is no margin in points of accuracy, from {least} to {most}; '{default}' "
            "is used instead.",
            value=value[:40],
            least=f"{_LEAST:g}",
            most=f"{_MOST:g}",
            default=f"{_DEFAULT:g}",
        )
    )
    address.keep(NAME, f"{_DEFAULT:g}", f"{_DEFAULT:g}")
    return _DEFAULT
