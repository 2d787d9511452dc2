"""Messages of other libraries in one line."""

from __future__ import annotations


def first_line(error: Exception) -> str:
    """The first line of an error's text."""
    return str(error).strip().partition("\n")[0]
