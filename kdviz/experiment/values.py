"""Bounds of what experiment.json may hold: numbers that every computation takes, and texts that every output takes.

JSON allows a whole number of any length, a text with half of a character (a lone surrogate, which no file in UTF-8 can
hold) and lists inside lists without an end. Pages, tables and figures would each fail on them in their own way.
"""

from __future__ import annotations

import re
from typing import Any

from kdviz.core.errors import Sentence

MOST_RUNS = 50
"""Runs of an experiment: more cannot be told apart side by side, and each costs a map."""
MOST_CLASSES = 100_000
"""Classes of an experiment; ImageNet-21k has 21,841."""
SHORT, LONG = 200, 10_000
"""Characters of a name, and of a text for people or of a path."""
LARGEST = 10**15
"""The largest size of a number; every whole number up to it is a float, too."""

_DEPTH, _VALUES = 6, 20_000  # of a record: lists inside lists, and values in all
# Half characters, what XML cannot hold, and what moves a terminal's cursor; line breaks and tabs are read apart.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_BREAKS = re.compile("[\t\n\r\u2028\u2029]")


def is_number(value: object, low: float = -LARGEST, high: float = LARGEST) -> bool:
    """Whether a value is a finite number between two bounds, both included; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def is_whole(value: object, low: int = 0, high: int = LARGEST) -> bool:
    """Whether a value is a whole number between two bounds, both included."""
    return type(value) is int and low <= value <= high


def text_problem(value: str, most: int, *, one_line: bool = True) -> Sentence | None:
    """Why a text cannot be taken; None where it can.

    Args:
        value: The text.
        most: The most characters it may have.
        one_line: Whether tabs and line breaks are refused.
    """
    if len(value) > most:
        return Sentence("must have at most {most} characters", most=most)
    if _UNFIT.search(value) or (one_line and _BREAKS.search(value)):
        return Sentence("has a character that cannot be shown, such as a control character or half of a pair")
    return None


def is_name(value: object, most: int = SHORT) -> bool:
    """Whether a value is a text of one line that can be shown; it may be empty."""
    return isinstance(value, str) and text_problem(value, most) is None


def shown(text: str) -> str:
    """A text of a file, such as the name of a field, as any output takes it."""
    return _BREAKS.sub(" ", _UNFIT.sub("?", text))[:SHORT]


def record_problem(record: Any) -> tuple[str, Sentence] | None:
    """The first value of a record that is out of bounds: its place in the record, and why; None: all are fine.

    Args:
        record: A value as it came from JSON.
    """
    waiting: list[tuple[str, int, Any]] = [("", 0, record)]
    for count in range(_VALUES):
        if not waiting:
            return None
        place, depth, value = waiting.pop()
        problem = _value_problem(value, depth)
        if problem is not None:
            return place, problem
        waiting += _parts(place, depth, value)
        if count + len(waiting) > _VALUES:
            break
    return "", Sentence("must hold at most {most} values", most=_VALUES)


def _value_problem(value: Any, depth: int) -> Sentence | None:
    if isinstance(value, str):
        return text_problem(value, LONG, one_line=False)
    if isinstance(value, (dict, list)):
        return Sentence("must not be nested more than {most} times", most=_DEPTH) if depth > _DEPTH else _keys(value)
    if value is None or isinstance(value, bool) or is_number(value):
        return None
    return Sentence("must be a finite number of at most 10^15 in size")


def _keys(value: dict | list) -> Sentence | None:
    """What is wrong with the names of an object's fields."""
    names = value if isinstance(value, dict) else ()
    return next(filter(None, (text_problem(name, SHORT) for name in names)), None)


def _parts(place: str, depth: int, value: Any) -> list[tuple[str, int, Any]]:
    if isinstance(value, dict):
        return [(f"{place}.{name}", depth + 1, part) for name, part in value.items()]
    if isinstance(value, list):
        return [(f"{place}[{number}]", depth + 1, part) for number, part in enumerate(value)]
    return []
