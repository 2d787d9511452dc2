"""Mistakes: held-out samples by who gets them wrong."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address, links
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.compare.own_pictures import uploads
from kdviz.app.pages.mistakes import PAGE, class_pairs, filters
from kdviz.app.pages.mistakes.filters import MOST_SELECTED, View, keep
from kdviz.app.pages.mistakes.sample_panel import panel
from kdviz.app.samples import SampleCache, SampleView
from kdviz.app.texts import about_sample, download, plain, say_missing, together
from kdviz.app.widgets import gallery, margin
from kdviz.core.files import ASSETS
from kdviz.core.language import _, language, listed, number, percent, plural, speaking
from kdviz.narrative import judgements
from kdviz.studies.comparison.judgement import Margins
from kdviz.studies.predictions.mistake_index import MistakeIndex
from kdviz.studies.predictions.mistakes import Predictions, distillation_effect, distillation_judgement

_PER_PAGE = 48
_THUMB, _THUMB_LONG = 112, 150  # pixels; with long class names
_GRID = "mistakes-grid"
_INITIAL = "mistakes-initial"

_indices: SampleCache[MistakeIndex] = SampleCache(1)
_lines: SampleCache[list[dict[str, Any]]] = SampleCache(64)  # pages


def page() -> None:
    """Filters, the class pairs, the samples found, and the open one."""
    address.only(*filters.ADDRESS, margin.NAME)
    opened = heading(PAGE)
    shown = opened.shown
    if shown is None:
        say_missing(*_nothing(opened))
        return
    if shown.predictions is None:
        say_missing(shown.missing)
        return
    st.html(ASSETS / "app" / "mistakes.css")
    st.markdown(together([_about(opened, shown), _effect(shown.predictions, margin.margins())]))
    index = _index(shown, len(opened.experiment.classes))
    filters.adopt(index)
    _begin(filters.read(index, opened.experiment.classes))
    _browse(opened, shown, index)


def _nothing(opened: OpenExperiment) -> tuple[str, str]:
    """Why there is nothing to show, and the command that changes it."""
    missing = _("This experiment keeps no pictures of its data, so that there is nothing to show here.")
    if not opened.experiment.is_imported:
        return missing, ""
    return together([missing, _("Import the models once more, with pictures:")]), opened.import_command


def _index(shown: SampleView, classes: int) -> MistakeIndex:
    predictions = shown.predictions
    assert predictions is not None
    return _indices.get(shown, classes, lambda: MistakeIndex(predictions, shown.logits, classes))


def _begin(view: View) -> None:
    """Tell the gallery what is open and selected; from then on it tells us."""
    stamp = st.session_state.get(_INITIAL, {}).get("stamp", 0) + 1
    opened = -1 if view.open is None else view.open
    st.session_state[_INITIAL] = {"stamp": stamp, "open": opened, "marked": list(view.selected)}


@st.fragment
def _browse(opened: OpenExperiment, shown: SampleView, index: MistakeIndex) -> None:
    """All below the title. Only this runs again when somebody filters, turns a page, or opens a sample."""
    classes = opened.experiment.classes
    view = filters.read(index, classes)
    _leave_for_compare()
    filters.chips(index, view)
    filters.bar(index, view, classes)
    filters.tokens(view, classes)
    places = index.places(view.filters, view.order)
    with st.container(key="mistakes-body" if index.labelled else "mistakes-unlabelled"):
        if index.labelled:
            with st.container():
                class_pairs.matrix(index, view, classes)
        with st.container():
            _gallery(opened, shown, index, view, places)
        with st.container():
            place = None if view.open is None or not len(places) else shown.index_of(view.open)
            panel(opened, shown, place, view.open in view.selected)


# words ----------------------------------------------------------------------------------------------------------------


def _about(opened: OpenExperiment, shown: SampleView) -> str:
    """Which samples these are, and what was done with them."""
    count, title = number(len(shown)), plain(opened.title)
    values = {"count": count, "title": title}
    if opened.is_mnist and shown.split == "bundled":
        return _("{count} real digits that were held out of all training.", count=count)
    if not opened.held_out:
        text = _("{title}: {count} images; whether a model was trained on some of them is not known.", **values)
        return (
            text
            if shown.labelled
            else together([text, _("They have no labels: this page shows where the models disagree.")])
        )
    if shown.split == "validation":
        return _(
            "{title}: {count} validation images; no weights were trained on them, but each model's best epoch was "
            "chosen on them.",
            title=title,
            count=count,
        )
    return _("{title}: {count} test images that were held out of all training.", title=title, count=count)


def _effect(predictions: Predictions, margins: Margins) -> str:
    """What the KD student does better and worse than the student alone, and what that allows to be said."""
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
    one = _("With one seed this tells of these models only, not of distillation in general.")
    return together([counts, plain(judgements.helped(judged)[2]), one])


def _found(opened: OpenExperiment, count: int) -> str:
    if opened.is_mnist:
        return plural("{count} digit", "{count} digits", count)
    return plural("{count} image", "{count} images", count)


# the samples ----------------------------------------------------------------------------------------------------------


def _gallery(opened: OpenExperiment, shown: SampleView, index: MistakeIndex, view: View, places: np.ndarray) -> None:
    title, about = index.titles[view.filters.group]
    st.markdown(f"**{_found(opened, len(places))}** · {_(title)}  \n:small[{_(about)}]")
    if not len(places):
        filters.empty(index, view, opened.experiment.classes)
        return
    pages = -(-len(places) // _PER_PAGE)
    at = min(max(1, view.page), pages)
    thumb = _THUMB_LONG if max(map(len, opened.experiment.classes)) > 4 else _THUMB
    visible, following = places[(at - 1) * _PER_PAGE : at * _PER_PAGE], places[at * _PER_PAGE : (at + 1) * _PER_PAGE]
    gallery.grid(
        shown,
        visible.tolist(),
        _items(shown, opened.experiment.classes, tuple(visible.tolist())),
        gallery.GalleryPage(at, pages),
        key=_GRID,
        label=_(title),
        thumb=thumb,
        initial=st.session_state[_INITIAL],
        legend=[
            {
                "colour": figures.role_colour(role),
                "symbol": figures.role_symbol(role),
                "title": figures.role_title(role),
            }
            for role in index.roles
        ],
        most=MOST_SELECTED,
        on={"turned": _turned, "opened": _opened, "marked": _marked, "picked": _none, "compared": _none},
    )
    gallery.make_ahead(shown, following.tolist(), thumb)
    _files(opened, shown, view, places)


def _items(shown: SampleView, classes: tuple[str, ...], places: tuple[int, ...]) -> list[dict[str, Any]]:
    """What is written below each picture, and said of it to those who cannot see it."""
    return _lines.get(shown, (places, language()), lambda: [_item(shown, classes, place) for place in places])


@lru_cache(maxsize=1000)
def _percent(whole: int, spoken: str) -> str:
    """Writing a number takes longer than all else that is done for a thumbnail."""
    with speaking(spoken):
        return percent(whole / 100, 0)


def _item(shown: SampleView, classes: tuple[str, ...], place: int) -> dict[str, Any]:
    assert shown.predictions is not None
    predictions, sample, label = shown.predictions, int(shown.numbers[place]), int(shown.labels[place])
    answers = {role: int(predicted[place]) for role, predicted in predictions.predicted.items()}
    lines = [
        {
            "colour": figures.role_colour(role),
            "symbol": figures.role_symbol(role),
            "predicted": classes[answer],
            "confidence": _percent(round(100 * float(predictions.confidence[role][place])), language()),
            "wrong": answer != label and label >= 0,
        }
        for role, answer in answers.items()
    ]
    said = [
        _("{model} says {name}", model=figures.role_title(role), name=classes[answer])
        for role, answer in answers.items()
    ]
    return {
        "id": sample,
        "alt": f"{about_sample(sample, label, classes)}: {listed(said)}",
        "label": _("True {name}", name=classes[label]) if label >= 0 else _("no label"),
        "lines": lines,
    }


def _files(opened: OpenExperiment, shown: SampleView, view: View, places: np.ndarray) -> None:
    name = f"kdviz-{opened.experiment.name}-{view.filters.group}"
    with st.container(horizontal=True, key="mistakes-files"):
        label = _("This list (CSV)")
        download(label, f"{name}.csv", "text/csv", lambda: table(opened, shown, places).to_csv(index=False))
        marked = [place for one in view.selected if (place := shown.index_of(one)) is not None]
        if marked:
            label, chosen = _("The selection (CSV)"), np.array(marked)
            kept = f"kdviz-{opened.experiment.name}-selection.csv"
            download(label, kept, "text/csv", lambda: table(opened, shown, chosen).to_csv(index=False))


def table(opened: OpenExperiment, shown: SampleView, places: np.ndarray) -> pd.DataFrame:
    """Samples as a table: one row a sample, in the order given."""
    assert shown.predictions is not None
    predictions, classes = shown.predictions, np.array(opened.experiment.classes)
    columns: dict[str, Any] = {"sample": shown.numbers[places]}
    if shown.labelled:
        columns["true"] = classes[shown.labels[places]]
    for role, predicted in predictions.predicted.items():
        columns[f"{role}_predicted"] = classes[predicted[places]]
        columns[f"{role}_confidence"] = predictions.confidence[role][places]
    return pd.DataFrame(columns)


# what the gallery tells -----------------------------------------------------------------------------------------------


def _told(name: str) -> Any:
    return st.session_state[_GRID][name]


def _turned() -> None:
    keep("page", str(int(_told("turned"))))


def _opened() -> None:
    sample = int(_told("opened"))
    keep("open", "" if sample < 0 else str(sample))


def _marked() -> None:
    keep("selected", ",".join(str(int(one)) for one in _told("marked")[:MOST_SELECTED]))


def _none() -> None:
    """The run that this causes goes to another page."""


def _leave_for_compare() -> None:
    """Go to Compare with the sample that was picked, or with all that are selected."""
    told = st.session_state.get(_GRID) or {}
    picked, compared = told.get("picked"), told.get("compared")
    if picked is not None:
        query = {"sample": str(int(picked))}
    elif compared:
        query = {"samples": ",".join(str(int(one)) for one in compared)}
    else:
        return
    uploads().chosen = None
    for name in ("sample", "samples"):
        address.keep(name, "", "")
    links.open_page("compare", query)
