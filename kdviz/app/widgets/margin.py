"""The margin within which two accuracies count as equal: a field on Overview, in the address of every page with a
verdict."""

from __future__ import annotations

import math

import streamlit as st

from kdviz.app import address
from kdviz.app.texts import say_error
from kdviz.core.language import _
from kdviz.studies.comparison.judgement import Margins

NAME = "margin"
"""In the address: points of accuracy."""

_LEAST, _MOST = 0.01, 20.0
_USUAL = 100 * Margins().accuracy


def margins() -> Margins:
    """Those that the address or the session asks for; what is no margin is said and replaced by the default."""
    asked = _asked()
    address.keep(NAME, f"{asked:g}", f"{_USUAL:g}")
    return Margins(accuracy=asked / 100)


def field() -> Margins:
    """Let the reader set it."""
    chosen = st.number_input(
        _("Equal within (points)"),
        _LEAST,
        _MOST,
        step=0.1,
        format="%.2f",
        key=address.begin("margin-points", _asked()),
        help=_(
            "Two accuracies count as equal when the whole 90 % interval of their difference lies within this many "
            "points (two one-sided tests at 5 %), and as different when the 95 % interval excludes zero. The number of "
            "samples that would decide is for 4 of 5 cases, were the shares as they were measured."
        ),
        width=170,
    )
    address.keep(NAME, f"{chosen:g}", f"{_USUAL:g}")
    return Margins(accuracy=chosen / 100)


def _asked() -> float:
    value = address.read(NAME, f"{_USUAL:g}")
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
            default=f"{_USUAL:g}",
        )
    )
    address.keep(NAME, f"{_USUAL:g}", f"{_USUAL:g}")
    return _USUAL
