"""Overview, the first screen: an answer, a sample with its maps, accuracies, what was found. Nothing is computed."""

from __future__ import annotations

import base64
import math
from functools import lru_cache

import numpy as np
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages import margin
from kdviz.app.texts import about_sample, picture_bytes, plain
from kdviz.app.widgets import html
from kdviz.app.widgets.html import text
from kdviz.compress.cost import CostReport, read_cost
from kdviz.core.errors import ExperimentError
from kdviz.core.files import ASSETS
from kdviz.core.language import _, number, percent, plural
from kdviz.figures.overlay import enlarged, overlay
from kdviz.narrative.overview import Accuracy, Answer, ExperimentSummary, about_these, answers, decision
from kdviz.studies.comparison import inventory
from kdviz.studies.predictions.mistakes import members
from kdviz.studies.predictions.showcase import FURTHER_STORIES, STORIES, Example, ShownSample, read_showcase
from kdviz.studies.sweep.report import Report

_SIDE = 280  # pixels of a map that is sent
_MARKS = {"good": "✓", "mixed": "!", "bad": "✗", "unknown": "?"}  # colour is never the only difference
_TABLES = ("cost", "temperature", "study_predictions", "attention")  # that answers rest on, beside the predictions
_FIRST_LOOK = 6  # pictures, where there are no maps to show
_MORE = (
    ("compare", "compare", lambda: _("Explain a picture of your own")),
    ("bring", "upload_file", lambda: _("Bring your models")),
    ("teacher-epochs", "hourglass_top", lambda: _("When should the teacher stop?")),
    ("dark-knowledge", "dark_mode", lambda: _("What the teacher knows of other classes")),
    ("methods", "menu_book", lambda: _("What a map says, and what it does not")),
)


_OF_TRAINING = ("teacher-epochs",)


def page() -> None:
    address.only("show", margin.NAME)
    opened = heading(_("May the student stand in for its teacher?"))
    html.style()
    st.html(ASSETS / "app" / "overview.css")
    found = _findings(opened)
    said = _decided(opened, found)
    left, right = st.columns([2.1, 1], gap="medium")
    with left:
        _sample(opened)
    with right:
        _accuracies(found)
    _answers(opened, about_these(found, said))
    _more(opened)


# what is known --------------------------------------------------------------------------------------------------------


def _findings(opened: OpenExperiment) -> ExperimentSummary:
    return _findings_of(opened, tuple(_time(opened, name) for name in _TABLES))


@lru_cache(maxsize=8)
def _findings_of(opened: OpenExperiment, _stamp: tuple[int, ...]) -> ExperimentSummary:
    return ExperimentSummary(opened.experiment, _cost_of(opened), _study_of(opened))


def _study_of(opened: OpenExperiment) -> Report | None:
    try:
        return opened.report("temperature")
    except ExperimentError:
        return None


def _cost_of(opened: OpenExperiment) -> CostReport | None:
    try:
        report = read_cost(opened.experiment)
    except ExperimentError:
        return None
    return None if report.stale else report


def _time(opened: OpenExperiment, table: str) -> int:
    """Changes when a table does."""
    try:
        return (opened.experiment.folder / f"{table}.parquet").stat().st_mtime_ns
    except OSError:
        return 0


# the answer -----------------------------------------------------------------------------------------------------------


def _decided(opened: OpenExperiment, found: ExperimentSummary) -> list[Answer]:
    """The decision, beside it the margin that it holds for; and the answers that it is made of."""
    with st.container(key="ov-top"):
        decided = st.container(key="ov-decided")
        said = answers(found, margin.field())
    top = decision(found, said)
    with decided:
        html.show(
            f'<div class="ov-decision ov-{top.tone}">'
            f'<p><i aria-hidden="true">{_MARKS[top.tone]}</i>{text(top.sentence)}</p>'
            f"<p>{text(_about(opened))}</p></div>"
        )
    return said


def _about(opened: OpenExperiment) -> str:
    """One sentence of what this experiment is."""
    experiment = opened.experiment
    sizes = {card.role: card.parameters for card in _cards(opened)}
    classes = plural("{count} class", "{count} classes", len(experiment.classes))
    student, teacher = sizes.get("kd_student"), sizes.get("teacher")
    if student is None or teacher is None:
        models = plural("{count} model", "{count} models", len(experiment.runs))
        return _("{title}, {classes}: {models}.", title=opened.title, classes=classes, models=models)
    values = {
        "title": opened.title,
        "classes": classes,
        "student": _millions(student),
        "teacher": _millions(teacher),
    }
    training = experiment.runs["kd_student"].training
    temperature, alpha = training.get("temperature"), training.get("alpha")
    if isinstance(temperature, (int, float)) and isinstance(alpha, (int, float)):
        return _(
            "{title}, {classes}: a student of {student} million parameters, distilled at T = {T} and alpha = {alpha} "
            "from a teacher of {teacher} million, beside the same student trained alone.",
            T=number(temperature, 0 if temperature == int(temperature) else 1),
            alpha=number(alpha, 1),
            **values,
        )
    return _(
        "{title}, {classes}: a student of {student} million parameters, distilled from a teacher of {teacher} million.",
        **values,
    )


@lru_cache(maxsize=8)
def _cards(opened: OpenExperiment) -> list[inventory.ModelCard]:
    return inventory.cards(opened.experiment)


def _millions(count: int) -> str:
    return number(count / 1e6, 2 if count < 1e7 else 1)


# the sample -----------------------------------------------------------------------------------------------------------


def _sample(opened: OpenExperiment) -> None:
    known = {one.story: one for one in _showcase(opened, _time(opened, "showcase"))}
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
    sample = known[chosen or asked]
    html.show(_figure(opened, sample))
    _link(
        "compare",
        _("Open in Compare, with every number and setting"),
        "compare",
        query={"sample": str(sample.sample)},
    )


@lru_cache(maxsize=8)
def _showcase(opened: OpenExperiment, _stamp: int) -> tuple[ShownSample, ...]:
    try:
        return tuple(read_showcase(opened.experiment))
    except ExperimentError:
        return ()


def _figure(opened: OpenExperiment, sample: ShownSample) -> str:
    classes = opened.experiment.classes
    limit = max(float(np.abs(one.values).max()) for one in sample.examples.values())
    about = _("True class: {name}", name=classes[sample.label]) if sample.label >= 0 else _("no label")
    title = _("What the models see")
    cells = [
        f'<figure><div class="ov-name">{text(title)}</div><img src="{_plain_image(sample)}" '
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
        f'<span>{text(name)}</span></div><img src="{_map_image(sample, one.role, limit)}" alt="{text(alt)}">'
        f'<figcaption><b class="{kind}">{text(verdict)}</b> '
        f"<span>{text(percent(one.confidence, 1))}</span><br><small>{text(near)}</small></figcaption></figure>"
    )


@lru_cache(maxsize=64)
def _map_image(sample: ShownSample, role: str, limit: float) -> str:
    return _data(picture_bytes(overlay(sample.picture, sample.examples[role].values, limit, _SIDE)))


@lru_cache(maxsize=32)
def _plain_image(sample: ShownSample) -> str:
    return _data(picture_bytes(enlarged(sample.picture, _SIDE)))


def _data(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _pictures(opened: OpenExperiment) -> None:
    """A few pictures, where no maps are kept."""
    shown = opened.shown
    if shown is None:
        st.caption(_("This experiment keeps no pictures of its data; Compare explains pictures of your own."))
        _import_again(opened)
        _link("compare", _("Open Compare"), "compare")
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
    _link("compare", _("Open Compare"), "compare")


def _import_again(opened: OpenExperiment) -> None:
    """How pictures come into an experiment of imported models."""
    if opened.experiment.is_imported:
        st.caption(_("With pictures these models are measured and compared; import them once more:"))
        st.code(opened.import_command, language=None, wrap_lines=True)


# accuracies -----------------------------------------------------------------------------------------------------------


def _accuracies(found: ExperimentSummary) -> None:
    known = found.accuracies
    if not known:
        st.caption(_unmeasured(found))
        return
    split = {"test": _("test"), "validation": _("validation"), "bundled": _("bundled")}.get(known[0].split, "")
    ends = [end for one in known for end in _ends(one)]
    low, high = min(ends), max(ends)
    rows = "".join(_accuracy_row(one, low, high) for one in known)
    title = _("Accuracy on {count} {split} images", count=number(known[0].samples), split=split)
    bars = _("Bar: 95 % interval over images. Dots: this model; open: mean over seeds.")
    html.show(
        f'<div class="ov-accuracy"><h3>{text(title)}</h3><ul>{rows}</ul><p class="ov-legend">{text(bars)}</p></div>'
    )


def _unmeasured(found: ExperimentSummary) -> str:
    said = found.predictions
    if said is None and found.experiment.is_imported:
        return _("These models were imported without pictures; import them again with --data to measure them.")
    if said is None or said.labelled:
        return _("The accuracies of these models are not known yet; kdviz evaluate measures them.")
    differ = float(members(said, "differ").mean()) if len(said.labels) else 0.0
    return _(
        "The {count} images have no labels, so that there are no accuracies. On {share} of them the models disagree.",
        count=number(len(said.labels)),
        share=percent(differ),
    )


def _ends(one: Accuracy) -> list[float]:
    known = [one.value, one.low, one.high, one.mean if one.mean is not None else math.nan]
    return [value for value in known if not math.isnan(value)]


def _accuracy_row(one: Accuracy, low: float, high: float) -> str:
    def place(value: float) -> str:
        return f"{100 * (value - low) / ((high - low) or 1.0):.2f}%"

    bar = ""
    if not math.isnan(one.low):
        bar = f'<i style="left:{place(one.low)};right:calc(100% - {place(one.high)})"></i>'
    interval = "" if math.isnan(one.low) else f"{percent(one.low, 2)} – {percent(one.high, 2)}"
    mean = ""
    if one.mean is not None and one.spread is not None:
        mean = f'<u style="left:{place(one.mean)}"></u>'
        interval += " · " + _(
            "{seeds}: {mean} ± {spread}",
            seeds=plural("{count} seed", "{count} seeds", one.seeds),
            mean=percent(one.mean, 2),
            spread=percent(one.spread, 2),
        )
    return (
        f'<li style="--role:{figures.role_colour(one.role)}"><div class="ov-name">{html.role(one.role)}'
        f"<span>{text(figures.role_title(one.role))}</span><b>{text(percent(one.value, 2))}</b></div>"
        f'<div class="ov-range" aria-hidden="true">{bar}{mean}<s style="left:{place(one.value)}"></s></div>'
        f"<small>{text(interval)}</small></li>"
    )


# answers and links ----------------------------------------------------------------------------------------------------


def _answers(opened: OpenExperiment, said: list[Answer]) -> None:
    if not said:
        return
    with st.container(key="ov-answers"):
        for one in said:
            with st.container(border=True, key=f"ov-answer-{one.name}"):
                html.show(
                    f'<div class="ov-answer ov-{one.tone}"><h3>{text(one.question)}</h3>'
                    f'<p><i aria-hidden="true">{_MARKS[one.tone]}</i><b>{text(one.word)}</b></p>'
                    f"<p>{text(one.sentence)}</p></div>"
                )
                _link(one.page, one.link, "arrow_forward")


def _more(opened: OpenExperiment) -> None:
    with st.container(horizontal=True, gap="medium", key="ov-more"):
        for name, icon, label in _MORE:
            if name in _OF_TRAINING and opened.experiment.is_imported:
                continue
            _link(name, label(), icon)


def _link(name: str, label: str, icon: str, query: dict[str, str] | None = None) -> None:
    """To another page of the app, when there is one of this name, about the same experiment."""
    page = st.session_state["pages"].get(name)
    if page is None:
        return
    kept = {key: st.query_params[key] for key in (address.EXPERIMENT,) if key in st.query_params}
    st.page_link(page, label=plain(label), icon=f":material/{icon}:", query_params={**kept, **(query or {})})
