"""The picture to explain: a sample of the data, or a person's own, by file, camera or clipboard."""

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
from streamlit.components.v2 import component

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.samples import SampleView
from kdviz.app.texts import about_sample, plain, say_error, say_missing, together
from kdviz.app.widgets.gallery import gallery
from kdviz.core.errors import ImageError
from kdviz.core.files import ASSETS
from kdviz.core.images import MAX_BYTES, content_hash, open_image
from kdviz.core.language import _, listed
from kdviz.experiment import Experiment

_MOST_UPLOADS = 24
_MOST_BYTES = 64 * 1024 * 1024  # of all uploads of a session
_MOST_SAMPLES = 48  # in the address
_SIDE = 160


@dataclass(frozen=True)
class SelectedImage:
    """The picture to explain.

    Attributes:
        name: For people and file names.
        picture: As the models see it.
        true_class: If known.
        sample: Its number in the data; None for an upload.
    """

    name: str
    picture: Image.Image
    true_class: int | None
    sample: int | None = None


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


def choose_picture(opened: OpenExperiment) -> SelectedImage | None:
    """The strip of samples, and that of the person's own pictures; the picture that is chosen."""
    own = uploads()
    shown, usual = _source(opened)
    selected = _selected(shown) if shown is not None else []
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="strip-head"):
        with st.container(width="stretch", key="strip-title"):
            if shown is None:
                say_missing(_no_pictures(opened))
            else:
                title = f"**{_strip_title(opened, shown, bool(selected))}**"
                st.markdown(title, help=plain(shown.missing) or _strip_help())
        narrowed = bool(selected) or shown is not opened.shown
        if narrowed and st.button(_("All samples"), icon=":material/close:", type="tertiary"):
            for name in ("samples", "from", "sample"):
                address.keep(name, "", "")
            st.rerun()
        _bring(opened)
    chosen = None if shown is None else _choose_sample(opened, shown, selected or usual, own)
    if own.kept:
        _own_strip(own)
    return (_prepared(opened, own) if own.chosen in own.kept else None) or chosen


def _no_pictures(opened: OpenExperiment) -> str:
    if opened.experiment.is_imported:
        return _("This experiment keeps no pictures of its data; bring one, or import its models again with pictures.")
    return _("This experiment keeps no pictures of its data; bring one, or train it again with data.")


# samples --------------------------------------------------------------------------------------------------------------


def _source(opened: OpenExperiment) -> tuple[SampleView | None, list[int]]:
    """The samples to choose from, those of the attention study if asked, and the places of those in the strip."""
    asked = address.read("from", "") == "attention" and opened.studied is not None
    address.keep("from", "attention" if asked else "", "")
    if asked and opened.studied is not None:
        return opened.studied, list(range(len(opened.studied)))
    return opened.shown, list(opened.showcase)


def _choose_sample(opened: OpenExperiment, shown: SampleView, places: list[int], own: Uploads) -> SelectedImage:
    place = _place(shown, places[0])
    if place not in places:
        places = [place, *places]
    number = int(shown.numbers[place])
    current = number if own.chosen is None else None
    items = [_item(opened, shown, one) for one in places]
    label = _("Sample digits") if opened.is_mnist else _("Sample images")
    picked = gallery(shown, places, items, key="strip", label=label, thumb=58, selected=current)
    if picked is not None and picked != current:
        own.chosen, own.problems = None, []
        address.keep("sample", str(picked), "")
        st.rerun()
    label = int(shown.labels[place])
    return SelectedImage(
        _("sample {number}", number=number), shown.picture(place), None if label < 0 else label, number
    )


def _selected(shown: SampleView) -> list[int]:
    """Places of the samples that the address lists, say from Mistakes."""
    text = address.read("samples", "")
    address.keep("samples", text, "")
    numbers = [part for part in text.split(",") if part.isascii() and part.isdecimal() and len(part) < 10]
    found = (shown.place(int(part)) for part in numbers[:_MOST_SAMPLES])
    return list(dict.fromkeys(place for place in found if place is not None))


def _place(shown: SampleView, usual: int) -> int:
    """Where the sample of the address is, else the first one shown."""
    text = address.read("sample", "")
    address.keep("sample", text, "")
    if not text:
        return usual
    fine = text.isascii() and text.isdecimal() and len(text) < 10
    place = shown.place(int(text)) if fine else None
    if place is None:
        say_error(
            _(
                "There is no sample '{number}' here; they go from 0 to {last}. The first one is shown instead.",
                number=text[:40],
                last=int(shown.numbers.max()),
            )
        )
        return usual
    return place


def _strip_title(opened: OpenExperiment, shown: SampleView, selected: bool) -> str:
    if shown is not opened.shown:
        return _("Pictures at both ends of the attention study")
    if selected:
        return _("Selected samples")
    if opened.is_mnist:
        return _("Digits that no model was trained on")
    if not opened.held_out:
        return plain(opened.pictures)
    if shown.split == "validation":
        return _("{pictures}, on which each model's best epoch was chosen", pictures=plain(opened.pictures))
    return _("{pictures}, never trained on", pictures=plain(opened.pictures))


def _strip_help() -> str:
    return _("The first ones are those on which the models differ.")


def _item(opened: OpenExperiment, shown: SampleView, place: int) -> dict[str, Any]:
    number, label = int(shown.numbers[place]), int(shown.labels[place])
    if label < 0:
        return {"id": number, "alt": about_sample(number, label, opened.experiment.classes), "label": ""}
    return {"id": number, "alt": _alt(shown, place, number, opened.experiment.classes[label]), "label": ""}


def _alt(shown: SampleView, place: int, number: int, label: str) -> str:
    if shown.predictions is None:
        return _("Sample {number}, true class {label}", number=number, label=label)
    wrong = [figures.role_title(role) for role in shown.predictions.predicted if not _right(shown, role, place)]
    if not wrong:
        return _("Sample {number}, true class {label}; all models right", number=number, label=label)
    return _("Sample {number}, true class {label}; wrong: {models}", number=number, label=label, models=listed(wrong))


def _right(shown: SampleView, role: str, place: int) -> bool:
    return shown.predictions is not None and bool(shown.predictions.right(role)[place])


# a person's own -------------------------------------------------------------------------------------------------------


def _bring(opened: OpenExperiment) -> None:
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


@st.cache_resource(show_spinner=False)
def _paste_component() -> Any:
    folder = ASSETS / "app"
    return component(
        "kdviz_paste",
        html='<div class="kp"><button type="button"></button><span role="status"></span></div>',
        css=(folder / "paste.css").read_text(encoding="utf-8"),
        js=(folder / "paste.js").read_text(encoding="utf-8"),
    )


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
    result = _paste_component()(data=texts, key="paste", on_pasted_change=lambda: None, width="content")
    number, _colon, content = str(result.pasted or "").partition(":")
    if not (number.isascii() and number.isdecimal()) or int(number) <= own.pasted:
        return []  # nothing, or one that is here already
    own.pasted = int(number)
    try:
        return [(_("pasted picture"), base64.b64decode(content, validate=True))]
    except (binascii.Error, ValueError):
        return []


def _own_strip(own: Uploads) -> None:
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


def _prepared(opened: OpenExperiment, own: Uploads) -> SelectedImage | None:
    upload = own.kept[str(own.chosen)]
    try:
        picture = opened.experiment.prepare(open_image(upload.content, upload.name))
    except ImageError as error:
        say_error(error)
        return None
    return SelectedImage(_("upload {name}", name=str(own.chosen)[:8]), picture, None)
