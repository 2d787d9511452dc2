"""A person's own pictures, by file, camera or clipboard. They belong to the session and are gone when it ends."""

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
from kdviz.core.decoding.apart import open_image_apart
from kdviz.core.errors import ImageError
from kdviz.core.images import MAX_BYTES, content_hash
from kdviz.core.language import _
from kdviz.experiment import Experiment
from kdviz.models.inputs import InputSpec

_MOST_UPLOADS = 24
_MOST_BYTES = 64 * 1024 * 1024  # of all pictures that one session uploads
_SIDE = 160
_PASTE = '<div class="kp"><button type="button"></button><span role="status"></span></div>'


@dataclass(frozen=True, eq=False)
class Upload:
    """A person's picture. The file is kept because each experiment prepares it in its own way."""

    name: str
    content: bytes = field(repr=False)
    small: Image.Image = field(repr=False)
    _prepared: dict[InputSpec, Image.Image] = field(default_factory=dict, repr=False)

    def prepared(self, experiment: Experiment) -> Image.Image:
        """The picture as an experiment's models see it; it is decoded once, not at each rerun of the page.

        Raises:
            ImageError: It cannot be decoded, or does not suit the experiment.
        """
        if experiment.input not in self._prepared:
            self._prepared[experiment.input] = experiment.prepare(open_image_apart(self.content, self.name))
        return self._prepared[experiment.input]


@dataclass(eq=False)
class Uploads:
    """The pictures of one session, by the hash of their content; they are gone when it ends."""

    by_hash: OrderedDict[str, Upload] = field(default_factory=OrderedDict)
    selected: str | None = None
    version: int = 0
    problems: list[str] = field(default_factory=list)
    pasted: int = 0

    def add(self, name: str, content: bytes, experiment: Experiment) -> None:
        """Keep a picture and select it; the oldest ones make room.

        Raises:
            ImageError: It cannot be opened as a picture, or does not suit the experiment.
        """
        key = content_hash(content)
        if key not in self.by_hash:
            picture = open_image_apart(content, name)
            prepared = experiment.prepare(picture)
            small = picture.copy()
            small.thumbnail((_SIDE, _SIDE))
            self.by_hash[key] = Upload(name, content, small, {experiment.input: prepared})
        self.selected = key
        while (
            len(self.by_hash) > _MOST_UPLOADS
            or sum(len(upload.content) for upload in self.by_hash.values()) > _MOST_BYTES
        ):
            self.by_hash.popitem(last=False)

    def clear(self) -> None:
        self.by_hash.clear()
        self.selected = None
        self.problems = []


def uploads() -> Uploads:
    return st.session_state.setdefault("uploads", Uploads())


def show_upload_controls(opened: OpenExperiment) -> None:
    """Show the ways to bring one's own pictures: files, the camera, the clipboard."""
    own_uploads = uploads()
    pictures: list[tuple[str, bytes]] = []
    with st.popover(_("Your own picture"), icon=":material/add_photo_alternate:"):
        files = st.file_uploader(
            _("Pictures of digits") if opened.is_mnist else _("Images"),
            key=f"upload-{own_uploads.version}",
            accept_multiple_files=True,
            max_upload_size=MAX_BYTES // 2**20,
            help=_upload_help(opened),
        )
        pictures += [(file.name, file.getvalue()) for file in files]
        if st.toggle(
            _("Use the camera"), key=f"use-camera-{own_uploads.version}"
        ):  # only then does the browser ask for permission
            photo = st.camera_input(_("Take a picture"), key=f"camera-{own_uploads.version}")
            pictures += [] if photo is None else [(_("camera picture"), photo.getvalue())]
        st.caption(_("Or press Ctrl+V anywhere on the page. Your pictures stay in this session."))
    pictures += _pasted_picture(own_uploads)
    if pictures:
        _keep(own_uploads, pictures, opened.experiment)


def _keep(own_uploads: Uploads, pictures: Sequence[tuple[str, bytes]], experiment: Experiment) -> None:
    """Keep the pictures, and empty the fields by giving them new keys."""
    session_store.current_store()  # its presence ends the session for good some seconds after the tab is closed
    own_uploads.problems = []
    for name, content in pictures:
        try:
            own_uploads.add(name, content, experiment)
        except ImageError as error:
            own_uploads.problems.append(error.sentence)
    own_uploads.version += 1
    st.rerun()


def say_problems() -> None:
    """Show why pictures of the last upload could not be opened."""
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


def _pasted_picture(own_uploads: Uploads) -> list[tuple[str, bytes]]:
    """Name and content of the picture that was just pasted, with Ctrl+V or the button; empty if there is none."""
    texts = {
        "label": _("Paste"),
        "help": _("Paste a picture from the clipboard; Ctrl+V anywhere on the page does the same"),
        "none": _("There is no picture in the clipboard."),
        "denied": _("The browser does not let this button read the clipboard; press Ctrl+V instead."),
        "large": _("That picture is too large."),
        "limit": MAX_BYTES,
        "taken": own_uploads.pasted,
    }
    result = component("paste", _PASTE)(data=texts, key="paste", on_pasted_change=lambda: None, width="content")
    number, _colon, content = str(result.pasted or "").partition(":")
    if not (number.isascii() and number.isdecimal()) or int(number) <= own_uploads.pasted:
        return []  # nothing, or a picture that is here already
    own_uploads.pasted = int(number)
    try:
        return [(_("pasted picture"), base64.b64decode(content, validate=True))]
    except (binascii.Error, ValueError):
        return []


def show_own_pictures(own_uploads: Uploads) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="own-pictures"):
        st.markdown(f"**{_('Your pictures')}**", width="content")
        if st.button(_("Remove all"), icon=":material/delete:", type="tertiary"):
            own_uploads.clear()
            st.rerun()
    keys = list(own_uploads.by_hash)
    items = [
        {"id": index, "alt": _("Your picture {name}", name=own_uploads.by_hash[key].name), "label": ""}
        for index, key in enumerate(keys)
    ]
    samples = SampleView(
        "upload", np.arange(len(keys)), np.zeros(len(keys), np.int64), _square_pictures(own_uploads, keys)
    )
    selected = keys.index(own_uploads.selected) if own_uploads.selected in keys else None
    picked = gallery(
        samples,
        list(range(len(keys))),
        items,
        key="own-strip",
        label=_("Your pictures"),
        thumb=58,
        selected=selected,
        shared=False,
    )
    if picked is not None and keys[picked] != own_uploads.selected:
        own_uploads.selected, own_uploads.problems = keys[picked], []
        st.rerun()


def _square_pictures(own_uploads: Uploads, keys: Sequence[str]) -> Any:
    """A function that returns square thumbnails, as a sheet needs pictures of one size and mode."""

    def pictures(indices: Sequence[int]) -> list[Image.Image]:
        return [_square(own_uploads.by_hash[keys[index]].small) for index in indices]

    return pictures


def _square(picture: Image.Image) -> Image.Image:
    sheet = Image.new("RGB", (_SIDE, _SIDE), (127, 127, 127))
    sheet.paste(picture.convert("RGB"), ((_SIDE - picture.width) // 2, (_SIDE - picture.height) // 2))
    return sheet
