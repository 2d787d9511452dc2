"""Thumbnails: a strip to choose one from, and pages of a long list with marks, keyboard and an open one.

A page's pictures travel as one sheet. Sheets are made when they are asked for, kept for all sessions, and the next
page's is made ahead while a person looks at this one.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image

from kdviz.app.samples import SampleCache, SampleView
from kdviz.app.widgets.component import component
from kdviz.core.language import _

_SOFT = 64  # pixels of a picture from which it is drawn smoothly
_SHARPNESS = 1.34  # pixels of a thumbnail in the sheet for one on the page

_QUALITY = 82  # of JPEG
_SHEETS = 64  # kept of each experiment

_kept: SampleCache[dict[str, Any]] = SampleCache(_SHEETS)
_ahead = ThreadPoolExecutor(1, thread_name_prefix="kdviz-thumbnails")


@dataclass(frozen=True)
class GalleryPage:
    """Which part of a list is shown.

    Attributes:
        number: From 1.
        of: How many there are.
    """

    number: int
    of: int


def gallery(
    shown: SampleView,
    places: Sequence[int],
    items: Sequence[Mapping[str, Any]],
    *,
    key: str,
    label: str,
    thumb: int,
    selected: int | None = None,
    shared: bool = True,
) -> int | None:
    """A strip of the samples at some places; returns the ``id`` of the one that was just clicked, once.

    A person's own pictures are not ``shared``: nothing of them is kept for other sessions.
    """
    sheet = _sheet if shared else _new_sheet
    data = {**sheet(shown, tuple(map(int, places)), thumb), "items": list(items), "label": label, "thumb": thumb}
    result = component("gallery")(
        data={**data, "strip": True, "selected": selected}, key=key, on_picked_change=lambda: None
    )
    return None if result.picked is None else int(result.picked)


def grid(
    shown: SampleView,
    places: Sequence[int],
    items: Sequence[Mapping[str, Any]],
    page: GalleryPage,
    *,
    key: str,
    label: str,
    thumb: int,
    initial: Mapping[str, Any],
    legend: Sequence[Mapping[str, str]],
    most: int,
    on: Mapping[str, Callable[[], None]],
) -> None:
    """A page of a list. What happens to it is told to ``on``, by name, with the value in the session's ``key``.

    Args:
        shown: Whose samples.
        places: Of the samples on this page.
        items: Of each: id, alt, label, lines.
        page: Which one it is.
        key: Of the piece.
        label: What the list is.
        thumb: Pixels of a thumbnail.
        initial: The open sample and the selection when the page was drawn, with a stamp; until that changes, the
            browser knows better.
        legend: Of the lines: colour, symbol, title.
        most: How many can be selected.
        on: ``turned`` (to a page), ``opened`` (an id; -1: none), ``marked`` (ids), ``picked`` (an id) and
            ``compared`` (the marked ones).
    """
    data = {
        **_sheet(shown, tuple(map(int, places)), thumb),
        "items": list(items),
        "label": label,
        "thumb": thumb,
        "strip": False,
        "page": page.number,
        "pages": page.of,
        "initial": dict(initial),
        "legend": list(legend),
        "most": most,
        "texts": _texts(),
    }
    callbacks = {f"on_{name}_change": function for name, function in on.items()}
    component("gallery")(data=data, key=key, **callbacks)


def make_ahead(shown: SampleView, places: Sequence[int], thumb: int) -> None:
    """Make the sheet of a page that may be wanted soon, in the background."""
    if len(places):
        _ahead.submit(_sheet, shown, tuple(map(int, places)), thumb)


def _sheet(shown: SampleView, places: tuple[int, ...], thumb: int) -> dict[str, Any]:
    return _kept.get(shown, (places, thumb), lambda: _new_sheet(shown, places, thumb))


def _new_sheet(shown: SampleView, places: tuple[int, ...], thumb: int) -> dict[str, Any]:
    columns = max(1, math.isqrt(max(0, len(places) - 1)) + 1)
    content, kind = sprite(shown, places, columns, round(_SHARPNESS * thumb))
    return {
        "sprite": f"data:{kind};base64,{base64.b64encode(content).decode()}",
        "columns": columns,
        "rows": -(-len(places) // columns),
        "soft": min(shown.picture(places[0]).size) >= _SOFT if places else False,
    }


def sprite(shown: SampleView, places: Sequence[int], columns: int, side: int) -> tuple[bytes, str]:
    """Small pictures of samples in one file: its content and media type.

    Args:
        shown: Whose samples.
        places: Of the samples, row by row.
        columns: In a row.
        side: The longest, in pixels, of a small picture.
    """
    pictures = shown.pictures(places)
    for picture in pictures:
        picture.thumbnail((side, side))
    width, height = pictures[0].size
    sheet = Image.new(pictures[0].mode, (columns * width, -(-len(places) // columns) * height))
    for place, picture in enumerate(pictures):
        sheet.paste(picture, ((place % columns) * width, (place // columns) * height))
    buffer = io.BytesIO()
    kind = "PNG" if sheet.mode == "L" else "JPEG"
    sheet.save(buffer, kind, quality=_QUALITY)
    return buffer.getvalue(), f"image/{kind.lower()}"


def _texts() -> dict[str, str]:
    """What gallery.js says; {places} are filled there."""
    return {
        "previous": _("Previous page"),
        "next": _("Next page"),
        "page": _("Page"),
        "of": _("of {pages}"),
        "markAll": _("Select this page"),
        "unmarkAll": _("Unselect this page"),
        "marked": _("{count} selected"),
        "full": _("No more than {most} can be selected."),
        "compare": _("Compare these"),
        "clear": _("Clear the selection"),
        "hint": _("Arrows move, Enter opens in Compare, Space selects, Page Up and Page Down turn, Escape closes."),
    }
