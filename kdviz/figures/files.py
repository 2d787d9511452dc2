"""PNG and SVG files by Matplotlib: no browser is needed for them."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING

from kdviz.errors import UnknownNameError
from kdviz.language import language

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg")
_FONTS = {
    "zh_CN": (
        "Noto Sans CJK SC",
        "Source Han Sans SC",
        "PingFang SC",
        "Microsoft YaHei",
        "WenQuanYi Zen Hei",
        "WenQuanYi Micro Hei",
        "SimHei",
        "Arial Unicode MS",
    )
}
"""Language -> fonts that can write it, on some system or other. Matplotlib's own one can't."""


def new_picture(width: float, height: float, kind: str) -> Figure:
    """An empty figure of a size in inches.

    Raises:
        UnknownNameError: ``kind`` is neither ``png`` nor ``svg``.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if kind not in KINDS:
        raise UnknownNameError("picture format", kind, KINDS)
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", *_installed_fonts(language())]
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def can_write() -> bool:
    """Whether this machine has a font for the page's language; if not, files are better in English."""
    return language() not in _FONTS or bool(_installed_fonts(language()))


@lru_cache(maxsize=8)
def _installed_fonts(name: str) -> tuple[str, ...]:
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(font for font in _FONTS.get(name, ()) if font in known)[:1]


def picture_file(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()
