"""The overview, the first screen: the decision, a sample with its maps, the accuracies, the answers.

Nothing is computed here.
"""

from __future__ import annotations

import streamlit as st

from kdviz.app import address
from kdviz.app.library import OpenExperiment, table_version
from kdviz.app.links import page_link
from kdviz.app.page_header import heading
from kdviz.app.page_registry import Need, navigation, pages
from kdviz.app.pages.overview import PAGE
from kdviz.app.pages.overview.accuracies import show_accuracies
from kdviz.app.pages.overview.sample import show_sample
from kdviz.app.pictures.absent_pictures import show_absent_pictures
from kdviz.app.texts import plain
from kdviz.app.widgets import html, margin
from kdviz.app.widgets.html import text
from kdviz.compress.cost import CostReport, read_cost
from kdviz.core.errors import ExperimentError
from kdviz.core.files import ASSETS
from kdviz.core.language import _, number, plural
from kdviz.core.vocabulary import Role
from kdviz.narrative.decision import decision
from kdviz.narrative.overview import Answer, ExperimentSummary, about_these, answers
from kdviz.studies.comparison import inventory
from kdviz.studies.sweep.report import StudyReport

_MARKS = {"good": "✓", "mixed": "!", "bad": "✗", "unknown": "?"}  # colour is never the only difference
_TABLES = ("cost", "temperature", "study_predictions", "attention")  # of the answers, besides the predictions


def page() -> None:
    address.keep_only("show", margin.NAME)
    opened = heading(PAGE)
    html.style()
    st.html(ASSETS / "app" / "overview.css")
    summary = experiment_summary(opened)
    all_answers = _show_decision(opened, summary)
    left, right = st.columns([2.1, 1], gap="medium")
    with left:
        show_sample(opened)
    with right:
        show_accuracies(summary)
    _show_answers(opened, about_these(summary, all_answers))
    show_absent_pictures(opened)
    _show_invitations(opened)


# what is known --------------------------------------------------------------------------------------------------------


def experiment_summary(opened: OpenExperiment) -> ExperimentSummary:
    """The summary of an experiment, made anew only when one of its tables has changed."""
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


def _show_decision(opened: OpenExperiment, summary: ExperimentSummary) -> list[Answer]:
    """Show the decision beside the margin for which it holds, and return the answers on which it rests."""
    with st.container(key="ov-top"):
        decision_slot = st.container(key="ov-decided")
        all_answers = answers(summary, margin.number_field())
    verdict = decision(summary, all_answers)
    with decision_slot:
        html.show(
            f'<div class="ov-decision ov-{verdict.tone}">'
            f'<p><i aria-hidden="true">{_MARKS[verdict.tone]}</i>{text(verdict.sentence)}</p>'
            f"<p>{text(_description(opened))}</p></div>"
        )
    return all_answers


def _description(opened: OpenExperiment) -> str:
    """One sentence about what this experiment is."""
    experiment = opened.experiment
    sizes = {card.role: card.parameters for card in _cards(opened)}
    classes = plural("{count} class", "{count} classes", len(experiment.classes))
    student, teacher = sizes.get(Role.KD_STUDENT), sizes.get(Role.TEACHER)
    if student is None or teacher is None:
        models = plural("{count} model", "{count} models", len(experiment.runs))
        return _("{title}, {classes}: {models}.", title=opened.title, classes=classes, models=models)
    values = {
        "title": opened.title,
        "classes": classes,
        "student": _millions(student),
        "teacher": _millions(teacher),
    }
    training = experiment.runs[Role.KD_STUDENT].training
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


def _show_answers(opened: OpenExperiment, shown_answers: list[Answer]) -> None:
    if not shown_answers:
        return
    with st.container(key="ov-answers"):
        for answer in shown_answers:
            with st.container(border=True, key=f"ov-answer-{answer.name}"):
                html.show(
                    f'<div class="ov-answer ov-{answer.tone}"><h3>{text(answer.question)}</h3>'
                    f'<p><i aria-hidden="true">{_MARKS[answer.tone]}</i><b>{text(answer.word)}</b></p>'
                    f"<p>{text(answer.sentence)}</p></div>"
                )
                page_link(answer.page, plain(answer.link), "arrow_forward")


def _show_invitations(opened: OpenExperiment) -> None:
    """Show links to the pages that have an invitation."""
    with st.container(horizontal=True, gap="medium", key="ov-more"):
        for names in navigation().values():
            for name in names:
                page = pages[name]
                if page.invitation and not (Need.TRAINING in page.needs and opened.experiment.is_imported):
                    page_link(name, plain(_(page.invitation)), page.icon)
