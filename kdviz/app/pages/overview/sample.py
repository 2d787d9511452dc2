"""A sample with its maps as they are stored with the experiment; nothing is computed here."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import numpy as np
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment, table_version
from kdviz.app.links import page_link
from kdviz.app.pictures.absent_pictures import photograph_note
from kdviz.app.texts import about_sample, picture_bytes, plain
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.errors import ExperimentError
from kdviz.core.language import _, number, percent
from kdviz.core.vocabulary import Role, Split
from kdviz.figures.overlay import enlarged, overlay
from kdviz.studies.predictions.showcase import (
    FURTHER_STORIES,
    PHOTOGRAPH,
    STORIES,
    Example,
    ShownSample,
    read_showcase,
)

_LEAST_CEILING = 0.5  # below it a map of a few masks is mostly noise, and an agreement says nothing
_SIDE = 280  # pixels of a map that is sent to the browser
_FIRST_LOOK = 6  # pictures that are shown where there are no maps


def show_sample(opened: OpenExperiment) -> None:
    by_story = {entry.story: entry for entry in _showcase(opened)}
    if not by_story:
        _show_pictures(opened)
        return
    stories = list(by_story)
    requested = address.read("show", stories[0])
    requested = requested if requested in stories else stories[0]
    chosen = st.pills(
        _("Sample"),
        stories,
        required=True,
        format_func=lambda story: _story_title(by_story[story], opened.experiment.classes),
        key=address.widget_key(f"show-{','.join(stories)}", requested),
        label_visibility="collapsed",
        wrap=True,
    )
    address.keep("show", chosen or requested, stories[0])
    entry = by_story[chosen or requested]
    html.show(_figure_html(opened, entry))
    if entry.split == Split.PHOTOGRAPHS:
        st.caption(plain(photograph_note(opened.experiment.opening_pictures, entry.story.removeprefix(PHOTOGRAPH))))
    page_link("compare", _("Open in Compare, with every number and setting"), "compare", query=_query(entry))


def _story_title(entry: ShownSample, classes: Sequence[str]) -> str:
    if entry.split == Split.PHOTOGRAPHS:
        return _("Photograph: {name}", name=classes[entry.label])
    return _((STORIES | FURTHER_STORIES)[entry.story])


def _query(entry: ShownSample) -> dict[str, str]:
    """What opens the same picture in Compare."""
    source = {"from": Split.PHOTOGRAPHS.value} if entry.split == Split.PHOTOGRAPHS else {}
    return {**source, "sample": str(entry.sample)}


def _showcase(opened: OpenExperiment) -> tuple[ShownSample, ...]:
    def read() -> tuple[ShownSample, ...]:
        try:
            return tuple(read_showcase(opened.experiment))
        except ExperimentError:
            return ()

    return opened.cache.get("showcase", table_version(opened, "showcase"), read)


def _figure_html(opened: OpenExperiment, sample: ShownSample) -> str:
    classes = opened.experiment.classes
    limit = max(float(np.abs(example.values).max()) for example in sample.examples.values())
    about = _("True class: {name}", name=classes[sample.label]) if sample.label >= 0 else _("no label")
    title = _("What the models see")
    cells = [
        f'<figure><div class="ov-name">{text(title)}</div><img src="{_plain_image(opened, sample)}" '
        f'alt="{text(_("The picture, {about}", about=about))}"><figcaption><b>{text(about)}</b></figcaption></figure>'
    ]
    cells += [_cell_html(opened, sample, example, limit) for example in sample.examples.values()]
    target = classes[next(iter(sample.examples.values())).target]
    legend = _(
        "Maps of class {name}. Keeping an orange pixel raises its probability, keeping a blue one lowers it. Agreement "
        "is that with the teacher's map, of the most that the masks' noise allows.",
        name=target,
    )
    if Role.TEACHER not in sample.examples:
        legend = _(
            "Maps of class {name}. Keeping an orange pixel raises its probability, keeping a blue one lowers it.",
            name=target,
        )
    return f'<div class="ov-sample">{"".join(cells)}</div><p class="ov-legend">{text(legend)}</p>'


def _cell_html(opened: OpenExperiment, sample: ShownSample, example: Example, limit: float) -> str:
    classes = opened.experiment.classes
    right = example.predicted == sample.label
    unlabelled = sample.label < 0
    name, answer = figures.role_title(example.role), classes[example.predicted]
    y, x = np.unravel_index(int(example.values.argmax()), example.values.shape)
    alt = _(
        "{model}: saliency of class {name}, strongest at row {row}, column {column}",
        model=name,
        name=classes[example.target],
        row=int(y),
        column=int(x),
    )
    verdict = _("✓ says {name}", name=answer) if right else _("✗ says {name}", name=answer)
    verdict = _("says {name}", name=answer) if unlabelled else verdict
    kind = "" if unlabelled else "ov-right" if right else "ov-wrong"
    source, agreement = _map_image(opened, sample, example.role, limit), _agreement_text(example)
    return (
        f'<figure style="--role:{figures.role_colour(example.role)}"><div class="ov-name">{html.role(example.role)}'
        f'<span>{text(name)}</span></div><img src="{source}" alt="{text(alt)}">'
        f'<figcaption><b class="{kind}">{text(verdict)}</b> '
        f"<span>{text(percent(example.confidence, 1))}</span><br><small>{text(agreement)}</small></figcaption></figure>"
    )


def _agreement_text(example: Example) -> str:
    """How alike a map and the teacher's are; empty where that is not known, as of the teacher itself."""
    if math.isnan(example.agreement):
        return ""
    if example.ceiling < _LEAST_CEILING:
        return _("Too few masks: mostly noise")
    return _(
        "Agreement {agreement} of {ceiling}",
        agreement=number(example.agreement, 2),
        ceiling=number(example.ceiling, 2),
    )


def _map_image(opened: OpenExperiment, sample: ShownSample, role: str, limit: float) -> str:
    return opened.cache.get(
        ("map", sample.story, role),
        table_version(opened, "showcase"),
        lambda: _data_url(picture_bytes(overlay(sample.picture, sample.examples[role].values, limit, _SIDE))),
    )


def _plain_image(opened: OpenExperiment, sample: ShownSample) -> str:
    return opened.cache.get(
        ("picture", sample.story),
        table_version(opened, "showcase"),
        lambda: _data_url(picture_bytes(enlarged(sample.picture, _SIDE))),
    )


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _show_pictures(opened: OpenExperiment) -> None:
    """Show a few pictures where no maps are stored."""
    samples = opened.photographs if opened.samples is None else opened.samples
    if samples is None:
        st.caption(_("This experiment keeps no pictures of its data; Compare explains pictures of your own."))
        _show_import_command(opened)
        page_link("compare", _("Open Compare"), "compare")
        return
    cells = []
    for index in (opened.showcase if samples is opened.samples else range(len(samples)))[:_FIRST_LOOK]:
        label, classes = int(samples.labels[index]), opened.experiment.classes
        title = classes[label] if label >= 0 else _("no label")
        alt = about_sample(int(samples.numbers[index]), label, classes)
        picture = samples.picture(index)
        picture.thumbnail((_SIDE, _SIDE))
        source = _data_url(picture_bytes(enlarged(picture, _SIDE // 2)))
        cells.append(f'<figure><img src="{source}" alt="{text(alt)}"><figcaption>{text(title)}</figcaption></figure>')
    html.show(f'<div class="ov-sample ov-small">{"".join(cells)}</div>')
    if samples is opened.photographs:
        st.caption(plain(photograph_note(opened.experiment.opening_pictures)))
    if not opened.experiment.models:
        st.caption(_("Only predictions are known here: there is no model to make maps of."))
        return
    st.caption(
        _("No maps are kept with this experiment yet; this makes some, and Compare makes them of any picture at once:")
    )
    st.code(f"kdviz explain --showcase -e {opened.command_folder}", language=None, wrap_lines=True)
    page_link("compare", _("Open Compare"), "compare")


def _show_import_command(opened: OpenExperiment) -> None:
    """Show how an experiment of imported models gets pictures."""
    if opened.experiment.is_imported:
        st.caption(_("With pictures these models are measured and compared; import them once more:"))
        st.code(opened.import_command, language=None, wrap_lines=True)
