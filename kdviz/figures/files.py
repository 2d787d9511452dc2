"""PNG and SVG files by Matplotlib: no browser is needed for them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from kdviz.errors import UnknownNameError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg")


def new_picture(width: float, height: float, kind: str) -> Figure:
    """An empty figure of a size in inches.

    Raises:
        UnknownNameError: ``kind`` is neither ``png`` nor ``svg``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if kind not in KINDS:
        raise UnknownNameError("picture format", kind, KINDS)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def picture_file(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
