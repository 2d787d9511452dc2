"""The title, colour, symbol and dash of a model in every figure; colour is never the only difference."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from kdviz.core.language import N_, _
from kdviz.core.vocabulary import Role

ROLE_COLOURS: Mapping[str, str] = {Role.TEACHER: "#0072B2", Role.KD_STUDENT: "#009E73", Role.STUDENT: "#D55E00"}
"""Colours of the Okabe-Ito palette, which people with any colour vision can tell apart."""

FURTHER_COLOURS = ("#CC79A7", "#56B4E9", "#E69F00", "#8C6BB1", "#5B6770", "#8B4513", "#1B7F7A", "#808000")
ROLE_TITLES: Mapping[str, str] = {
    Role.TEACHER: N_("Teacher"),
    Role.KD_STUDENT: N_("KD student"),
    Role.STUDENT: N_("Student alone"),
}
ROLE_SYMBOLS: Mapping[str, str] = {Role.TEACHER: "square", Role.KD_STUDENT: "circle", Role.STUDENT: "diamond"}
ROLE_DASHES: Mapping[str, str] = {Role.TEACHER: "dash", Role.KD_STUDENT: "solid", Role.STUDENT: "dot"}
ROLE_PATTERNS: Mapping[str, str] = {Role.TEACHER: "", Role.KD_STUDENT: "/", Role.STUDENT: "."}


_titles_of_block: ContextVar[Mapping[str, str] | None] = ContextVar("titles", default=None)
_title_sources: list[Callable[[], Mapping[str, str]]] = []
_NO_TITLES: Mapping[str, str] = {}


def titles_of(runs: Mapping[str, Any]) -> dict[str, str]:
    """Role -> title of the runs of an experiment, in their order; empty for a run without one."""
    return {role: run.title for role, run in runs.items()}


@contextmanager
def titled(titles: Mapping[str, str]) -> Iterator[None]:
    """Use these titles, role -> title, within the block."""
    token = _titles_of_block.set(titles)
    try:
        yield
    finally:
        _titles_of_block.reset(token)


def follow_titles(get_titles: Callable[[], Mapping[str, str]]) -> None:
    """Set the function that returns the titles of the experiment in view, role -> title, outside of :func:`titled`."""
    _title_sources[:] = [get_titles]


def _titles() -> Mapping[str, str]:
    titles = _titles_of_block.get()
    if titles is not None:
        return titles
    return _title_sources[0]() if _title_sources else _NO_TITLES


def role_colour(role: str) -> str:
    """The colour of a role.

    Further roles of the experiment in view take the further colours in their order; any other role has a fixed one, by
    its name.
    """
    return ROLE_COLOURS.get(role) or FURTHER_COLOURS[_number(role) % len(FURTHER_COLOURS)]


def role_title(role: str) -> str:
    """The title of a model for people.

    It is the one that the experiment in view gives it, or else that of its role in the reader's language, or else the
    role's name.
    """
    title = _titles().get(role)
    if title:
        return title
    return _(ROLE_TITLES[role]) if role in ROLE_TITLES else role.replace("_", " ")


def role_symbol(role: str) -> str:
    return ROLE_SYMBOLS.get(role, "square")


def role_dash(role: str) -> str:
    return ROLE_DASHES.get(role, "dashdot")


def _number(role: str) -> int:
    """A number for a further role: its position among those of the experiment in view, or else one by its name."""
    further = [other for other in _titles() if other not in ROLE_TITLES]
    return further.index(role) if role in further else zlib.crc32(role.encode())


def label(text: str) -> str:
    """A text from a user or a file, escaped for Plotly, which interprets some HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;")
