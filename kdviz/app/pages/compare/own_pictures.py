"""A person's own pictures, by file, camera or clipboard. They are of this session, and gone with it."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from kdviz.app.library import OpenExperiment
from kdviz.app.samples import SampleView
from kdviz.app.texts import say_error, together
from kdviz.app.uploads import session_store
from kdviz.app.widgets.component import component
from kdviz.app.widgets.gallery import gallery
from kdviz.core.errors import ImageError
from kdviz.core.images import MAX_BYTES, content_hash, open_image
from kdviz.core.language import _
from kdviz.experiment import Experiment

_MOST_UPLOADS = 24
_MOST_BYTES = 64 * 1024 * 1024  # of all uploads of a session
_SIDE = 160
_PASTE = '<div class="kp"><button type="button"></button><span role="status"></span></div>'


@dataclass(frozen=True, eq=False)
class Upload:
    """A person's picture. The file is kept, since each experiment prepares it in its own way."""

    name: str
    content: bytes = field(repr=False)
    small: Image.Image = field(repr=False)


@dataclass(eq=False)
class Uploads:
    """Those of one session, by the hash of their content; gone when it ends."""

    kept: OrderedDict[str, Upload] = field(default_factory=OrderedDict)
    chosen: str | None = None
    version: int = 0
    problems: list[str] = field(default_factory=list)
    pasted: int = 0

    def add(self, name: str, content: bytes, experiment: Experiment) -> None:
        """Keep one and choose it; the oldest make room.

        Raises:
            ImageError: It is no picture that can be opened, or not one for the experiment.
        """
        key = content_hash(content)
        if key not in self.kept:
            picture = open_image(content, name)
            experiment.prepare(picture)
            small = picture.copy()
            small.thumbnail((_SIDE, _SIDE))
            self.kept[key] = Upload(name, content, small)
        self.chosen = key
        while len(self.kept) > _MOST_UPLOADS or sum(len(one.content) for one in self.kept.values()) > _MOST_BYTES:
            self.kept.popitem(last=False)

    def clear(self) -> None:
        self.kept.clear()
        self.chosen = None
        self.problems = []


def uploads() -> Uploads:
    return st.session_state.setdefault("uploads", Uploads())


def upload_controls(opened: OpenExperiment) -> None:
    """Where people bring their own pictures: files, the camera, the clipboard."""
    own = uploads()
    given: list[tuple[str, bytes]] = []
    with st.popover(_("Your own picture"), icon=":material/add_photo_alternate:"):
        files = st.file_uploader(
            _("Pictures of digits") if opened.is_mnist else _("Images"),
            key=f"upload-{own.version}",
            accept_multiple_files=True,
            max_upload_size=MAX_BYTES // 2**20,
            help=_upload_help(opened),
        )
        given += [(file.name, file.getvalue()) for file in files]
        if st.toggle(_("Use the camera"), key=f"use-camera-{own.version}"):  # only then may the browser ask for it
            photo = st.camera_input(_("Take a picture"), key=f"camera-{own.version}")
            given += [] if photo is None else [(_("camera picture"), photo.getvalue())]
        st.caption(_("Or press Ctrl+V anywhere on the page. Your pictures stay in this session."))
    given += _paste(own)
    if given:
        _take(own, given, opened.experiment)


def _take(own: Uploads, given: Sequence[tuple[str, bytes]], experiment: Experiment) -> None:
    """Keep the pictures, and empty the fields by new keys."""
    session_store.current_store()  # with it, this session is ended for good some seconds after the tab is closed
    own.problems = []
    for name, content in given:
        try:
            own.add(name, content, experiment)
        except ImageError as error:
            own.problems.append(str(error))
    own.version += 1
    st.rerun()


def say_problems() -> None:
    """Show why some of the pictures that were last brought could not be opened."""
    for problem in uploads().problems:
        say_error(problem)


def _upload_help(opened: OpenExperiment) -> str:
    if opened.is_mnist:
        about = _("Photos, scans or drawings of one digit each, any size, dark on light or light on dark.")
    else:
        height, width = opened.experiment.input.size
        about = _(
            "Of any size: the middle is cut out and brought to {height} × {width} pixels, as the models take it.",
            height=height,
            width=width,
        )
    return together([about, _("They stay in this session and are never stored.")])


def _paste(own: Uploads) -> list[tuple[str, bytes]]:
    """Pictures that were just pasted, with Ctrl+V or the button."""
    texts = {
        "label": _("Paste"),
        "help": _("Paste a picture from the clipboard; Ctrl+V anywhere on the page does the same"),
        "none": _("There is no picture in the clipboard."),
        "denied": _("The browser does not let this button read the clipboard; press Ctrl+V instead."),
        "large": _("That picture is too large."),
        "limit": MAX_BYTES,
        "taken": own.pasted,
    }
    result = component("paste", _PASTE)(data=texts, key="paste", on_pasted_change=lambda: None, width="content")
    number, _colon, content = str(result.pasted or "").partition(":")
    if not (number.isascii() and number.isdecimal()) or int(number) <= own.pasted:
        return []  # nothing, or one that is here already
    own.pasted = int(number)
    try:
        return [(_("pasted picture"), base64.b64decode(content, validate=True))]
    except (binascii.Error, ValueError):
        return []


def own_strip(own: Uploads) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="own-pictures"):
        st.markdown(f"**{_('Your pictures')}**", width="content")
        if st.button(_("Remove all"), icon=":material/delete:", type="tertiary"):
            own.clear()
            st.rerun()
    keys = list(own.kept)
    items = [
        {"id": place, "alt": _("Your picture {name}", name=own.kept[key].name), "label": ""}
        for place, key in enumerate(keys)
    ]
    shown = SampleView("upload", np.arange(len(keys)), np.zeros(len(keys), np.int64), _square_pictures(own, keys))
    selected = keys.index(own.chosen) if own.chosen in keys else None
    picked = gallery(
        shown,
        list(range(len(keys))),
        items,
        key="own-strip",
        label=_("Your pictures"),
        thumb=58,
        selected=selected,
        shared=False,
    )
    if picked is not None and keys[picked] != own.chosen:
        own.chosen, own.problems = keys[picked], []
        st.rerun()


def _square_pictures(own: Uploads, keys: Sequence[str]) -> Any:
    """A sheet of thumbnails needs pictures of one size and kind."""

    def pictures(places: Sequence[int]) -> list[Image.Image]:
        return [_square(own.kept[keys[place]].small) for place in places]

    return pictures


def _square(picture: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (_SIDE, _SIDE), (127, 127, 127))
    sheet.paste(picture.convert("RGB"), ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    return sheet
