"""The part on shifted pictures of the page Losses."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kdviz.app.library import OpenExperiment
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, plain, together
from kdviz.core.files import stamp_of
from kdviz.core.language import N_, _, percent
from kdviz.core.vocabulary import Role
from kdviz.figures.roles import role_title
from kdviz.narrative.loss_shifts import alone_sentence, change_text, limit_sentences, loss_sentences
from kdviz.studies.loss_shifts import LossShiftsReport, read_loss_shifts
from kdviz.studies.loss_shifts.report import REFERENCE, LossGain
from kdviz.studies.loss_shifts.table import NAME
from kdviz.studies.shifts.report import LESS, MORE, UNKNOWN
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, UNSHIFTED

_RIGHT = {MORE: N_("more often"), LESS: N_("less often"), UNKNOWN: N_("cannot be told")}


def show_shifted(opened: OpenExperiment) -> None:
    """The sentences and a table of losses on shifted pictures; nothing where there is no such study."""
    stamp = stamp_of(opened.experiment.folder, f"{NAME}.parquet")
    report = opened.cache.get(NAME, stamp, lambda: read_loss_shifts(opened.experiment))
    if report is None:
        return
    st.subheader(_("Shifted pictures"), anchor=False)
    for loss in (each for each in report.losses if each != REFERENCE):
        st.markdown(f"- {plain(together(loss_sentences(report, loss)))}")
    st.markdown(f"- {plain(alone_sentence(report))}")
    table = shifted_table(report)
    st.dataframe(table, hide_index=True)
    st.markdown(f":gray[**{_('Limits')}** {plain(together(limit_sentences(report)))}]")
    name = f"kdviz-{opened.experiment.name}-loss-shifts.csv"
    download(_("Table (CSV)"), name, "text/csv", lambda: csv_text(shifted_table(report)))


def shifted_table(report: LossShiftsReport) -> pd.DataFrame:
    """A row a loss: right answers and the teacher's answers on shifted pictures, each less the softened targets'."""
    return pd.DataFrame([_row(report, loss) for loss in (*report.losses, None)])


def _row(report: LossShiftsReport, loss: str | None) -> dict[str, str]:
    return {
        _("Loss"): role_title(Role.STUDENT) if loss is None else loss,
        _("Right, unshifted"): percent(report.share(ACCURACY, loss, UNSHIFTED), 2),
        _("Right, shifted"): percent(report.share(ACCURACY, loss), 2),
        _("Right"): _outcome(report, ACCURACY, loss),
        _("Right, difference in points"): _difference(report, ACCURACY, loss),
        _("Same as teacher, shifted"): percent(report.share(AGREEMENT, loss), 2),
        _("Same as teacher"): _outcome(report, AGREEMENT, loss),
        _("Same as teacher, difference in points"): _difference(report, AGREEMENT, loss),
    }


def _gain(report: LossShiftsReport, measure: str, loss: str | None) -> LossGain | None:
    """The loss less the softened targets; None of these themselves and of the student alone."""
    return None if loss in (None, REFERENCE) else report.gain(measure, loss, REFERENCE)


def _outcome(report: LossShiftsReport, measure: str, loss: str | None) -> str:
    gain = _gain(report, measure, loss)
    if gain is None:
        return _("reference") if loss == REFERENCE else ""
    return _(_RIGHT[gain.outcome])


def _difference(report: LossShiftsReport, measure: str, loss: str | None) -> str:
    gain = _gain(report, measure, loss)
    return "" if gain is None else change_text(gain)
