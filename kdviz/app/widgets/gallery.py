"""Thumbnails: a strip to choose from, and the pages of a long list with a selection, keyboard control and an open item.

The pictures of a page are sent as one sheet. Sheets are made on demand and kept for all sessions; that of the next page
is made while a person looks at this one.
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

_SOFT = 64  # pixels of a side from which a picture is drawn smoothly
_SHARPNESS = 1.34  # pixels of a thumbnail in the sheet for each pixel on the page

_QUALITY = 82  # of JPEG files
_MOST_SHEETS = 64  # that are kept for each view of samples

_sheets: SampleCache[dict[str, Any]] = SampleCache(_MOST_SHEETS)
_executor = ThreadPoolExecutor(1, thread_name_prefix="kdviz-thumbnails")


@dataclass(frozen=True)
class GalleryPage:
    """The part of a list that is shown.

    Attributes:
        number: Number of the page, from 1.
        count: Number of pages.
    """

    number: int
    count: int


def gallery(
    samples: SampleView,
    indices: Sequence[int],
    items: Sequence[Mapping[str, Any]],
    *,
    key: str,
    label: str,
    thumb: int,
    selected: int | None = None,
    shared: bool = True,
) -> int | None:
    """Show a strip of samples.

    Args:
        samples: The samples.
        indices: Indices of those in the strip.
        items: For each of them: id, alt, label.
        key: Key of the component.
        label: Name of the strip for a screen reader.
        thumb: Pixels of a thumbnail.
        selected: The id of the selected item.
        shared: Whether the sheet is kept for other sessions; not that of a person's own pictures.

    Returns:
        The id of the item that was just clicked, once; None otherwise.
    """
    sheet = _sheet if shared else _new_sheet
    data = {**sheet(samples, tuple(map(int, indices)), thumb), "items": list(items), "label": label, "thumb": thumb}
    result = component("gallery")(
        data={**data, "strip": True, "selected": selected}, key=key, on_picked_change=lambda: None
    )
    return None if result.picked is None else int(result.picked)


def grid(
    samples: SampleView,
    indices: Sequence[int],
    items: Sequence[Mapping[str, Any]],
    page: GalleryPage,
    *,
    key: str,
    label: str,
    thumb: int,
    initial: Mapping[str, Any],
    opened: int,
    legend: Sequence[Mapping[str, str]],
    max_selected: int,
    on: Mapping[str, Callable[[], None]],
) -> None:
    """Show a page of a list. Events call the functions in ``on``, with their values in the session state's ``key``.

    Args:
        samples: The samples.
        indices: Indices of those on this page.
        items: For each of them: id, alt, label, lines.
        page: The page.
        key: Key of the component.
        label: Name of the list for a screen reader.
        thumb: Pixels of a thumbnail.
        initial: The open sample and the selection when the page was drawn, with a stamp. While the stamp is the
            same, the state in the browser is newer.
        opened: The open sample as the server knows it by now; -1: none.
        legend: Colour, symbol and title of the lines.
        max_selected: Largest number of selected samples.
        on: Functions for ``turned`` (number of the page), ``opened`` (an id; -1: none), ``marked`` (the selected ids),
            ``picked`` (an id to open in Compare) and ``compared`` (ids to open there).
    """
    data = {
        **_sheet(samples, tuple(map(int, indices)), thumb),
        "items": list(items),
        "label": label,
        "thumb": thumb,
        "blank": not samples.has_pictures,
        "strip": False,
        "page": page.number,
        "pages": page.count,
        "initial": dict(initial),
        "open": opened,
        "legend": list(legend),
        "most": max_selected,
        "texts": _texts(samples.has_pictures),
    }
    callbacks = {f"on_{name}_change": function for name, function in on.items()}
    component("gallery")(data=data, key=key, **callbacks)


def prepare_sheet(samples: SampleView, indices: Sequence[int], thumb: int) -> None:
    """Make the sheet of a page that may be needed soon, in the background."""
    if len(indices):
        _executor.submit(_sheet, samples, tuple(map(int, indices)), thumb)


def _sheet(samples: SampleView, indices: tuple[int, ...], thumb: int) -> dict[str, Any]:
    return _sheets.get(samples, (indices, thumb), lambda: _new_sheet(samples, indices, thumb))


def _new_sheet(samples: SampleView, indices: tuple[int, ...], thumb: int) -> dict[str, Any]:
    columns = max(1, math.isqrt(max(0, len(indices) - 1)) + 1)
    content, kind = sprite(samples, indices, columns, round(_SHARPNESS * thumb))
    return {
        "sprite": f"data:{kind};base64,{base64.b64encode(content).decode()}",
        "columns": columns,
        "rows": -(-len(indices) // columns),
        "soft": bool(indices) and min(_small_pictures(samples)(indices[:1])[0].size) >= _SOFT,
    }


def _small_pictures(samples: SampleView) -> Callable[[Sequence[int]], list[Image.Image]]:
    return samples.thumbnails or samples.pictures


def sprite(samples: SampleView, indices: Sequence[int], columns: int, side: int) -> tuple[bytes, str]:
    """Small pictures of samples in one file; the content of the file and its media type.

    Args:
        samples: The samples.
        indices: Indices of those in the file, row by row.
        columns: Number of pictures in a row.
        side: Longest side of a small picture, in pixels.
    """
    pictures = _small_pictures(samples)(indices)
    for picture in pictures:
        picture.thumbnail((side, side))
    width, height = pictures[0].size
    sheet = Image.new(pictures[0].mode, (columns * width, -(-len(indices) // columns) * height))
    for position, picture in enumerate(pictures):
        sheet.paste(picture, ((position % columns) * width, (position // columns) * height))
    buffer = io.BytesIO()
    kind = "PNG" if sheet.mode == "L" else "JPEG"
    sheet.save(buffer, kind, quality=_QUALITY)
    return buffer.getvalue(), f"image/{kind.lower()}"


def _texts(with_pictures: bool) -> dict[str, str]:
    """The texts of gallery.js, which fills in what is in braces."""
    hint = _("Arrows move, Enter opens in Compare, Space selects, Page Up and Page Down turn, Escape closes.")
    if not with_pictures:
        hint = _("Arrows move, Space selects, Page Up and Page Down turn, Escape closes.")
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
        "hint": hint,
    }
