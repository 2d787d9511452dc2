"""What an import found, on the page Bring your models: one card a model, nine pictures, and what can be done next."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from kdviz.app import address, library, links, session
from kdviz.app.library import OpenExperiment
from kdviz.app.pages.bring_models.draft import ModelsDraft
from kdviz.app.pages.models.inputs import NOTHING, model_facts
from kdviz.app.samples import SampleView
from kdviz.app.texts import about_sample, download, picture_bytes, plain, say_error
from kdviz.app.uploads import session_store
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.errors import KdvizError
from kdviz.core.language import _, percent, plural
from kdviz.figures import role_colour, role_title
from kdviz.figures.overlay import enlarged
from kdviz.figures.roles import titles_of
from kdviz.importing import report

_PICTURES = 9
_SIDE = 220  # pixels of a picture that is sent to the browser
_MOST_DOUBTS = 8


def opened(draft: ModelsDraft) -> OpenExperiment | None:
    """The experiment of the last import that succeeded, if any; what it found is filled into the draft."""
    if draft.name not in session_store.experiments():
        draft.name = ""
        return None
    try:
        imported = library.open_experiment(draft.name)
    except KdvizError as error:
        say_error(error)
        return None
    if not draft.is_running:
        draft.fill_in(imported.experiment.runs)
    return imported


def show_import(draft: ModelsDraft, opened: OpenExperiment) -> None:
    """Show what an import made, the experiment ``opened``."""
    session.name_models(titles_of(opened.experiment.runs))
    st.subheader(_("What was found"), anchor=False)
    st.caption(
        _(
            "Please read where each network and input is from: a wrong input gives a wrong accuracy. To correct one, "
            "open it above at the model's file, and check again."
        )
    )
    _show_cards(opened)
    _show_samples(opened)
    _show_next(draft, opened)


def _show_cards(opened: OpenExperiment) -> None:
    entries = report(opened.experiment)
    accuracy = _("accuracy on {count} pictures", count=len(opened.samples)) if opened.samples is not None else ""
    facts = {role: model_facts(opened, role) for role in entries}
    known_titles = {title for pairs in facts.values() for title, value in pairs if value != NOTHING}
    shown_facts = {role: [fact for fact in pairs if fact[0] in known_titles] for role, pairs in facts.items()}
    cards = "".join(_card_html(role, entry["accuracy"], accuracy, shown_facts[role]) for role, entry in entries.items())
    html.show(f'<div class="ab-cards">{cards}</div>')
    doubts = list(dict.fromkeys(doubt.text for doubt in opened.doubts))
    if doubts:
        more = len(doubts) - _MOST_DOUBTS
        lines = [f"- {plain(doubt)}" for doubt in doubts[:_MOST_DOUBTS]]
        lines += ["- " + plural("{count} more doubt", "{count} more doubts", more)] if more > 0 else []
        st.warning("\n".join(lines), icon=":material/warning:")


def _card_html(role: str, share: float | None, label: str, facts: Sequence[tuple[str, str]]) -> str:
    rows = len(facts) + 2
    value = "–" if share is None else text(percent(share, 2))
    about = _("no labels, no accuracy") if share is None else label
    lines = "".join(f"<div><dt>{text(title)}</dt><dd>{fact}</dd></div>" for title, fact in facts)
    return (
        f'<section class="ab-card" style="--role:{role_colour(role)};grid-row:span {rows}">'
        f"<h3>{html.role(role)}{text(role_title(role))}</h3>"
        f'<p class="big"><b>{value}</b><span class="soft">{text(about)}</span></p>'
        f'<dl style="grid-row:span {rows - 2}">{lines}</dl></section>'
    )


# pictures -------------------------------------------------------------------------------------------------------------


def _show_samples(opened: OpenExperiment) -> None:
    samples = opened.samples
    if samples is None or samples.predictions is None:
        return
    st.markdown(f"**{_('What they say of some pictures')}**")
    figures = "".join(_figure_html(opened, samples, index) for index in _picture_indices(opened, samples))
    html.show(f'<div class="bm-pictures">{figures}</div>')


def _picture_indices(opened: OpenExperiment, samples: SampleView) -> list[int]:
    """Indices of the pictures to show: first those worth a look, then others from all over."""
    step = max(1, len(samples) // _PICTURES)
    return list(dict.fromkeys([*opened.showcase, *range(0, len(samples), step), *range(len(samples))]))[:_PICTURES]


def _figure_html(opened: OpenExperiment, samples: SampleView, index: int) -> str:
    classes, label = opened.experiment.classes, int(samples.labels[index])
    about = about_sample(int(samples.numbers[index]), label, classes)
    picture = samples.picture(index)
    picture.thumbnail((_SIDE, _SIDE))
    source = base64.b64encode(picture_bytes(enlarged(picture, _SIDE // 2))).decode()
    title = _("True class: {name}", name=classes[label]) if label >= 0 else _("no label")
    answers = "".join(_answer_html(opened, samples, index, role) for role in _predictions(samples))
    return (
        f'<figure><img src="data:image/png;base64,{source}" alt="{text(about)}">'
        f"<figcaption><b>{text(title)}</b><ul>{answers}</ul></figcaption></figure>"
    )


def _predictions(samples: SampleView) -> list[str]:
    return list(samples.predictions.predicted) if samples.predictions is not None else []


def _answer_html(opened: OpenExperiment, samples: SampleView, index: int, role: str) -> str:
    assert samples.predictions is not None
    label, answer = int(samples.labels[index]), int(samples.predictions.predicted[role][index])
    confidence = percent(float(samples.predictions.confidence[role][index]), 0)
    name = opened.experiment.classes[answer]
    verdict = _("says {name}", name=name) if label < 0 else _("✓ says {name}", name=name)
    verdict = _("✗ says {name}", name=name) if label >= 0 and answer != label else verdict
    kind = "" if label < 0 else "bm-right" if answer == label else "bm-wrong"
    return (
        f'<li class="{kind}"><span class="bm-who">{html.role(role)}{text(role_title(role))}</span> '
        f"<b>{text(verdict)}</b> <small>{text(confidence)}</small></li>"
    )


# what next ------------------------------------------------------------------------------------------------------------


def _show_next(draft: ModelsDraft, opened: OpenExperiment) -> None:
    name = opened.experiment.name
    with st.container(horizontal=True, vertical_alignment="center", gap="medium", key="bm-next"):
        links.page_link("overview", _("Open in Overview"), "dashboard", {address.EXPERIMENT: name})
        folder = opened.experiment.folder
        title = session_store.folder_in_a_command(name).partition("/")[2]
        download(_("Download the experiment (zip)"), f"{title}.zip", "application/zip", lambda: zipped(folder, title))
    st.caption(_("The same in a terminal, where it is kept:"))
    st.code(draft.command(), language=None, wrap_lines=True)


def zipped(folder: Path, name: str) -> bytes:
    """An experiment's folder as a zip, which the page Models opens again; not compressed, as weights hardly shrink."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{name}/{path.name}")
    return buffer.getvalue()
