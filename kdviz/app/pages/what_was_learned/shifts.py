"""The part on shifted pictures of the page What was learned."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.texts import download_table, plain
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.files import stamp_of
from kdviz.core.language import _, percent
from kdviz.core.vocabulary import Role
from kdviz.figures.roles import role_title
from kdviz.narrative.shifts import shift_sentences, shift_title
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.shifts import ShiftsReport, read_shifts_report
from kdviz.studies.shifts.report import LESS, MORE, Gain
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, NAME, SECOND, UNSHIFTED

ADDRESS = ("shift",)
"""Query names of this part in the page's address."""

_EVERY = "all"  # shifts, in the address


def show_shifts(opened: OpenExperiment) -> None:
    """The sentences, a chart against severity and a table by shift; nothing where there is no such study."""
    stamp = stamp_of(opened.experiment.folder, f"{NAME}.parquet")
    report = opened.cache.get(NAME, stamp, lambda: read_shifts_report(opened.experiment))
    if report is None:
        return
    st.subheader(_("Shifted pictures"), anchor=False)
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in shift_sentences(report)))
    shift = _choose_shift(report)
    show_chart(figures.shares_against_severity(report, shift), "shares-against-severity")
    st.caption(
        _(
            "Shares of the same pictures at each severity; none: the pictures as they are. Same as teacher: answers "
            "that are the teacher's to the same shifted picture."
        )
    )
    st.dataframe(shifts_table(report), hide_index=True, height="content")
    with st.container(horizontal=True):
        chart_downloads(figures.shares_against_severity, f"kdviz-{opened.experiment.name}-shifts", report, shift)
        download_table(opened.experiment, NAME)


def _choose_shift(report: ShiftsReport) -> str:
    """One of the shifts, or ``ALL``; the address keeps it."""
    options = [_EVERY, *report.shifts]
    requested = address.read_choice("shift", options, _EVERY)
    chosen = st.selectbox(
        _("Shift"),
        options,
        format_func=lambda name: _("Mean over all") if name == _EVERY else shift_title(name),
        key=address.widget_key(f"shifts-{','.join(options)}", requested),
    )
    address.keep("shift", chosen, _EVERY)
    return ALL if chosen == _EVERY else chosen


def shifts_table(report: ShiftsReport) -> pd.DataFrame:
    """A row a shift, the unshifted pictures first: differences of the two students, and each model's accuracy."""
    rows = []
    for shift in (UNSHIFTED, *report.shifts, ALL):
        gains = report.gain(ACCURACY, shift), report.gain(AGREEMENT, shift)
        verdicts = [report.verdict(gain) for gain in gains]
        rows.append(
            {
                _("Shift"): {UNSHIFTED: _("None"), ALL: _("Mean over all")}.get(shift) or shift_title(shift),
                _("KD student less alone (points)"): _change(gains[0]),
                _("Verdict"): {MORE: _("Holds better"), LESS: _("Holds worse")}.get(verdicts[0], _("Cannot tell")),
                _("Same as teacher, less alone (points)"): _change(gains[1]),
                _("To the teacher"): {MORE: _("Closer"), LESS: _("Further")}.get(verdicts[1], _("Cannot tell")),
                **{
                    role_title(role): percent(report.share(ACCURACY, role, shift))
                    for role in (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT)
                },
                **_second(report, shift),
            }
        )
    return pd.DataFrame(rows)


def _second(report: ShiftsReport, shift: str) -> dict[str, str]:
    """What a second student alone has more than the first; empty without one."""
    if not report.has_second:
        return {}
    titles = {ACCURACY: _("Second alone less alone (points)"), AGREEMENT: _("Second alone, same as teacher (points)")}
    return {title: _change(report.gain(measure, shift, role=SECOND)) for measure, title in titles.items()}


def _change(gain: Gain) -> str:
    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return f"{value} [{low}, {high}]"
