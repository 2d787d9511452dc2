"""The part that the pages of studies share: verdict, chart, table, curves and files of one study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.spreadsheets import csv_text
from kdviz.app.texts import download, download_parquet, plain, together
from kdviz.app.widgets import margin
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.language import N_, _, number, percent
from kdviz.core.vocabulary import Role, Split
from kdviz.narrative.other_data.transfer_sets import transfer_set_sentences
from kdviz.narrative.sweeps import sentences
from kdviz.studies.sweep.report import FIGURES, Figure, StudyReport

ADDRESS = ("y", "runs", "seeds", margin.NAME)
"""Query names of a study in the page's address."""

_ABOUT: dict[str, str] = {
    Split.TEST: N_(
        "Means over seeds, on the test split. Same as teacher: share of samples with the same answer. Inherited: share "
        "of the teacher's own errors that it repeats. Fixed and broken: against the student alone of the same seed. "
        "ECE: expected calibration error."
    ),
    Split.VALIDATION: N_(
        "Means over seeds, on the validation split. Same as teacher: share of samples with the same answer. Inherited: "
        "share of the teacher's own errors that it repeats. Fixed and broken: against the student alone of the same "
        "seed. ECE: expected calibration error."
    ),
    Split.BUNDLED: N_(
        "Means over seeds, on the bundled samples. Same as teacher: share of samples with the same answer. Inherited: "
        "share of the teacher's own errors that it repeats. Fixed and broken: against the student alone of the same "
        "seed. ECE: expected calibration error."
    ),
}
_PANELS = {"loss": N_("Loss"), "accuracy": N_("Accuracy")}


def show(report: StudyReport, name: str) -> None:
    """Show a study from top to bottom.

    Args:
        report: The study.
        name: Start of the names of its files.
    """
    _show_verdict(report)
    available = report.figures
    if not available:
        st.info(_("No student of this study is trained yet."), icon=":material/hourglass_top:")
        return
    _show_figure(report, _choose_figure(available), name)
    _show_table(report)
    _show_curves(report, name)
    _show_files(report, name)


def _show_verdict(report: StudyReport) -> None:
    verdict = report.verdict
    if verdict is None:
        st.caption(
            _("For a verdict, a KD student and a student alone of the same seed are needed; not all are there yet.")
        )
        return
    text_column, margin_column = st.columns([4, 1])
    with margin_column:
        accuracy = margin.number_field().accuracy
    first, *more = sentences(verdict.within(accuracy))
    text_column.markdown(f"**{plain(first)}**\n\n{plain(together(more))}")
    for paragraph in transfer_set_sentences(report.transfer_values):
        st.markdown(plain(paragraph))


# chart ----------------------------------------------------------------------------------------------------------------


def _choose_figure(available: Sequence[Figure]) -> Figure:
    names = [entry.name for entry in available]
    requested = address.read("y", names[0])
    # Another study may lack the figure that was looked at; only a name that no study has is a mistake.
    start = (
        requested
        if requested in names
        else names[0]
        if requested in FIGURES
        else address.read_choice("y", names, names[0])
    )
    name = st.segmented_control(
        _("Figure on the vertical axis"),
        names,
        required=True,
        format_func=lambda name: _(FIGURES[name].title),
        key=address.widget_key(f"y-{','.join(names)}", start),
    )
    address.keep("y", name or start, names[0])
    figure = FIGURES[name or start]
    legend = _("Large symbols: mean, bars: standard deviation over seeds; small dots: each seed.")
    st.caption(together([_(figure.about), legend]))
    return figure


def _show_figure(report: StudyReport, figure: Figure, name: str) -> None:
    points, study, split = report.points(figure.name), report.study, report.split
    show_chart(figures.against_value(points, study, figure, split), f"chart-{report.name}")
    file = f"kdviz-{name}-{figure.name}"
    with st.container(horizontal=True):
        chart_downloads(figures.against_value, file, points, study, figure, split, label=_("Chart (HTML)"))


# table ----------------------------------------------------------------------------------------------------------------


def _show_table(report: StudyReport) -> None:
    st.subheader(_("All figures"), anchor=False)
    st.dataframe(readable(report), hide_index=True)
    st.caption(_(_ABOUT[report.split]))


def readable(report: StudyReport) -> pd.DataFrame:
    """The study's summary as people read it; columns without any figure are left out."""
    rows = report.rows
    columns: dict[str, list[str]] = {
        _("Model"): [figures.role_title(row["role"]) for row in rows],
        _(report.study.title): ["" if row["value"] is None else _value(row["value"]) for row in rows],
        _("Seeds"): [
            "" if row["role"] == Role.TEACHER and row["value"] is None else number(row["seeds"]) for row in rows
        ],
        _("Accuracy"): [_with_spread(row) for row in rows],
    }
    columns |= {_(FIGURES[name].title): _texts(rows, name, FIGURES[name].text) for name in ("f1", "auc", "ece")}
    columns[_("Same as teacher")] = _texts(rows, "same_as_teacher", percent)
    columns[_("Inherited")] = _texts(rows, "inherited_errors", percent)
    columns[_("KL to the teacher")] = _texts(rows, "kl_to_teacher", lambda value: number(value, 4))
    for name, title in (("fixed", _("Fixed")), ("broken", _("Broken")), ("best_epoch", _("Best epoch"))):
        columns[title] = _texts(rows, name, lambda value: number(value, 1))
    columns[_("Training")] = _texts(rows, "seconds", lambda value: _("{seconds} s", seconds=number(value)))
    return pd.DataFrame({name: texts for name, texts in columns.items() if any(texts)})


def _texts(rows: Sequence[Mapping[str, Any]], column: str, text: Any) -> list[str]:
    return ["" if row[column] is None else text(row[column]) for row in rows]


def _with_spread(row: Mapping[str, Any]) -> str:
    spread = "" if row["accuracy_sd"] is None else f" ± {percent(row['accuracy_sd'], 2)}"
    return f"{percent(row['accuracy'], 2)}{spread}"


def _value(value: Any) -> str:
    return value.replace("_", " ") if isinstance(value, str) else f"{value:g}"


# curves ---------------------------------------------------------------------------------------------------------------


def _show_curves(report: StudyReport, name: str) -> None:
    rows = report.curves.to_pylist()
    if not rows:
        return
    st.subheader(_("Training curves"), anchor=False)
    chosen = _choose_runs(report, rows)
    if not chosen:
        st.info(_("Choose at least one model and one seed."), icon=":material/search_off:")
        return
    for column, panel in zip(st.columns(2), _PANELS, strict=True):
        with column:
            st.markdown(f"**{_(_PANELS[panel])}**")
            show_chart(figures.curves(chosen, report.study, (panel,)), f"curves-{panel}")
    st.caption(
        _(
            "Validation loss is cross entropy; training loss is what was minimised, with the teacher's part, and so is "
            "not comparable between temperatures or with the validation loss. The best validation epoch's weights are "
            "kept."
        )
    )
    with st.container(horizontal=True):
        file = f"kdviz-{name}-curves-chosen"
        chart_downloads(figures.curves, file, chosen, report.study, label=_("Curves (HTML)"))


def _choose_runs(report: StudyReport, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    models = {_key(row): (row["role"], row["value"]) for row in rows}
    best = "" if report.verdict is None else _text_key(Role.KD_STUDENT.value, report.verdict.value)
    default = [key for key in (best, Role.STUDENT.value) if key in models] or list(models)[:1]
    seeds = [str(seed) for seed in sorted({row["seed"] for row in rows})]
    left, right = st.columns([2, 1])
    with left:
        chosen_models = _choose_several(
            "runs", _("Models"), list(models), default, lambda key: _model_title(report, *models[key])
        )
    with right:
        chosen_seeds = _choose_several("seeds", _("Seeds"), seeds, seeds, str)
    return [row for row in rows if _key(row) in chosen_models and str(row["seed"]) in chosen_seeds]


def _choose_several(name: str, label: str, options: list[str], default: list[str], show: Any) -> list[str]:
    """A multiple choice with its value in the page's address; values there that are not offered are ignored."""
    requested = address.read(name, ",".join(default)).split(",")
    start = [option for option in options if option in requested] or default
    key = address.widget_key(f"{name}-{','.join(options)}", start)
    chosen = st.multiselect(label, options, format_func=show, key=key, placeholder=_("Choose"))
    address.keep(name, ",".join(option for option in options if option in chosen), ",".join(default))
    return chosen


def _key(row: Mapping[str, Any]) -> str:
    return _text_key(row["role"], row["value"])


def _text_key(role: str, value: Any) -> str:
    """A model's name in the address."""
    return role if value is None else value if isinstance(value, str) else f"{value:g}"


def _model_title(report: StudyReport, role: str, value: Any) -> str:
    if value is None:
        return figures.role_title(role)
    return _("{model}, {value}", model=figures.role_title(role), value=figures.value_title(report.study, value))


# files ----------------------------------------------------------------------------------------------------------------


def _show_files(report: StudyReport, name: str) -> None:
    st.subheader(_("All runs as files"), anchor=False)
    with st.container(horizontal=True):
        for csv, parquet, end, table in (
            (_("Table (CSV)"), _("Table (Parquet)"), "table", report.table),
            (_("Curves (CSV)"), _("Curves (Parquet)"), "curves", report.curves),
        ):
            if len(table):
                file = f"kdviz-{name}-{end}"
                download(csv, f"{file}.csv", "text/csv", lambda table=table: csv_text(table))
                download_parquet(parquet, f"{file}.parquet", lambda table=table: table)
