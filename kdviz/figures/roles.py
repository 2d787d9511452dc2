"""How a model looks in every figure: its title, colour, symbol and dash: colour is never the only difference."""

from __future__ import annotations

import zlib

from kdviz.language import N_, _

ROLE_COLOURS = {"teacher": "#0072B2", "kd_student": "#009E73", "student": "#D55E00"}
"""Of the Okabe-Ito palette, which people with any colour vision can tell apart."""

FURTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#8C6BB1")
ROLE_TITLES = {"teacher": N_("Teacher"), "kd_student": N_("KD student"), "student": N_("Student alone")}
ROLE_SYMBOLS = {"teacher": "square", "kd_student": "circle", "student": "diamond"}
ROLE_DASHES = {"teacher": "dash", "kd_student": "solid", "student": "dot"}
ROLE_PATTERNS = {"teacher": "", "kd_student": "/", "student": "."}


def role_colour(role: str) -> str:
    """The colour of a role; a further role always gets the same of a few, by its name."""
    return ROLE_COLOURS.get(role) or FURTHER_COLOURS[zlib.crc32(role.encode()) % len(FURTHER_COLOURS)]


def role_title(role: str) -> str:
    """What people call a role, in their language; a further role's name is its own."""
    return _(ROLE_TITLES[role]) if role in ROLE_TITLES else role.replace("_", " ")


def role_symbol(role: str) -> str:
    return ROLE_SYMBOLS.get(role, "square")


def role_dash(role: str) -> str:
    return ROLE_DASHES.get(role, "dashdot")


def label(text: str) -> str:
    """A text from a user or a file for Plotly, which reads some HTML: nothing in it has a meaning."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
