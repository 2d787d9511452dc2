"""A figure in two forms: interactive, for pages and HTML files, and static, for picture files."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec

import plotly.graph_objects as go

from kdviz.core.language import ENGLISH, language, speaking
from kdviz.figures.files import can_write, check_kind, file_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")


class Chart(Generic[P]):
    """A figure that is drawn from data in two forms, from the same arguments.

    Calling it gives the interactive form, a Plotly figure; :meth:`html` and :meth:`file` give files of either form.

    Args:
        interactive: The function that draws with Plotly; its name, signature and docstring become the chart's.

    >>> @Chart
    ... def line(values):
    ...     return go.Figure(go.Scatter(y=values))
    >>> @line.file_form
    ... def draw_line(values):
    ...     from kdviz.figures.files import new_figure
    ...     figure = new_figure(2, 1)
    ...     figure.subplots().plot(values)
    ...     return figure
    >>> line([1, 2]).data[0].y
    (1, 2)
    >>> line.file("png", [1, 2])[1:4]
    b'PNG'
    """

    def __init__(self, interactive: Callable[P, go.Figure]):
        self._interactive = interactive
        self._static: Callable[..., Figure] | None = None
        update_wrapper(self, interactive)

    def file_form(self, draw: Callable[..., Figure]) -> Callable[..., Figure]:
        """Decorator of the function that draws the file form, with Matplotlib, from the same arguments."""
        self._static = draw
        return draw

    def __call__(self, *args: P.args, **options: P.kwargs) -> go.Figure:
        """Draw the interactive form."""
        return self._interactive(*args, **options)

    def html(self, *args: P.args, **options: P.kwargs) -> str:
        """The interactive form as an HTML document that opens without a network."""
        return self._interactive(*args, **options).to_html()

    def file(self, kind: str, *args: Any, **options: Any) -> bytes:
        """The bytes of the file form, in English where no font of this machine can write the language in use.

        Args:
            kind: ``png`` or ``svg``.
            *args: The data, as for the interactive form.
            **options: Further arguments of the interactive form.

        Raises:
            UnknownNameError: The kind is neither of these.
        """
        check_kind(kind)
        assert self._static is not None, f"{self!r} has no file form"
        with speaking(language() if can_write() else ENGLISH):
            return file_bytes(self._static(*args, **options), kind)

    def __repr__(self) -> str:
        return f"<Chart {getattr(self, '__name__', '')}>"
