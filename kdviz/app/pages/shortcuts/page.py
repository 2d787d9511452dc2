"""Shortcuts: a mark that goes with the class in training alone; who uses and inherits it, and whether maps show it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.attention.tables import method_title
from kdviz.app.pages.shortcuts import PAGE
from kdviz.app.pages.shortcuts.pictures import show_pictures
from kdviz.app.texts import download_table, plain, say_missing, together
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.language import N_, _, interval_digits, number, percent, plural, signed_interval
from kdviz.data.shortcuts.planting import ShownTo
from kdviz.narrative.shortcuts.sentences import (
    SHORTCUT_TITLES,
    condition_sentences,
    map_sentences,
    use_sentences,
    verdict_sentences,
)
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts import ShortcutsReport
from kdviz.studies.shortcuts.table import NAME
from kdviz.studies.sweep.loss_values import short_loss

ADDRESS = ("condition", "method")
_SHOWN_TO: dict[str, str] = {
    ShownTo.RANDOM: N_("{mark}: the teacher knows it"),
    ShownTo.TEACHER: N_("{mark}: only the teacher saw it"),
    ShownTo.ALL: N_("{mark}: all saw it"),
    ShownTo.STUDENTS: N_("{mark}: only the students saw it"),
    "none": N_("{mark}: nobody saw it"),
}
"""Whose training pictures had the mark -> name of the condition; the first of those that there are is shown first."""


def page() -> None:
    address.keep_only(*ADDRESS)
    opened = heading(PAGE)
    reports = opened.shortcuts
    if not reports:
        _show_missing(opened)
        return
    report = _choose_condition(reports)
    _show_verdict(report)
    method = _choose_method(report)
    _show_chart(opened, report, method)
    show_pictures(opened, report, method)
    _show_tables(report)
    _show_files(opened, report)


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "A mark is planted into training pictures so that it goes with the class, and test pictures do not have "
            "it: one knows what a model that uses it looks at."
        )
    )
    if opened.experiment.is_imported:
        command = f"kdviz study --study shortcuts --plant patch -e {opened.command_folder} --data DIR"
        say_missing(
            _("No marks have been put before these models yet; this shows how they answer to one they never saw:"),
            command,
        )
        return
    data = "" if opened.is_mnist else " --data DIR"
    dataset = opened.experiment.dataset
    command = f"kdviz train {dataset}{data} --out models/NAME --plant patch --share .9 --plant-for random\n"
    command += f"kdviz study --study shortcuts -e models/NAME{data} --into {opened.command_folder}"
    say_missing(_("This experiment has no study of shortcuts yet; make one with:"), command)


# choices --------------------------------------------------------------------------------------------------------------


def _choose_condition(reports: Sequence[ShortcutsReport]) -> ShortcutsReport:
    order = list(_SHOWN_TO)
    ranked = sorted(
        reports,
        key=lambda report: (report.shortcut != "patch", report.shortcut, order.index(report.shown_to), report.loss),
    )
    conditions = {report.condition.name.replace("/", "-"): report for report in ranked}
    name = _choose(
        "condition", _("Who saw the mark in training"), list(conditions), lambda key: _title(conditions[key])
    )
    return conditions[name]


def _title(report: ShortcutsReport) -> str:
    mark = _(SHORTCUT_TITLES[report.shortcut]) if report.shortcut in SHORTCUT_TITLES else report.shortcut
    title = _(_SHOWN_TO[report.shown_to], mark=mark[:1].upper() + mark[1:])
    return f"{title} · {short_loss(report.loss)}" if report.loss else title


def _choose_method(report: ShortcutsReport) -> str:
    return _choose("method", _("Method of the maps"), list(report.methods), method_title)


def _choose(name: str, label: str, options: list[str], title: object) -> str:
    """A choice with its value in the page's address; there is no control for a single option."""
    requested = address.read_choice(name, options, options[0])
    if len(options) == 1:
        return requested
    chosen = st.segmented_control(
        label,
        options,
        required=True,
        format_func=title,  # type: ignore[arg-type]
        key=address.widget_key(f"shortcuts-{name}-{','.join(options)}", requested),
    )
    address.keep(name, chosen or requested, options[0])
    return chosen or requested


# the answer -----------------------------------------------------------------------------------------------------------


def _show_verdict(report: ShortcutsReport) -> None:
    verdict = verdict_sentences(report)
    if verdict:
        st.markdown(f"**{plain(together(verdict))}**")
    st.markdown(plain(together(condition_sentences(report))))
    sentences = [*use_sentences(report), *map_sentences(report)]
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in sentences))
    limits = _("Intervals are over pictures, of one training of each model: another training may differ.")
    st.markdown(f":gray[**{_('Limits')}** {plain(limits)}]")


def _show_chart(opened: OpenExperiment, report: ShortcutsReport, method: str) -> None:
    st.subheader(_("Does the map show the mark where it is used?"), anchor=False)
    st.caption(
        _(
            "Each symbol is a test picture with the mark of another class. To the right: the mark raises that class's "
            "probability. Upwards: more of the map's positive values lie inside the mark."
        )
    )
    show_chart(figures.shortcut_use(report, method), "shortcut-use")
    with st.container(horizontal=True):
        chart_downloads(figures.shortcut_use, f"kdviz-{opened.experiment.name}-shortcut", report, method)


# tables ---------------------------------------------------------------------------------------------------------------


def _show_tables(report: ShortcutsReport) -> None:
    st.subheader(_("All figures"), anchor=False)
    st.dataframe(answers_table(report), hide_index=True)
    st.caption(
        _(
            "Accuracy without a mark, with that of the own class, and with that of another class. Flipped: pictures "
            "whose answer becomes the other class. Use: change of that class's probability, in points. In brackets "
            "95 % intervals over pictures."
        )
    )
    st.dataframe(maps_table(report), hide_index=True)
    st.caption(
        _(
            "AUROC: how well the share inside tells pictures with the mark from the same ones without; .5 is chance. "
            "Used: only pictures where the mark raises its class's probability by 10 points or more."
        )
    )


def answers_table(report: ShortcutsReport) -> pd.DataFrame:
    """What the mark does to each model's answers."""
    return pd.DataFrame(
        [
            {
                _("Model"): figures.role_title(role_use.role),
                _("Accuracy"): percent(role_use.accuracy.value),
                _("With its own mark"): percent(role_use.accuracy_own.value),
                _("With another's mark"): percent(role_use.accuracy_other.value),
                _("Flipped"): _percents(role_use.flips),
                _("Use (points)"): _points(role_use.use),
            }
            for role_use in report.roles
        ]
    )


def maps_table(report: ShortcutsReport) -> pd.DataFrame:
    """What each model's maps show of the mark."""
    return pd.DataFrame(
        [
            {
                _("Model"): figures.role_title(role_maps.role),
                _("Method"): method_title(role_maps.method),
                _("Inside"): _percents(role_maps.inside),
                _("Inside, without the mark"): percent(role_maps.inside_clean.value),
                _("Area"): percent(role_maps.area),
                _("AUROC"): _numbers(role_maps.auroc),
                _("AUROC where used"): "" if role_maps.auroc_used is None else _numbers(role_maps.auroc_used),
            }
            for role_maps in report.maps
        ]
    )


def _percents(mean: Mean) -> str:
    return f"{percent(mean.value)} [{percent(mean.low)}, {percent(mean.high)}]"


def _numbers(mean: Mean) -> str:
    digits = interval_digits(mean.low, mean.high, 3, neutral=0.5)
    return f"{number(mean.value, digits)} [{number(mean.low, digits)}, {number(mean.high, digits)}]"


def _points(mean: Mean) -> str:
    value, low, high = signed_interval(100 * mean.value, 100 * mean.low, 100 * mean.high, 1)
    return f"{value} [{low}, {high}]"


def _show_files(opened: OpenExperiment, report: ShortcutsReport) -> None:
    st.caption(_provenance(report))
    with st.container(horizontal=True):
        download_table(opened.experiment, NAME)


def _provenance(report: ShortcutsReport) -> str:
    parts = [plural("{count} picture", "{count} pictures", int(report.about.get("pictures", 0)))]
    for method, settings in report.about.get("settings", {}).items():
        masks = settings.get("n_masks")
        parts.append(method_title(method))
        if masks:
            parts.append(plural("{count} mask", "{count} masks", int(masks)))
    return " · ".join(parts)
