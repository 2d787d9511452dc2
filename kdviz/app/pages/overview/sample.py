"""A sample with its maps, as they are kept with the experiment; nothing is computed."""

from __future__ import annotations

import base64
import math

import numpy as np
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment, table_version
from kdviz.app.links import page_link
from kdviz.app.texts import about_sample, picture_bytes
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.core.errors import ExperimentError
from kdviz.core.language import _, number, percent
from kdviz.figures.overlay import enlarged, overlay
from kdviz.studies.predictions.showcase import FURTHER_STORIES, STORIES, Example, ShownSample, read_showcase

_SIDE = 280  # pixels of a map that is sent
_FIRST_LOOK = 6  # pictures, where there are no maps to show


def sample(opened: OpenExperiment) -> None:
    known = {one.story: one for one in _showcase(opened)}
    if not known:
        _pictures(opened)
        return
    stories = list(known)
    asked = address.read("show", stories[0])
    asked = asked if asked in stories else stories[0]
    chosen = st.pills(
        _("Sample"),
        stories,
        required=True,
        format_func=lambda story: _((STORIES | FURTHER_STORIES)[story]),
        key=address.begin(f"show-{','.join(stories)}", asked),
        label_visibility="collapsed",
        wrap=True,
    )
    address.keep("show", chosen or asked, stories[0])
    picked = known[chosen or asked]
    html.show(_figure(opened, picked))
    page_link(
        "compare", _("Open in Compare, with every number and setting"), "compare", query={"sample": str(picked.sample)}
    )


def _showcase(opened: OpenExperiment) -> tuple[ShownSample, ...]:
    def read() -> tuple[ShownSample, ...]:
        try:
            return tuple(read_showcase(opened.experiment))
        except ExperimentError:
            return ()

    return opened.cache.get("showcase", table_version(opened, "showcase"), read)


def _figure(opened: OpenExperiment, sample: ShownSample) -> str:
    classes = opened.experiment.classes
    limit = max(float(np.abs(one.values).max()) for one in sample.examples.values())
    about = _("True class: {name}", name=classes[sample.label]) if sample.label >= 0 else _("no label")
    title = _("What the models see")
    cells = [
        f'<figure><div class="ov-name">{text(title)}</div><img src="{_plain_image(opened, sample)}" '
        f'alt="{text(_("The picture, {about}", about=about))}"><figcaption><b>{text(about)}</b></figcaption></figure>'
    ]
    cells += [_cell(opened, sample, one, limit) for one in sample.examples.values()]
    target = classes[next(iter(sample.examples.values())).target]
    legend = _(
        "Maps of class {name}. Keeping an orange pixel raises its probability, keeping a blue one lowers it. Agreement "
        "is that with the teacher's map, of the most that the masks' noise allows.",
        name=target,
    )
    if "teacher" not in sample.examples:
        legend = _(
            "Maps of class {name}. Keeping an orange pixel raises its probability, keeping a blue one lowers it.",
            name=target,
        )
    return f'<div class="ov-sample">{"".join(cells)}</div><p class="ov-legend">{text(legend)}</p>'


def _cell(opened: OpenExperiment, sample: ShownSample, one: Example, limit: float) -> str:
    classes = opened.experiment.classes
    right = one.predicted == sample.label
    unknown = sample.label < 0
    name, says = figures.role_title(one.role), classes[one.predicted]
    y, x = np.unravel_index(int(one.values.argmax()), one.values.shape)
    alt = _(
        "{model}: saliency of class {name}, strongest at row {row}, column {column}",
        model=name,
        name=classes[one.target],
        row=int(y),
        column=int(x),
    )
    verdict = _("✓ says {name}", name=says) if right else _("✗ says {name}", name=says)
    verdict = _("says {name}", name=says) if unknown else verdict
    kind = "" if unknown else "ov-right" if right else "ov-wrong"
    near = ""
    if not math.isnan(one.agreement):
        near = _(
            "Agreement {agreement} of {ceiling}",
            agreement=number(one.agreement, 2),
            ceiling=number(one.ceiling, 2),
        )
    return (
        f'<figure style="--role:{figures.role_colour(one.role)}"><div class="ov-name">{html.role(one.role)}'
        f'<span>{text(name)}</span></div><img src="{_map_image(opened, sample, one.role, limit)}" alt="{text(alt)}">'
        f'<figcaption><b class="{kind}">{text(verdict)}</b> '
        f"<span>{text(percent(one.confidence, 1))}</span><br><small>{text(near)}</small></figcaption></figure>"
    )


def _map_image(opened: OpenExperiment, sample: ShownSample, role: str, limit: float) -> str:
    return opened.cache.get(
        ("map", sample.story, role),
        table_version(opened, "showcase"),
        lambda: _data(picture_bytes(overlay(sample.picture, sample.examples[role].values, limit, _SIDE))),
    )


def _plain_image(opened: OpenExperiment, sample: ShownSample) -> str:
    return opened.cache.get(
        ("picture", sample.story),
        table_version(opened, "showcase"),
        lambda: _data(picture_bytes(enlarged(sample.picture, _SIDE))),
    )


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _pictures(opened: OpenExperiment) -> None:
    """A few pictures, where no maps are kept."""
    shown = opened.shown
    if shown is None:
        st.caption(_("This experiment keeps no pictures of its data; Compare explains pictures of your own."))
        _import_again(opened)
        page_link("compare", _("Open Compare"), "compare")
        return
    cells = []
    for place in opened.showcase[:_FIRST_LOOK]:
        known, classes = int(shown.labels[place]), opened.experiment.classes
        label = classes[known] if known >= 0 else _("no label")
        alt = about_sample(int(shown.numbers[place]), known, classes)
        picture = shown.picture(place)
        picture.thumbnail((_SIDE, _SIDE))
        source = _data(picture_bytes(enlarged(picture, _SIDE // 2)))
        cells.append(f'<figure><img src="{source}" alt="{text(alt)}"><figcaption>{text(label)}</figcaption></figure>')
    html.show(f'<div class="ov-sample ov-small">{"".join(cells)}</div>')
    if not opened.experiment.models:
        st.caption(_("Only predictions are known here: there is no model to make maps of."))
        return
    st.caption(
        _("No maps are kept with this experiment yet; this makes some, and Compare makes them of any picture at once:")
    )
    st.code(f"kdviz explain --showcase -e {opened.command_folder}", language=None, wrap_lines=True)
    page_link("compare", _("Open Compare"), "compare")


def _import_again(opened: OpenExperiment) -> None:
    """How pictures come into an experiment of imported models."""
    if opened.experiment.is_imported:
        st.caption(_("With pictures these models are measured and compared; import them once more:"))
        st.code(opened.import_command, language=None, wrap_lines=True)
