"""PNG and SVG files by Matplotlib, which needs no browser."""

from __future__ import annotations

import io
import logging
from functools import lru_cache
from typing import TYPE_CHECKING

from kdviz.core.errors import UnknownNameError
from kdviz.core.language import language

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
"""Language -> fonts of several systems that can write it, which Matplotlib's own font cannot."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height are in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def check_kind(kind: str) -> None:
    """Check that a kind of file is known.

    Raises:
        UnknownNameError: ``kind`` is neither ``png`` nor ``svg``.
    """
    if kind not in KINDS:
        raise UnknownNameError("picture format", kind, KINDS)


def can_write() -> bool:
    """Whether this machine has a font for the page's language; without one, files are written in English."""
    return language() not in _FONTS or bool(_installed_fonts(language()))


@lru_cache(maxsize=8)
def _installed_fonts(name: str) -> tuple[str, ...]:
    from matplotlib import font_manager

    installed = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(font for font in _FONTS.get(name, ()) if font in installed)[:1]


def file_bytes(figure: Figure, kind: str) -> bytes:
    """The bytes of the figure's file, of a kind in :data:`KINDS`."""
    _set_fonts(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a message of Matplotlib's fonts says more than that a font has no normal weight, which no reader sees."""
    return not record.getMessage().startswith("findfont: Failed to find font weight")


def _set_fonts(figure: Figure) -> None:
    """Set fonts for all languages, since names of classes may be in another language than the page.

    They are set on each text, not in Matplotlib's ``rcParams``, which all threads of the process share.
    """
    from matplotlib.text import Text

    logging.getLogger("matplotlib.font_manager").addFilter(_is_of_use)  # which adds it once
    families = ["DejaVu Sans", *(font for name in _FONTS for font in _installed_fonts(name))]
    for text in figure.findobj(Text):
        text.set_fontfamily(families)  # pyright: ignore[reportAttributeAccessIssue]
