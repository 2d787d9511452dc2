"""Attention study: is the KD student's map closer to the teacher's than that of the student alone, over a test set?"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import streamlit as st

from kdviz import figures
from kdviz.app import address, links
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.attention import PAGE
from kdviz.app.pages.attention.tables import (
    changes_table,
    classes_table,
    controls_table,
    faithful_table,
    method_title,
    values_table,
)
from kdviz.app.samples import SampleView
from kdviz.app.texts import download, plain, say_missing, together
from kdviz.app.widgets.component import chart
from kdviz.app.widgets.gallery import gallery
from kdviz.core.language import N_, _, number, plural, signed
from kdviz.metrics.similarity import MAIN, measures
from kdviz.narrative.attention.document import EFFECTS, effects_table
from kdviz.narrative.attention.likeness import likeness_sentences
from kdviz.narrative.attention.words import in_words
from kdviz.studies.attention import MARGIN, AttentionReport, studies_of
from kdviz.studies.attention.faithfulness import NAME as FAITHFULNESS
from kdviz.studies.attention.faithfulness import faithfulness_summary
from kdviz.studies.attention.statistics.likeness import read_likeness
from kdviz.studies.attention.statistics.report import Extreme
from kdviz.studies.attention.statistics.table import NAME as AGREEMENT
from kdviz.studies.sweep.kinds import STUDIES

ADDRESS = ("study", "measure", "margin", "value")
_LEAST_MARGIN, _LARGEST_MARGIN = 0.001, 0.2  # of agreement
_MEASURE_TITLES = {
    "spearman": N_("Spearman"),
    "pearson": N_("Pearson"),
    "ssim": N_("SSIM"),
    "iou": N_("Top-20 % overlap"),
}
_OWN = "models"  # a study of the experiment's own three models, nothing varied
_PARQUET = "application/vnd.apache.parquet"
_OUTCOMES = {
    "closer": ("visibility", N_("Yes: the KD student looks more where the teacher looks")),
    "further": ("visibility_off", N_("No: the KD student looks less where the teacher looks")),
    "as close": ("visibility_off", N_("No: by less than the margin, if at all")),
    "cannot be told": ("help", N_("It cannot be told")),
}


def page() -> None:
    address.only(*ADDRESS)
    opened = heading(PAGE)
    known = sorted(studies_of(opened.experiment), key=lambda name: (name not in STUDIES, name != "temperature", name))
    if not known:
        _without_student(opened)
        return
    study, measure, margin = _which(known)
    report = replace(opened.attention(study, measure), margin=margin)
    _verdict(report)
    _claim(report)
    if len(report.values) > 1:
        _against_value(report)
    _distribution(report)
    _ends(opened, report)
    _depends(report)
    _faithful(opened)
    _files(opened, report)


def _without_student(opened: OpenExperiment) -> None:
    """What a study of a teacher and its KD student alone says; else how to make a study."""
    found = read_likeness(opened.experiment)
    if found is None:
        _missing(opened)
        return
    st.markdown(plain(together(likeness_sentences(found))))


def _missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "Four pictures prove nothing: a study compares the models' maps over thousands of test images and several "
            "seeds, takes the noise of the masks out, and puts controls beside the claim."
        )
    )
    if opened.experiment.is_imported:
        _missing_of_given(opened)
        return
    command = f"kdviz study -e {opened.command_folder} --data DIR --images 2000"
    say_missing(_("This experiment has no attention study yet; make one with:"), command)


def _missing_of_given(opened: OpenExperiment) -> None:
    """The study of models that were trained elsewhere, if there can be one."""
    if not {"teacher", "kd_student"} <= opened.experiment.models.keys():
        say_missing(
            _("A study compares a KD student's maps with its teacher's; here is no teacher beside a KD student.")
        )
        return
    if opened.shown is not None and not opened.shown.labelled:
        say_missing(_("A study chooses its images by their labels, and these pictures have none."))
        return
    data = "" if opened.shown is not None else " --data DIR"
    command = f"kdviz study --study models -e {opened.command_folder}{data}"
    say_missing(_("These models have not been studied yet; this compares their maps, and trains nothing:"), command)


def _measure_title(name: str) -> str:
    return _(_MEASURE_TITLES[name]) if name in _MEASURE_TITLES else name


def _which(known: list[str]) -> tuple[str, str, float]:
    """The study, the measure and the margin of the address."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        study = address.read_choice("study", known, known[0])
        if len(known) > 1:
            study = (
                st.segmented_control(
                    _("What is varied"),
                    known,
                    required=True,
                    format_func=lambda name: _(STUDIES[name].title) if name in STUDIES else _("Nothing"),
                    key=address.begin(f"attention-study-{','.join(known)}", study),
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
                key=address.begin("attention-measure", measure),
                help=_("Pearson's correlation is corrected for the noise of the masks; the others cannot be."),
            )
            or measure
        )
        margin = _margin()
    address.keep("study", study, known[0])
    address.keep("measure", measure, MAIN)
    return study, measure, margin


def _margin() -> float:
    """Of agreement, below which a difference counts as none; in the address."""
    usual = f"{MARGIN:g}"
    try:
        asked = float(address.read("margin", usual))
    except ValueError:
        asked = MARGIN
    asked = asked if _LEAST_MARGIN <= asked <= _LARGEST_MARGIN else MARGIN  # NaN too
    margin = st.number_input(
        _("Margin"),
        _LEAST_MARGIN,
        _LARGEST_MARGIN,
        step=0.005,
        format="%.3f",
        width=140,
        key=address.begin("attention-margin", asked),
        help=_("A difference of agreement that is shown to be smaller counts as none."),
    )
    address.keep("margin", f"{margin:g}", usual)
    return margin


# the claim ------------------------------------------------------------------------------------------------------------


def _verdict(report: AttentionReport) -> None:
    said = in_words(report)
    icon, title = _OUTCOMES[said.outcome]
    st.subheader(f":material/{icon}: {_(title)}", anchor=False)
    st.markdown(plain(together(said.sentences)))
    st.markdown("\n".join([f"**{_('Controls')}**", "", *(f"- {plain(one)}" for one in said.controls)]))
    st.markdown(f":gray[**{_('Limits')}** {plain(together(said.limits))}]")


def _claim(report: AttentionReport) -> None:
    st.markdown(
        f"**{_('The claim beside its controls')}**",
        help=_(
            "Each line is a difference of two mean agreements with its 95 % interval; the dots are single trainings. "
            "The band is a quarter of the effect either way: a control passes when its 90 % interval lies within it."
        ),
    )
    chart(figures.claim_and_controls(report), "attention-claim")
    _chart_files(report, "claim", figures.claim_and_controls, figures.claim_and_controls_file)
    if report.all_controls:
        with st.expander(_("Every control")):
            st.dataframe(controls_table(report), hide_index=True)


def _against_value(report: AttentionReport) -> None:
    title = _("Does a softer target teach more of it?") if report.study == "temperature" else _("What it depends on")
    st.subheader(title, anchor=False)
    chart(figures.effect_against_value(report), "attention-values")
    _chart_files(report, "values", figures.effect_against_value, figures.effect_against_value_file)
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


# image by image -------------------------------------------------------------------------------------------------------


def _distribution(report: AttentionReport) -> None:
    st.subheader(_("Image by image"), anchor=False)
    value = _value(report)
    chart(figures.agreement_distribution(report, value), "attention-images")
    _chart_files(
        report,
        "images",
        lambda one: figures.agreement_distribution(one, value),
        lambda one, kind: figures.agreement_distribution_file(one, kind, value),
    )


def _value(report: AttentionReport) -> float | None:
    known = [one.value for one in report.values if one.value is not None]
    if len(known) < 2 or report.chosen.value is None:
        return report.chosen.value
    kind = STUDIES.get(report.study, STUDIES["temperature"])
    texts = {f"{value:g}": value for value in known}
    usual = f"{report.chosen.value:g}"
    asked = address.read("value", usual)
    asked = asked if asked in texts else usual
    chosen = st.segmented_control(
        _(kind.title),
        list(texts),
        required=True,
        format_func=lambda text: kind.amount(texts[text]),
        key=address.begin(f"attention-value-{','.join(texts)}", asked),
    )
    address.keep("value", chosen or asked, usual)
    return texts[chosen or asked]


def _ends(opened: OpenExperiment, report: AttentionReport) -> None:
    """The images at both ends; a click opens them in Compare."""
    shown = opened.studied
    if shown is None:
        return
    closer, further = report.extremes(8)
    st.markdown(f"**{_('The images at both ends')}** {_('Click one to see its maps.')}")
    left, right = st.columns(2, gap="large")
    with left:
        _end(shown, report, closer, "closer", _("The KD student is closer to the teacher"))
    with right:
        _end(shown, report, further, "further", _("The student alone is closer to the teacher"))


def _end(shown: SampleView, report: AttentionReport, images: list[Extreme], key: str, title: str) -> None:
    places = [(shown.place(one.sample), one) for one in images]
    found = [(place, one) for place, one in places if place is not None]
    if not found:
        return
    st.caption(title)
    items = [
        {
            "id": one.sample,
            "label": signed(one.difference, 2),
            "alt": _(
                "Sample {number}, true class {label}: agreement with the teacher {kd} (KD student), {alone} (alone)",
                number=one.sample,
                label=report.classes[one.label],
                kd=number(one.kd, 2),
                alone=number(one.alone, 2),
            ),
        }
        for _place, one in found
    ]
    picked = gallery(shown, [place for place, _one in found], items, key=f"end-{key}", label=title, thumb=72)
    if picked is not None:
        links.open_page("compare", {"from": "attention", "sample": str(picked)})


# what it depends on, and faithfulness ---------------------------------------------------------------------------------


def _depends(report: AttentionReport) -> None:
    said = in_words(report).dependence
    st.subheader(_("What it depends on"), anchor=False)
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in said))
    with st.expander(_("Each class")):
        st.dataframe(classes_table(report), hide_index=True)
        st.caption(_("p-values are adjusted so that all classes together err in 5 % of studies (Holm, 1979)."))


def _faithful(opened: OpenExperiment) -> None:
    rows = faithfulness_summary(opened.experiment)
    if not rows:
        return
    st.subheader(_("Are the maps true to their models?"), anchor=False)
    st.caption(
        _(
            "Deletion and insertion over the same images, by method: a map earns trust where it does better than a "
            "blurred picture, which knows no model."
        )
    )
    st.dataframe(faithful_table(rows), hide_index=True)


# files ----------------------------------------------------------------------------------------------------------------


def _chart_files(report: AttentionReport, name: str, chart: Any, file: Any) -> None:
    with st.container(horizontal=True):
        download("HTML", f"kdviz-attention-{name}.html", "text/html", lambda: chart(report).to_html())
        download("PNG", f"kdviz-attention-{name}.png", "image/png", lambda: file(report, "png"))
        download("SVG", f"kdviz-attention-{name}.svg", "image/svg+xml", lambda: file(report, "svg"))


def _files(opened: OpenExperiment, report: AttentionReport) -> None:
    st.subheader(_("Tables"), anchor=False)
    st.caption(_made(report))
    experiment = opened.experiment

    def parquet(table: str) -> bytes:
        buffer = io.BytesIO()
        pq.write_table(experiment.table(table), buffer)
        return buffer.getvalue()

    with st.container(horizontal=True):
        download(
            _("Effects (CSV)"),
            f"kdviz-{experiment.name}-{EFFECTS}.csv",
            "text/csv",
            lambda: effects_table(experiment).to_pandas().to_csv(index=False),
        )
        for table in (AGREEMENT, FAITHFULNESS):
            if experiment.has_table(table):
                file = f"kdviz-{experiment.name}-{table}.parquet"
                download(f"{table}.parquet", file, _PARQUET, lambda table=table: parquet(table))


def _made(report: AttentionReport) -> str:
    about = report.about
    parts = [
        plural("{count} image", "{count} images", report.images),
        plural("{count} seed", "{count} seeds", report.seeds),
        plural("{count} teacher", "{count} teachers", report.teachers),
        method_title(str(about.get("method", "rise"))),
    ]
    masks = about.get("settings", {}).get("n_masks")
    if masks:
        parts.append(plural("{count} mask", "{count} masks", int(masks)))
    return " · ".join(parts)
