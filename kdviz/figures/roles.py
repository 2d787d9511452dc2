"""How a model looks in every figure: its title, colour, symbol and dash: colour is never the only difference."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from kdviz.core.language import N_, _

ROLE_COLOURS = {"teacher": "#0072B2", "kd_student": "#009E73", "student": "#D55E00"}
"""Of the Okabe-Ito palette, which people with any colour vision can tell apart."""

FURTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#8C6BB1", "#5B6770", "#8B4513", "#1B7F7A", "#808000")
ROLE_TITLES = {"teacher": N_("Teacher"), "kd_student": N_("KD student"), "student": N_("Student alone")}
ROLE_SYMBOLS = {"teacher": "square", "kd_student": "circle", "student": "diamond"}
ROLE_DASHES = {"teacher": "dash", "kd_student": "solid", "student": "dot"}
ROLE_PATTERNS = {"teacher": "", "kd_student": "/", "student": "."}


_given: ContextVar[Mapping[str, str] | None] = ContextVar("titles", default=None)
_asked: list[Callable[[], Mapping[str, str]]] = []
_NO_TITLES: Mapping[str, str] = {}


def titles_of(runs: Mapping[str, Any]) -> dict[str, str]:
    """Role -> title of the runs of an experiment, in their order; empty for a run that has none."""
    return {role: run.title for role, run in runs.items()}


@contextmanager
def titled(titles: Mapping[str, str]) -> Iterator[None]:
    """Within this block models are called so: role -> title."""
    token = _given.set(titles)
    try:
        yield
    finally:
        _given.reset(token)


def follow_titles(ask: Callable[[], Mapping[str, str]]) -> None:
    """Ask for the titles of the experiment in view, role -> title, where no :func:`titled` says them."""
    _asked[:] = [ask]


def _titles() -> Mapping[str, str]:
    given = _given.get()
    if given is not None:
        return given
    return _asked[0]() if _asked else _NO_TITLES


def role_colour(role: str) -> str:
    """The colour of a role.

    A further role of the experiment in view has the first of a few that no earlier one has; of others it is always the
    same, by its name.
    """
    return ROLE_COLOURS.get(role) or FURTHER_COLOURS[_number(role) % len(FURTHER_COLOURS)]


def role_title(role: str) -> str:
    """What people call a model: the title that the experiment in view gives it, else what its role is called in their
    language; a further role's name is its own."""
    title = _titles().get(role)
    if title:
        return title
    return _(ROLE_TITLES[role]) if role in ROLE_TITLES else role.replace("_", " ")


def role_symbol(role: str) -> str:
    return ROLE_SYMBOLS.get(role, "square")


def role_dash(role: str) -> str:
    return ROLE_DASHES.get(role, "dashdot")


def _number(role: str) -> int:
    """Which of the further roles it is: by its place among those of the experiment in view, else by its name."""
    further = [one for one in _titles() if one not in ROLE_TITLES]
    return further.index(role) if role in further else zlib.crc32(role.encode())


def label(text: str) -> str:
    """A text from a user or a file for Plotly, which reads some HTML: nothing in it has a meaning."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
