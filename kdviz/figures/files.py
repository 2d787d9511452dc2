"""PNG and SVG files by Matplotlib: no browser is needed for them."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache, wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from kdviz.core.errors import UnknownNameError
from kdviz.core.language import ENGLISH, language, speaking

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
T = TypeVar("T")
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
    # Of all languages: names of classes may be in another one than the page.
    fonts = [font for name in _FONTS for font in _installed_fonts(name)]
    matplotlib.rcParams["font.family"] = ["DejaVu Sans", *fonts]
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def writable(draw: Callable[P, T]) -> Callable[P, T]:
    """Make a function that draws a file write it in English where no font here can write the page's language."""

    @wraps(draw)
    def drawn(*args: P.args, **more: P.kwargs) -> T:
        with speaking(language() if can_write() else ENGLISH):
            return draw(*args, **more)

    return drawn


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
