"""What was learned: layers, confusions and errors that the KD student has of its teacher, beside the student alone."""

from __future__ import annotations

import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.links import page_link
from kdviz.app.page_header import heading
from kdviz.app.pages.what_was_learned import PAGE
from kdviz.app.pages.what_was_learned.shifts import ADDRESS, show_shifts
from kdviz.app.pages.what_was_learned.tables import confusions_table, inherited_table, layers_table, scores_table
from kdviz.app.texts import download_table, plain, say_missing, together
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.files import stamp_of
from kdviz.core.language import _, plural
from kdviz.narrative.transfer import (
    confusion_sentences,
    inherited_sentences,
    layer_sentences,
    left_out_sentences,
    verdict_sentences,
)
from kdviz.narrative.transfer_scores import score_sentences
from kdviz.studies.transfer import TransferReport, read_transfer_report
from kdviz.studies.transfer.table import NAME

_DARK_KNOWLEDGE = "dark-knowledge"
_ALL_ROWS = 25  # of a table that is shown whole


def page() -> None:
    address.keep_only(*ADDRESS)
    opened = heading(PAGE)
    report = _report(opened)
    if report is None:
        _show_missing(opened)
        show_shifts(opened)
        return
    _show_verdict(report)
    if report.layers:
        _show_layers(opened, report)
    if report.scores:
        _show_scores(report)
    if report.confusions:
        _show_confusions(report)
    if report.inherited:
        _show_inherited(opened, report)
    show_shifts(opened)
    _show_limits(report)
    _show_files(opened, report)


def _report(opened: OpenExperiment) -> TransferReport | None:
    """The study as it is by now."""
    stamp = stamp_of(opened.experiment.folder, f"{NAME}.parquet")
    return opened.cache.get(NAME, stamp, lambda: read_transfer_report(opened.experiment))


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "A KD student may give its teacher's answers and still see pictures in its own way. This study asks which "
            "of its layers, confusions and errors are those of its teacher, and which the same student has without one."
        )
    )
    data = " --split bundled" if opened.is_mnist else " --data DIR"
    command = f"kdviz study --study transfer -e {opened.command_folder}{data}"
    say_missing(_("This experiment has no study of what was learned yet; make one with:"), command)


# the answer -----------------------------------------------------------------------------------------------------------


def _show_verdict(report: TransferReport) -> None:
    sentences = verdict_sentences(report) or confusion_sentences(report)[:1]
    if sentences:
        st.markdown(f"**{plain(together(sentences))}**")


def _show_list(sentences: list[str]) -> None:
    if sentences:
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in sentences))


def _show_layers(opened: OpenExperiment, report: TransferReport) -> None:
    st.subheader(_("Layers"), anchor=False)
    _show_list(layer_sentences(report)[len(verdict_sentences(report)) :])
    show_chart(figures.layer_likeness(report), "layer-likeness")
    st.caption(
        _(
            "Linear CKA of what each layer takes, and of the logits, with the teacher's layer at the same share of the "
            "depth: 1 for features that are equal up to rotation and scale, about 0 for pictures paired at random. "
            "Ticks: each picture paired with a random one of its class. Lines: 95 % intervals over pictures."
        )
    )
    with st.container(horizontal=True):
        chart_downloads(figures.layer_likeness, f"kdviz-{opened.experiment.name}-layers", report)
    table = layers_table(report)
    if len(table):
        st.dataframe(table, hide_index=True)


def _show_scores(report: TransferReport) -> None:
    st.subheader(_("Feature similarity and relevance"), anchor=False)
    _show_list(score_sentences(report))
    table = scores_table(report)
    if len(table):
        st.dataframe(table, hide_index=True, height="content" if len(table) <= _ALL_ROWS else "auto")
    st.caption(
        _(
            "UniCAM's scores: the distance correlation of a layer's features with the teacher's, and with the true "
            "classes, and the same with the features of the other student partialled out. 0 for pictures paired at "
            "random, 1 at most; 95 % intervals over pictures. Two trainings of a network have something of their own, "
            "too: compare both directions."
        )
    )


def _show_confusions(report: TransferReport) -> None:
    st.subheader(_("Confusions"), anchor=False)
    _show_list(confusion_sentences(report))
    table = confusions_table(report)
    if len(table):
        st.dataframe(table, hide_index=True)
    st.caption(
        _(
            "Spearman's correlation of the mean probabilities of all pairs of a true and another class. With few "
            "pictures of a class it is measured too low, for both students alike."
        )
    )
    page_link(_DARK_KNOWLEDGE, _("Dark knowledge of single pictures"), "dark_mode")


def _show_inherited(opened: OpenExperiment, report: TransferReport) -> None:
    st.subheader(_("Errors by class"), anchor=False)
    _show_list(inherited_sentences(report, opened.experiment.classes))
    table = inherited_table(report, opened.experiment.classes)
    st.dataframe(table, hide_index=True, height="content" if len(table) <= _ALL_ROWS else "auto")
    st.caption(
        _(
            "Share of the teacher's errors that a student repeats with the same wrong class. Differences in points, "
            "with 95 % intervals; those of the classes hold together."
        )
    )
    page_link("overview", _("Whether it copies errors, over all classes"), "home")


def _show_limits(report: TransferReport) -> None:
    limits = [_("Intervals are over pictures, of one training of each model: another training may differ.")]
    if any(dict(report.about.get("averaged", {})).values()):
        limits.append(_("Large maps were averaged to fewer positions before they were compared."))
    limits += left_out_sentences(report)
    st.markdown(f":gray[**{_('Limits')}** {plain(together(limits))}]")


def _show_files(opened: OpenExperiment, report: TransferReport) -> None:
    st.caption(_provenance(report))
    with st.container(horizontal=True):
        download_table(opened.experiment, NAME)


def _provenance(report: TransferReport) -> str:
    parts = []
    if report.layers:
        pictures = plural("{count} picture", "{count} pictures", int(report.about.get("pictures", 0)))
        parts.append(_("Layers: {pictures}", pictures=pictures))
    answers = [*report.confusions, *report.inherited]
    if report.confusions:
        count = report.confusions[0].correlation.count
        pictures = plural("{count} picture", "{count} pictures", count)
        parts.append(_("Answers: {pictures}", pictures=pictures))
    return " · ".join(parts) if answers or parts else ""
