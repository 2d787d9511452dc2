"""Overview, the first screen: an answer, a sample with its maps, accuracies, what was found. Nothing is computed."""

from __future__ import annotations

import streamlit as st

from kdviz.app import address
from kdviz.app.library import OpenExperiment, table_version
from kdviz.app.links import page_link
from kdviz.app.page_header import heading
from kdviz.app.page_registry import Need, navigation, pages
from kdviz.app.pages.overview import PAGE
from kdviz.app.pages.overview.accuracies import accuracies
from kdviz.app.pages.overview.sample import sample
from kdviz.app.texts import plain
from kdviz.app.widgets import html, margin
from kdviz.app.widgets.html import text
from kdviz.compress.cost import CostReport, read_cost
from kdviz.core.errors import ExperimentError
from kdviz.core.files import ASSETS
from kdviz.core.language import _, number, plural
from kdviz.narrative.decision import decision
from kdviz.narrative.overview import Answer, ExperimentSummary, about_these, answers
from kdviz.studies.comparison import inventory
from kdviz.studies.sweep.report import StudyReport

_MARKS = {"good": "✓", "mixed": "!", "bad": "✗", "unknown": "?"}  # colour is never the only difference
_TABLES = ("cost", "temperature", "study_predictions", "attention")  # that answers rest on, beside the predictions


def page() -> None:
    address.only("show", margin.NAME)
    opened = heading(PAGE)
    html.style()
    st.html(ASSETS / "app" / "overview.css")
    found = findings(opened)
    said = _decided(opened, found)
    left, right = st.columns([2.1, 1], gap="medium")
    with left:
        sample(opened)
    with right:
        accuracies(found)
    _answers(opened, about_these(found, said))
    _more(opened)


# what is known --------------------------------------------------------------------------------------------------------


def findings(opened: OpenExperiment) -> ExperimentSummary:
    version = tuple(table_version(opened, name) for name in _TABLES)
    return opened.cache.get(
        "findings", version, lambda: ExperimentSummary(opened.experiment, _cost_of(opened), _study_of(opened))
    )


def _study_of(opened: OpenExperiment) -> StudyReport | None:
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


def _cards(opened: OpenExperiment) -> list[inventory.ModelCard]:
    return opened.cache.get("cards", None, lambda: inventory.cards(opened.experiment))


def _millions(count: int) -> str:
    return number(count / 1e6, 2 if count < 1e7 else 1)


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
                page_link(one.page, plain(one.link), "arrow_forward")


def _more(opened: OpenExperiment) -> None:
    """Links to the pages that invite to something else."""
    with st.container(horizontal=True, gap="medium", key="ov-more"):
        for names in navigation().values():
            for name in names:
                page = pages[name]
                if page.invitation and not (Need.TRAINING in page.needs and opened.experiment.is_imported):
                    page_link(name, plain(_(page.invitation)), page.icon)
