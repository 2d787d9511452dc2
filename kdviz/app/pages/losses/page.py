"""Losses: accuracy against agreement of the maps, of every loss that was trained and studied."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.links import page_link
from kdviz.app.page_header import heading
from kdviz.app.pages.losses import PAGE
from kdviz.app.pages.losses.shifted import show_shifted
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, plain, say_missing, together
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.errors import ExperimentError
from kdviz.core.files import stamp_of
from kdviz.core.language import N_, _, number, percent
from kdviz.core.vocabulary import Role
from kdviz.metrics.equivalence import BETTER, EQUIVALENT, UNDECIDED, WORSE
from kdviz.metrics.similarity import MAIN
from kdviz.narrative.losses import (
    accuracy_text,
    agreement_text,
    further_sentences,
    limit_sentences,
    verdict_sentences,
)
from kdviz.studies.attention import studies_of
from kdviz.studies.losses import REFERENCE, STUDY, Gain, LossComparison, LossResult, compare_losses
from kdviz.studies.sweep.report import present

_VALUES = f"{REFERENCE},decoupled,20 rise_maps"
_MAPS = {BETTER: N_("closer"), WORSE: N_("further"), UNDECIDED: N_("cannot be told")}
_ACCURACY = {BETTER: N_("higher"), WORSE: N_("lower"), EQUIVALENT: N_("equal"), UNDECIDED: N_("cannot be told")}


def page() -> None:
    address.keep_only()
    opened = heading(PAGE)
    comparison = _comparison(opened)
    if comparison is None:
        _show_missing(opened)
        show_shifted(opened)
        return
    st.markdown(f"**{plain(together(verdict_sentences(comparison)))}**")
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in further_sentences(comparison)))
    _show_chart(opened, comparison)
    _show_table(opened, comparison)
    st.markdown(f":gray[**{_('Limits')}** {plain(together(limit_sentences(comparison)))}]")
    show_shifted(opened)
    with st.container(horizontal=True):
        page_link("temperature", _("Everything about their accuracy"), "device_thermostat", {"study": STUDY})
        page_link("attention", _("Everything about their maps, with controls"), "visibility", {"study": STUDY})


def _comparison(opened: OpenExperiment) -> LossComparison | None:
    """Both studies of losses as they are by now; None where one is missing, or nothing can be compared."""
    if not present(opened.experiment, [STUDY]) or STUDY not in studies_of(opened.experiment):
        return None
    try:
        report, attention = opened.report(STUDY), opened.attention(STUDY, MAIN)
    except ExperimentError:  # a study of no finished run; the pages of either study say so
        return None
    stamp = stamp_of(
        opened.experiment.folder, *(f"{name}.parquet" for name in (STUDY, "study_predictions", "agreement"))
    )
    return opened.cache.get("losses", stamp, lambda: compare_losses(report, attention))


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "Two students with one accuracy may look at different things. Here the losses of distillation stand beside "
            "each other by both: how accurate their students are, and how like the teacher's their maps are."
        )
    )
    if opened.experiment.is_imported:
        say_missing(
            _(
                "Such a study trains models, one for each value and seed, which kdviz can only do for experiments that "
                "it trained itself; these models were trained elsewhere."
            )
        )
        return
    options = f'-e {opened.command_folder}{"" if opened.is_mnist else " --data DIR"} --values "{_VALUES}" --seeds 0,1,2'
    commands = [f"kdviz {verb} {options}" for verb in (f"sweep {STUDY}", f"study --study {STUDY}")]
    say_missing(_("Losses are compared once both studies are made, of the same losses, with:"), "\n".join(commands))


def _show_chart(opened: OpenExperiment, comparison: LossComparison) -> None:
    show_chart(figures.accuracy_and_agreement(comparison), "losses")
    st.caption(
        _(
            "Above the dotted line the maps are more like the teacher's, right of the other the student is more "
            "accurate, each than with {loss} alone. Lines: 95 % intervals of single differences. Hollow: measured by "
            "the maps that it was trained on.",
            loss=REFERENCE,
        )
    )
    with st.container(horizontal=True):
        chart_downloads(figures.accuracy_and_agreement, f"kdviz-{opened.experiment.name}-losses", comparison)


def _show_table(opened: OpenExperiment, comparison: LossComparison) -> None:
    table = losses_table(comparison)
    st.dataframe(table, hide_index=True)
    name = f"kdviz-{opened.experiment.name}-losses.csv"
    download(_("Table (CSV)"), name, "text/csv", lambda: csv_text(losses_table(comparison)))


def losses_table(comparison: LossComparison) -> pd.DataFrame:
    """A row a loss: both figures, each less that of the softened targets, and whether it can be told."""
    return pd.DataFrame([_row(result) for result in comparison.results])


def _row(result: LossResult) -> dict[str, str]:
    accuracy, agreement = result.accuracy_gain, result.agreement_gain
    return {
        _("Loss"): figures.role_title(Role.STUDENT) if result.loss is None else result.loss,
        _("Maps"): _outcome(agreement, _MAPS),
        _("Agreement"): number(result.agreement.value, 3),
        _("Agreement, difference"): "" if agreement is None else agreement_text(agreement),
        _("Its accuracy"): _outcome(accuracy, _ACCURACY),
        _("Accuracy"): percent(result.accuracy, 2),
        _("Accuracy, difference in points"): "" if accuracy is None else accuracy_text(accuracy),
    }


def _outcome(gain: Gain | None, titles: Mapping[str, str]) -> str:
    return _("reference") if gain is None else _(titles[gain.outcome])
