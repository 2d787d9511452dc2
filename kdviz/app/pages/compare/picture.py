"""The picture to explain: a sample of the data, or a person's own, by file, camera or clipboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st
from PIL import Image

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.compare.own_pictures import Uploads, own_strip, upload_controls, uploads
from kdviz.app.samples import SampleView
from kdviz.app.texts import about_sample, plain, say_error, say_missing
from kdviz.app.widgets.gallery import gallery
from kdviz.core.errors import ImageError
from kdviz.core.images import open_image
from kdviz.core.language import _, listed

_MOST_SAMPLES = 48  # in the address


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
        upload_controls(opened)
    chosen = None if shown is None else _choose_sample(opened, shown, selected or usual, own)
    if own.kept:
        own_strip(own)
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
    found = (shown.index_of(int(part)) for part in numbers[:_MOST_SAMPLES])
    return list(dict.fromkeys(place for place in found if place is not None))


def _place(shown: SampleView, usual: int) -> int:
    """Where the sample of the address is, else the first one shown."""
    text = address.read("sample", "")
    address.keep("sample", text, "")
    if not text:
        return usual
    fine = text.isascii() and text.isdecimal() and len(text) < 10
    place = shown.index_of(int(text)) if fine else None
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


def _prepared(opened: OpenExperiment, own: Uploads) -> SelectedImage | None:
    upload = own.kept[str(own.chosen)]
    try:
        picture = opened.experiment.prepare(open_image(upload.content, upload.name))
    except ImageError as error:
        say_error(error)
        return None
    return SelectedImage(_("upload {name}", name=str(own.chosen)[:8]), picture, None)
