"""The parser of the command line: argparse's, which also refuses empty texts and suggests names."""

from __future__ import annotations

import argparse
from typing import Any

from kdviz.core.errors import nearest


class Parser(argparse.ArgumentParser):
    """A parser whose arguments, where they are given, are not empty, and whose choices are suggested.

    An empty text is nearly always a variable of a shell that is not set: ``--temperature=$T``.
    """

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        own = arg_strings[:1] if action.nargs == argparse.PARSER else arg_strings  # the others are the command's
        for text in own:
            if not text.strip():
                raise argparse.ArgumentError(action, "is given an empty text; leave it away, or give it a value")
        return super()._get_values(action, arg_strings)  # type: ignore[misc]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        further = getattr(action.choices, "suggested", list)
        close = ", ".join(map(repr, nearest(str(value), names) or nearest(str(value), further())))
        suggestion = f" Did you mean {close}?" if close else ""
        raise argparse.ArgumentError(action, f"unknown name {str(value)!r}.{suggestion} Known: {', '.join(names)}")
