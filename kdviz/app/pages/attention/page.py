"""Attention study: is the KD student's map closer to the teacher's than the student alone's, over a test set?"""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.attention import PAGE
from kdviz.app.pages.attention.files import show_chart_files, show_files
from kdviz.app.pages.attention.images import show_distribution, show_extremes
from kdviz.app.pages.attention.tables import (
    changes_table,
    classes_table,
    controls_table,
    faithfulness_table,
    values_table,
)
from kdviz.app.texts import plain, say_missing, together
from kdviz.app.widgets.chart import show_chart
from kdviz.core.language import N_, _, plural
from kdviz.core.vocabulary import Role
from kdviz.metrics.similarity import MAIN, measures
from kdviz.narrative.attention.likeness import likeness_sentences
from kdviz.narrative.attention.narrative import narrate
from kdviz.studies.attention import MARGIN, AttentionReport, studies_of
from kdviz.studies.attention.faithfulness import faithfulness_summary
from kdviz.studies.attention.statistics.likeness import read_likeness
from kdviz.studies.sweep.kinds import STUDIES

ADDRESS = ("study", "measure", "margin", "value")
_LEAST_MARGIN, _LARGEST_MARGIN = 0.001, 0.2  # in units of agreement
_MEASURE_TITLES = {
    "spearman": N_("Spearman"),
    "pearson": N_("Pearson"),
    "ssim": N_("SSIM"),
    "iou": N_("Top-20 % overlap"),
}
_OUTCOMES = {
    "closer": ("visibility", N_("Yes: the KD student looks more where the teacher looks")),
    "further": ("visibility_off", N_("No: the KD student looks less where the teacher looks")),
    "as close": ("visibility_off", N_("No: by less than the margin, if at all")),
    "cannot be told": ("help", N_("It cannot be told")),
}


def page() -> None:
    address.keep_only(*ADDRESS)
    opened = heading(PAGE)
    studies = sorted(studies_of(opened.experiment), key=lambda name: (name not in STUDIES, name != "temperature", name))
    if not studies:
        _show_without_student(opened)
        return
    study, measure, margin = _choose(studies)
    report = replace(opened.attention(study, measure), margin=margin)
    _show_verdict(report)
    _show_claim(report)
    if len(report.values) > 1:
        _show_values(report)
    show_distribution(report)
    show_extremes(opened, report)
    _show_dependence(report)
    _show_faithfulness(opened)
    show_files(opened, report)


def _show_without_student(opened: OpenExperiment) -> None:
    """Show what a study of only a teacher and its KD student says, else how to make a study."""
    likeness = read_likeness(opened.experiment)
    if likeness is None:
        _show_missing(opened)
        return
    st.markdown(plain(together(likeness_sentences(likeness))))


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "Four pictures prove nothing: a study compares the models' maps over thousands of test images and several "
            "seeds, takes the noise of the masks out, and puts controls beside the claim."
        )
    )
    if opened.experiment.is_imported:
        _show_missing_for_imported(opened)
        return
    command = f"kdviz study -e {opened.command_folder} --data DIR --images 2000"
    say_missing(_("This experiment has no attention study yet; make one with:"), command)


def _show_missing_for_imported(opened: OpenExperiment) -> None:
    """Show how models that were trained elsewhere are studied, or why they cannot be."""
    if not {Role.TEACHER, Role.KD_STUDENT} <= opened.experiment.models.keys():
        say_missing(
            _("A study compares a KD student's maps with its teacher's; here is no teacher beside a KD student.")
        )
        return
    if opened.samples is not None and not opened.samples.labelled:
        say_missing(_("A study chooses its images by their labels, and these pictures have none."))
        return
    data = "" if opened.samples is not None else " --data DIR"
    command = f"kdviz study --study models -e {opened.command_folder}{data}"
    say_missing(_("These models have not been studied yet; this compares their maps, and trains nothing:"), command)


def _measure_title(name: str) -> str:
    return _(_MEASURE_TITLES[name]) if name in _MEASURE_TITLES else name


def _choose(studies: list[str]) -> tuple[str, str, float]:
    """The study, the measure and the margin of the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        study = address.read_choice("study", studies, studies[0])
        if len(studies) > 1:
            study = (
                st.segmented_control(
                    _("What is varied"),
                    studies,
                    required=True,
                    format_func=lambda name: _(STUDIES[name].title) if name in STUDIES else _("Nothing"),
                    key=address.widget_key(f"attention-study-{','.join(studies)}", study),
                )
                or study
            )
        names = sorted(measures, key=lambda name: name != MAIN)
        measure = address.read_choice("measure", names, MAIN)
        measure = (
            st.segmented_control(
                _("How alike two maps are"),
                names,
                required=True,
                format_func=_measure_title,
                key=address.widget_key("attention-measure", measure),
                help=_("Pearson's correlation is corrected for the noise of the masks; the others cannot be."),
            )
            or measure
        )
        margin = _choose_margin()
    address.keep("study", study, studies[0])
    address.keep("measure", measure, MAIN)
    return study, measure, margin


def _choose_margin() -> float:
    """The margin of agreement below which a difference counts as none, from the address."""
    default = f"{MARGIN:g}"
    try:
        margin = float(address.read("margin", default))
    except ValueError:
        margin = MARGIN
    margin = margin if _LEAST_MARGIN <= margin <= _LARGEST_MARGIN else MARGIN  # also for NaN
    margin = st.number_input(
        _("Margin"),
        _LEAST_MARGIN,
        _LARGEST_MARGIN,
        step=0.005,
        format="%.3f",
        width=140,
        key=address.widget_key("attention-margin", margin),
        help=_("A difference of agreement that is shown to be smaller counts as none."),
    )
    address.keep("margin", f"{margin:g}", default)
    return margin


# the claim ------------------------------------------------------------------------------------------------------------


def _show_verdict(report: AttentionReport) -> None:
    narrative = narrate(report)
    icon, title = _OUTCOMES[narrative.outcome]
    st.subheader(f":material/{icon}: {_(title)}", anchor=False)
    st.markdown(plain(together(narrative.sentences)))
    st.markdown("\n".join([f"**{_('Controls')}**", "", *(f"- {plain(sentence)}" for sentence in narrative.controls)]))
    st.markdown(f":gray[**{_('Limits')}** {plain(together(narrative.limits))}]")


def _show_claim(report: AttentionReport) -> None:
    st.markdown(
        f"**{_('The claim beside its controls')}**",
        help=_(
            "Each line is a difference of two mean agreements with its 95 % interval; the dots are single trainings. "
            "The band is a quarter of the effect either way: a control passes when its 90 % interval lies within it."
        ),
    )
    show_chart(figures.claim_and_controls(report), "attention-claim")
    show_chart_files("claim", figures.claim_and_controls, report)
    if report.all_controls:
        with st.expander(_("Every control")):
            st.dataframe(controls_table(report), hide_index=True)


def _show_values(report: AttentionReport) -> None:
    is_softness = report.study == "temperature"
    title = _("Does a softer target teach more of it?") if is_softness else _("The difference at each value")
    st.subheader(title, anchor=False)
    show_chart(figures.effect_against_value(report), "attention-values")
    show_chart_files("values", figures.effect_against_value, report)
    st.dataframe(values_table(report), hide_index=True)
    if report.trainings > 1:
        with st.expander(_("Each value beside each other")):
            st.dataframe(changes_table(report), hide_index=True)
            st.caption(
                _(
                    "The intervals of neighbours hold together at 95 % (Bonferroni); p-values are adjusted so that all "
                    "pairs together err in 5 % of studies (Holm, 1979)."
                )
            )


# what it depends on, and faithfulness ---------------------------------------------------------------------------------


def _show_dependence(report: AttentionReport) -> None:
    sentences = narrate(report).dependence
    if sentences:
        st.subheader(_("What it depends on"), anchor=False)
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in sentences))
    with st.expander(_("Each class")):
        st.dataframe(classes_table(report), hide_index=True)
        st.caption(_("p-values are adjusted so that all classes together err in 5 % of studies (Holm, 1979)."))


def _show_faithfulness(opened: OpenExperiment) -> None:
    rows = faithfulness_summary(opened.experiment)
    if not rows:
        return
    st.subheader(_("Are the maps true to their models?"), anchor=False)
    st.caption(
        _(
            "Deletion and insertion over the same images, by method: a map earns trust where it does better than a "
            "blurred picture, which knows no model. Means over {images}, in brackets 95 % intervals: one that holds "
            "zero cannot tell.",
            images=plural("{count} image", "{count} images", max(row["images"] for row in rows)),
        )
    )
    st.dataframe(faithfulness_table(rows), hide_index=True)
