"""A griffe extension for two habits of the docstrings that Markdown and griffe do not know.

Code is named as ``:func:`kdviz.explain```; arguments that share a description are written as ``first, second: ...``.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

ROLE = re.compile(r":(?:mod|func|class|meth|attr|data):`(~?)([^`]+)`")
SHARED = re.compile(r"^ {4}((?:\w+, )+\w+):(.*(?:\n {8,}.*)*)", re.MULTILINE)


class Docstrings(Extension):
    """Turns roles into code, and a shared description into one for each name."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = SHARED.sub(_for_each, ROLE.sub(_as_code, obj.docstring.value))


def _as_code(match: re.Match[str]) -> str:
    short, name = match.groups()
    return f"`{name.rpartition('.')[2] if short else name}`"


def _for_each(match: re.Match[str]) -> str:
    names, text = match.groups()
    return "\n".join(f"    {name}:{text}" for name in names.split(", "))
