"""Mistakes: held-out samples by who gets them wrong."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address, links
from kdviz.app.library import OpenExperiment, table_version
from kdviz.app.page_header import heading
from kdviz.app.pages.compare.own_pictures import uploads
from kdviz.app.pages.mistakes import PAGE, class_pairs, filters
from kdviz.app.pages.mistakes.filters import MOST_SELECTED, View, keep
from kdviz.app.pages.mistakes.region_shares import shares_of, with_shares
from kdviz.app.pages.mistakes.sample_panel import show_panel
from kdviz.app.pictures.absent_pictures import show_absent_pictures
from kdviz.app.samples import SampleCache, SampleView
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import about_sample, download, plain, say_missing, together
from kdviz.app.widgets import gallery, margin
from kdviz.core.files import ASSETS
from kdviz.core.language import _, language, listed, number, percent, plural, speaking
from kdviz.core.vocabulary import Split
from kdviz.narrative import judgements
from kdviz.narrative.products.broken_answers import broken_sentences
from kdviz.studies.comparison.judgement import Margins
from kdviz.studies.predictions.broken_by_steps import made_runs
from kdviz.studies.predictions.mistake_index import MistakeIndex
from kdviz.studies.predictions.mistakes import Predictions, distillation_effect, distillation_judgement
from kdviz.studies.regions import RegionShares

_PER_PAGE = 48
_THUMB, _THUMB_LONG = 112, 150  # pixels; the second one where class names are long
_GRID = "mistakes-grid"
_INITIAL = "mistakes-initial"

_indices: SampleCache[MistakeIndex] = SampleCache(1)
_lines: SampleCache[list[dict[str, Any]]] = SampleCache(64)  # pages of the gallery


def page() -> None:
    """Show the filters, the class pairs, the samples that pass, and the open sample."""
    address.keep_only(*filters.ADDRESS, margin.NAME)
    opened = heading(PAGE)
    samples = opened.browsed
    if samples is None:
        say_missing(*_why_empty(opened))
        return
    if samples.predictions is None:
        say_missing(samples.missing)
        return
    st.html(ASSETS / "app" / "mistakes.css")
    st.markdown(
        together([_description(opened, samples), _copies(opened), _effect(samples.predictions, margin.margins())])
    )
    show_absent_pictures(opened)
    shares = shares_of(opened, samples)
    index = _index(opened, samples, shares)
    filters.adopt(index)
    _initialise(filters.read(index, opened.experiment.classes))
    _show_view(opened, samples, index, shares)


def _why_empty(opened: OpenExperiment) -> tuple[str, str]:
    """Why there is nothing to show, and the command that changes that."""
    missing = _("This experiment keeps no pictures of its data, so that there is nothing to show here.")
    if not opened.experiment.is_imported:
        return missing, ""
    return together([missing, _("Import the models once more, with pictures:")]), opened.import_command


def _index(opened: OpenExperiment, samples: SampleView, shares: Sequence[RegionShares]) -> MistakeIndex:
    """The index of the samples; filters and orders are by the shares of the study's first method."""
    predictions, classes = samples.predictions, len(opened.experiment.classes)
    assert predictions is not None
    inside = shares[0].inside if shares else {}
    key = (classes, table_version(opened, "regions"))

    def made() -> MistakeIndex:
        return MistakeIndex(predictions, samples.logits, classes, inside, made_runs(opened.experiment, predictions))

    return _indices.get(samples, key, made)


def _initialise(view: View) -> None:
    """Tell the gallery what is open and selected; from then on the gallery tells the page."""
    stamp = st.session_state.get(_INITIAL, {}).get("stamp", 0) + 1
    opened = -1 if view.open is None else view.open
    st.session_state[_INITIAL] = {"stamp": stamp, "open": opened, "marked": list(view.selected)}


@st.fragment
def _show_view(
    opened: OpenExperiment, samples: SampleView, index: MistakeIndex, shares: Sequence[RegionShares]
) -> None:
    """Show everything below the title. Filters, page turns and opened samples run only this again."""
    classes = opened.experiment.classes
    view = filters.read(index, classes)
    _leave_for_compare(samples)
    filters.show_groups(index, view)
    filters.show_filters(index, view, classes)
    filters.show_active_filters(view, classes)
    indices = index.indices(view.filters, view.order)
    with st.container(key="mistakes-body" if index.labelled else "mistakes-unlabelled"):
        if index.labelled:
            with st.container():
                class_pairs.show_matrix(samples, index, view, classes)
        with st.container():
            _show_gallery(opened, samples, index, view, indices)
        with st.container():
            open_index = None if view.open is None or not len(indices) else samples.index_of(view.open)
            show_panel(opened, samples, open_index, view.open in view.selected, shares)


# words ----------------------------------------------------------------------------------------------------------------


def _description(opened: OpenExperiment, samples: SampleView) -> str:
    """Which samples these are, and what was done with them."""
    count, title = number(len(samples)), plain(opened.title)
    values = {"count": count, "title": title}
    if opened.is_mnist and samples.split == Split.BUNDLED:
        return _("{count} real digits that were held out of all training.", count=count)
    if not opened.held_out:
        text = _("{title}: {count} images; whether a model was trained on some of them is not known.", **values)
        return (
            text
            if samples.labelled
            else together([text, _("They have no labels: this page shows where the models disagree.")])
        )
    if samples.split == Split.VALIDATION:
        return _(
            "{title}: {count} validation images; no weights were trained on them, but each model's best epoch was "
            "chosen on them.",
            title=title,
            count=count,
        )
    return _("{title}: {count} test images that were held out of all training.", title=title, count=count)


def _copies(opened: OpenExperiment) -> str:
    """Whether the models saw copies of the pictures, and which."""
    source = opened.experiment.picture_source
    if source is None or not source.jpeg_quality:
        return ""
    return _(
        "The models were trained and measured on copies as JPEG of quality {quality}.", quality=source.jpeg_quality
    )


def _effect(predictions: Predictions, margins: Margins) -> str:
    """What the KD student does better and worse than the student alone, and which conclusion that allows."""
    effect, judged = distillation_effect(predictions), distillation_judgement(predictions, margins.accuracy)
    if effect is None or judged is None:
        return ""
    chance = "p < 0.001" if effect.p_value < 0.001 else f"p = {effect.p_value:.3f}"
    counts = _(
        "Beside the student alone, the KD student **fixed {fixed}** mistakes and **broke {broke}** answers that were "
        "right (McNemar's exact test, {chance}).",
        fixed=number(effect.fixed),
        broke=number(effect.broke),
        chance=chance,
    )
    caution = _("With one seed this tells of these models only, not of distillation in general.")
    return together([counts, plain(judgements.helped(judged)[2]), caution])


def _step_effect(index: MistakeIndex, group: str) -> list[str]:
    """What the step of a group broke and mended over all samples."""
    run = index.made.get(group)
    return [] if run is None else broken_sentences(index.predictions, run, index.made.values())


def _count_title(opened: OpenExperiment, count: int) -> str:
    if opened.is_mnist:
        return plural("{count} digit", "{count} digits", count)
    return plural("{count} image", "{count} images", count)


# the samples ----------------------------------------------------------------------------------------------------------


def _show_gallery(
    opened: OpenExperiment, samples: SampleView, index: MistakeIndex, view: View, indices: np.ndarray
) -> None:
    title, about = filters.words_of(index, view.filters.group)
    notes = together([about, *_step_effect(index, view.filters.group)])
    st.markdown(f"**{_count_title(opened, len(indices))}** · {plain(title)}  \n:small[{plain(notes)}]")
    if not len(indices):
        filters.show_empty(index, view, opened.experiment.classes)
        return
    pages = -(-len(indices) // _PER_PAGE)
    page_number = min(max(1, view.page), pages)
    thumb = _THUMB_LONG if max(map(len, opened.experiment.classes)) > 4 else _THUMB
    visible, following = (
        indices[(page_number - 1) * _PER_PAGE : page_number * _PER_PAGE],
        indices[page_number * _PER_PAGE : (page_number + 1) * _PER_PAGE],
    )
    gallery.grid(
        samples,
        visible.tolist(),
        with_shares(_items(samples, opened.experiment.classes, tuple(visible.tolist())), index, view, visible),
        gallery.GalleryPage(page_number, pages),
        key=_GRID,
        label=title,
        thumb=thumb,
        initial=st.session_state[_INITIAL],
        opened=-1 if view.open is None else view.open,
        legend=[
            {
                "colour": figures.role_colour(role),
                "symbol": figures.role_symbol(role),
                "title": figures.role_title(role),
            }
            for role in index.roles
        ],
        max_selected=MOST_SELECTED,
        on={"turned": _turned, "opened": _opened, "marked": _marked, "picked": _none, "compared": _none},
    )
    gallery.prepare_sheet(samples, following.tolist(), thumb)
    _show_files(opened, samples, index, view, indices)


def _items(samples: SampleView, classes: tuple[str, ...], indices: tuple[int, ...]) -> list[dict[str, Any]]:
    """The text below each picture, and its description for people who cannot see it."""
    return _lines.get(
        samples, (indices, language()), lambda: [_item(samples, classes, sample_index) for sample_index in indices]
    )


@lru_cache(maxsize=1000)
def _percent(rounded: int, spoken: str) -> str:
    """A percentage in a language; cached, since formatting takes longer than all else that a thumbnail needs."""
    with speaking(spoken):
        return percent(rounded / 100, 0)


def _item(samples: SampleView, classes: tuple[str, ...], sample_index: int) -> dict[str, Any]:
    assert samples.predictions is not None
    predictions, sample, label = (
        samples.predictions,
        int(samples.numbers[sample_index]),
        int(samples.labels[sample_index]),
    )
    answers = {role: int(predicted[sample_index]) for role, predicted in predictions.predicted.items()}
    lines = [
        {
            "colour": figures.role_colour(role),
            "symbol": figures.role_symbol(role),
            "predicted": classes[answer],
            "confidence": _percent(round(100 * float(predictions.confidence[role][sample_index])), language()),
            "wrong": answer != label and label >= 0,
        }
        for role, answer in answers.items()
    ]
    sentences = [
        _("{model} says {name}", model=figures.role_title(role), name=classes[answer])
        for role, answer in answers.items()
    ]
    return {
        "id": sample,
        "alt": f"{about_sample(sample, label, classes)}: {listed(sentences)}",
        "label": _("True {name}", name=classes[label]) if label >= 0 else _("no label"),
        "lines": lines,
        "kept": samples.is_kept(sample_index),
    }


def _show_files(
    opened: OpenExperiment, samples: SampleView, index: MistakeIndex, view: View, indices: np.ndarray
) -> None:
    name = f"kdviz-{opened.experiment.name}-{view.filters.group}"
    with st.container(horizontal=True, key="mistakes-files"):
        label = _("This list (CSV)")
        download(label, f"{name}.csv", "text/csv", lambda: csv_text(table(opened, samples, index, indices)))
        selected = [sample_index for sample in view.selected if (sample_index := samples.index_of(sample)) is not None]
        if selected:
            label, chosen = _("The selection (CSV)"), np.array(selected)
            file = f"kdviz-{opened.experiment.name}-selection.csv"
            download(label, file, "text/csv", lambda: csv_text(table(opened, samples, index, chosen)))


def table(opened: OpenExperiment, samples: SampleView, index: MistakeIndex, indices: np.ndarray) -> pd.DataFrame:
    """Samples as a table: one row a sample, in the order of the indices."""
    assert samples.predictions is not None
    predictions, classes = samples.predictions, np.array(opened.experiment.classes)
    columns: dict[str, Any] = {"sample": samples.numbers[indices]}
    if samples.labelled:
        columns["true"] = classes[samples.labels[indices]]
    for role, predicted in predictions.predicted.items():
        columns[f"{role}_predicted"] = classes[predicted[indices]]
        columns[f"{role}_confidence"] = predictions.confidence[role][indices]
        if role in index.inside:
            columns[f"{role}_inside_region"] = index.inside[role][indices]
    return pd.DataFrame(columns)


def _is_kept(samples: SampleView, sample: int) -> bool:
    index = samples.index_of(sample)
    return index is not None and samples.is_kept(index)


# what the gallery tells -----------------------------------------------------------------------------------------------


def _gallery_value(name: str) -> Any:
    return st.session_state[_GRID][name]


def _turned() -> None:
    keep("page", str(int(_gallery_value("turned"))))


def _opened() -> None:
    sample = int(_gallery_value("opened"))
    keep("open", "" if sample < 0 else str(sample))


def _marked() -> None:
    keep("selected", ",".join(str(int(sample)) for sample in _gallery_value("marked")[:MOST_SELECTED]))


def _none() -> None:
    """Do nothing: the rerun that the event causes goes to another page."""


def _leave_for_compare(samples: SampleView) -> None:
    """Go to Compare with the sample that was picked, or with all that are selected and whose pictures are stored."""
    state = st.session_state.get(_GRID) or {}
    picked, compared = state.get("picked"), state.get("compared")
    if picked is not None:
        query = {"sample": str(int(picked))}
    elif compared and (kept := [int(sample) for sample in compared if _is_kept(samples, int(sample))]):
        query = {"samples": ",".join(map(str, kept))}
    else:
        return
    uploads().selected = None
    for name in ("sample", "samples"):
        address.keep(name, "", "")
    links.open_page("compare", query)
