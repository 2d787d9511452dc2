"""The picture to explain: a sample of the data, or a person's own, by file, camera or clipboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st
from PIL import Image

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.compare.own_pictures import Uploads, show_own_pictures, show_upload_controls, uploads
from kdviz.app.pictures.absent_pictures import photograph_note
from kdviz.app.samples import SampleView
from kdviz.app.texts import about_sample, plain, say_error, say_missing
from kdviz.app.widgets.gallery import gallery
from kdviz.core.errors import ImageError
from kdviz.core.language import _, listed
from kdviz.core.vocabulary import Split

_MOST_SAMPLES = 48  # that the address may list
_STUDY, _PHOTOGRAPHS = "attention", Split.PHOTOGRAPHS.value  # values of "from" in the address


@dataclass(frozen=True)
class SelectedImage:
    """The picture to explain.

    Attributes:
        name: Its name for people and in file names.
        picture: The picture as the models see it.
        true_class: Index of the true class; None if it is not known.
        sample: Its number in the data, or among the photographs; None for an upload.
        is_photograph: Whether it belongs to no data set.
        split: Split of the sample; empty for an upload.
    """

    name: str
    picture: Image.Image
    true_class: int | None
    sample: int | None = None
    is_photograph: bool = False
    split: str = ""


def choose_picture(opened: OpenExperiment) -> SelectedImage | None:
    """Show the strips of the samples and of the person's own pictures, and return the picture that is chosen."""
    own_uploads = uploads()
    samples, default_indices = _choose_source(opened)
    selected = _listed_indices(samples) if samples is not None else []
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="strip-head"):
        with st.container(width="stretch", key="strip-title"):
            if samples is None:
                say_missing(_no_pictures(opened))
            else:
                title = f"**{_strip_title(opened, samples, bool(selected))}**"
                st.markdown(title, help=plain(samples.missing) or _strip_help(opened, samples))
        narrowed = opened.samples is not None and (bool(selected) or samples is not opened.samples)
        if narrowed and st.button(_("All samples"), icon=":material/close:", type="tertiary"):
            for name in ("samples", "from", "sample"):
                address.keep(name, "", "")
            st.rerun()
        show_upload_controls(opened)
    selected_image = (
        None if samples is None else _choose_sample(opened, samples, selected or default_indices, own_uploads)
    )
    if samples is not None and samples is opened.photographs:
        st.caption(plain(photograph_note(opened.experiment.opening_pictures)))
    if own_uploads.by_hash:
        show_own_pictures(own_uploads)
    return (_own_image(opened, own_uploads) if own_uploads.selected in own_uploads.by_hash else None) or selected_image


def _no_pictures(opened: OpenExperiment) -> str:
    if opened.experiment.is_imported:
        return _("This experiment keeps no pictures of its data; bring one, or import its models again with pictures.")
    return _("This experiment keeps no pictures of its data; bring one, or train it again with data.")


# samples --------------------------------------------------------------------------------------------------------------


def _choose_source(opened: OpenExperiment) -> tuple[SampleView | None, list[int]]:
    """The samples to choose from, and indices of those in the strip.

    The address may ask for the pictures of the attention study or for photographs; these are also what there is where
    the pictures of the data are not here.
    """
    requested = address.read("from", "")
    sources = {_STUDY: opened.attention_samples, _PHOTOGRAPHS: opened.photographs}
    samples = sources.get(requested)
    if samples is None and opened.samples is None and opened.photographs is not None:
        _leave_absent_sample()
        requested, samples = _PHOTOGRAPHS, opened.photographs
    address.keep("from", "" if samples is None else requested, "")
    if samples is not None:
        return samples, list(range(len(samples)))
    return opened.samples, list(opened.showcase)


def _leave_absent_sample() -> None:
    """Say of a sample of the data that its picture is not here, and forget it."""
    number = address.read("sample", "")
    if number:
        say_missing(_("The picture of sample {number} is not here; photographs are shown instead.", number=number[:40]))
    for name in ("sample", "samples"):
        address.keep(name, "", "")


def _choose_sample(
    opened: OpenExperiment, samples: SampleView, indices: list[int], own_uploads: Uploads
) -> SelectedImage:
    current_index = _requested_index(samples, indices[0])
    if current_index not in indices:
        indices = [current_index, *indices]
    number = int(samples.numbers[current_index])
    current_number = number if own_uploads.selected is None else None
    items = [_item(opened, samples, index) for index in indices]
    label = _("Sample digits") if opened.is_mnist else _("Sample images")
    picked = gallery(samples, indices, items, key="strip", label=label, thumb=58, selected=current_number)
    if picked is not None and picked != current_number:
        own_uploads.selected, own_uploads.problems = None, []
        address.keep("sample", str(picked), "")
        st.rerun()
    label = int(samples.labels[current_index])
    name = _("sample {number}", number=number)
    if samples is opened.photographs:
        name = _("photograph {name}", name=opened.experiment.classes[label])
    picture, true_class = samples.picture(current_index), None if label < 0 else label
    return SelectedImage(name, picture, true_class, number, samples is opened.photographs, samples.split)


def _listed_indices(samples: SampleView) -> list[int]:
    """Indices of the samples that the address lists, for example those selected on the page Mistakes."""
    text = address.read("samples", "")
    address.keep("samples", text, "")
    numbers = [part for part in text.split(",") if part.isascii() and part.isdecimal() and len(part) < 10]
    indices = (samples.index_of(int(part)) for part in numbers[:_MOST_SAMPLES])
    return list(dict.fromkeys(index for index in indices if index is not None))


def _requested_index(samples: SampleView, default: int) -> int:
    """Index of the sample that the address names, else the default."""
    text = address.read("sample", "")
    address.keep("sample", text, "")
    if not text:
        return default
    valid = text.isascii() and text.isdecimal() and len(text) < 10
    index = samples.index_of(int(text)) if valid else None
    if index is None:
        say_error(
            _(
                "There is no sample '{number}' here; they go from 0 to {last}. The first one is shown instead.",
                number=text[:40],
                last=int(samples.numbers.max()),
            )
        )
        return default
    return index


def _strip_title(opened: OpenExperiment, samples: SampleView, selected: bool) -> str:
    if samples is opened.photographs:
        return _("Photographs, not test pictures")
    if samples is not opened.samples:
        return _("Pictures at both ends of the attention study")
    if selected:
        return _("Selected samples")
    if opened.is_mnist:
        return _("Digits that no model was trained on")
    if not opened.held_out:
        return plain(opened.pictures)
    if samples.split == Split.VALIDATION:
        return _("{pictures}, on which each model's best epoch was chosen", pictures=plain(opened.pictures))
    return _("{pictures}, never trained on", pictures=plain(opened.pictures))


def _strip_help(opened: OpenExperiment, samples: SampleView) -> str | None:
    if samples is opened.photographs:
        return None
    return _("The first ones are those on which the models differ.")


def _item(opened: OpenExperiment, samples: SampleView, index: int) -> dict[str, Any]:
    number, label = int(samples.numbers[index]), int(samples.labels[index])
    if samples is opened.photographs:
        alt = _("Photograph that is no test picture, true class {label}", label=opened.experiment.classes[label])
        return {"id": number, "alt": alt, "label": ""}
    if label < 0:
        return {"id": number, "alt": about_sample(number, label, opened.experiment.classes), "label": ""}
    return {"id": number, "alt": _alt(samples, index, number, opened.experiment.classes[label]), "label": ""}


def _alt(samples: SampleView, index: int, number: int, label: str) -> str:
    if samples.predictions is None:
        return _("Sample {number}, true class {label}", number=number, label=label)
    wrong = [figures.role_title(role) for role in samples.predictions.predicted if not _right(samples, role, index)]
    if not wrong:
        return _("Sample {number}, true class {label}; all models right", number=number, label=label)
    return _("Sample {number}, true class {label}; wrong: {models}", number=number, label=label, models=listed(wrong))


def _right(samples: SampleView, role: str, index: int) -> bool:
    return samples.predictions is not None and bool(samples.predictions.right(role)[index])


def _own_image(opened: OpenExperiment, own_uploads: Uploads) -> SelectedImage | None:
    upload = own_uploads.by_hash[str(own_uploads.selected)]
    try:
        picture = upload.prepared(opened.experiment)
    except ImageError as error:
        say_error(error)
        return None
    return SelectedImage(_("upload {name}", name=str(own_uploads.selected)[:8]), picture, None)
