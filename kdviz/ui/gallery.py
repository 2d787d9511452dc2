"""Thumbnails: a strip to choose one from, and pages of a long list with marks, keyboard and an open one.

A page's pictures travel as one sheet. Sheets are made when they are asked for, kept for all sessions, and the next
page's is made ahead while a person looks at this one.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kdviz.language import _
from kdviz.ui.library import Shown, sprite
from kdviz.ui.parts import part

_SOFT = 64  # pixels of a picture from which it is drawn smoothly
_SHARPNESS = 1.34  # pixels of a thumbnail in the sheet for one on the page

_ahead = ThreadPoolExecutor(1, thread_name_prefix="kdviz-thumbnails")


@dataclass(frozen=True)
class Page:
    """Which part of a list is shown.

    Attributes:
        number: From 1.
        of: How many there are.
    """

    number: int
    of: int


def gallery(
    shown: Shown,
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
    make = _sheet if shared else _sheet.__wrapped__
    data = {**make(shown, tuple(map(int, places)), thumb), "items": list(items), "label": label, "thumb": thumb}
    result = part("gallery")(data={**data, "strip": True, "selected": selected}, key=key, on_picked_change=lambda: None)
    return None if result.picked is None else int(result.picked)


def grid(
    shown: Shown,
    places: Sequence[int],
    items: Sequence[Mapping[str, Any]],
    page: Page,
    *,
    key: str,
    label: str,
    thumb: int,
    initial: Mapping[str, Any],
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
        "most": most,
        "texts": _texts(),
    }
    callbacks = {f"on_{name}_change": function for name, function in on.items()}
    part("gallery")(data=data, key=key, **callbacks)


def make_ahead(shown: Shown, places: Sequence[int], thumb: int) -> None:
    """Make the sheet of a page that may be wanted soon, in the background."""
    if len(places):
        _ahead.submit(_sheet, shown, tuple(map(int, places)), thumb)


@lru_cache(maxsize=128)
def _sheet(shown: Shown, places: tuple[int, ...], thumb: int) -> dict[str, Any]:
    columns = max(1, math.isqrt(max(0, len(places) - 1)) + 1)
    content, kind = sprite(shown, places, columns, round(_SHARPNESS * thumb))
    return {
        "sprite": f"data:{kind};base64,{base64.b64encode(content).decode()}",
        "columns": columns,
        "rows": -(-len(places) // columns),
        "soft": min(shown.picture(places[0]).size) >= _SOFT if places else False,
    }


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
