"""Temperature and the other sweeps: how the students change when one setting of distillation is varied."""

from __future__ import annotations

import streamlit as st

from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.studies import SWEEPS, study_panel
from kdviz.app.texts import plain, say_missing
from kdviz.core.errors import ExperimentError
from kdviz.core.language import N_, _, error_text
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.report import present

_STUDIES = ("temperature", "alpha", "loss", "transfer-set")
_LEADS = {
    "temperature": N_(
        "Each student is distilled at one temperature: the higher it is, the more the teacher says of the classes that "
        "it does not choose. Data: {data}."
    ),
    "alpha": N_(
        "Each student weighs its teacher against the labels: 0 is training alone, 1 the teacher only. Data: {data}."
    ),
    "loss": N_("Each student is distilled with another loss against its teacher, all else equal. Data: {data}."),
    "transfer-set": N_(
        "Each student is distilled on other pictures, with its teacher's answers as labels: it has not seen the "
        "training pictures, except where they are the transfer set. Data: {data}."
    ),
}


def page() -> None:
    """Show the sweep that the address names, or the first that exists."""
    address.keep_only("study", *study_panel.ADDRESS)
    opened = heading(SWEEPS)
    name = _choose_study(opened)
    st.markdown(_(_LEADS[name], data=plain(opened.title)))
    show_or_say(opened, name)


def _choose_study(opened: OpenExperiment) -> str:
    available = present(opened.experiment, _STUDIES) or ["temperature"]
    requested = address.read_choice("study", available, available[0])
    if len(available) == 1:
        return available[0]
    chosen = st.segmented_control(
        _("What is varied"),
        available,
        required=True,
        format_func=lambda name: _(STUDIES[name].title),
        key=address.widget_key(f"study-{','.join(available)}", requested),
    )
    chosen = chosen or requested
    if chosen != requested:
        address.keep("runs", "", "")  # the other study has other values
    address.keep("study", chosen, available[0])
    return chosen


def show_or_say(opened: OpenExperiment, name: str) -> None:
    """Show a study, or why there is none and the command that makes it."""
    if opened.experiment.is_imported and not present(opened.experiment, [name]):
        say_missing(
            _(
                "Such a study trains models, one for each value and seed, which kdviz can only do for experiments that "
                "it trained itself; these models were trained elsewhere."
            )
        )
        return
    try:
        report = opened.report(name)
    except ExperimentError as error:
        data = "" if opened.is_mnist else " --data DIR"
        say_missing(error_text(error), f"kdviz sweep {name} -e {opened.command_folder}{data}")
        return
    study_panel.show(report, f"{opened.experiment.name}-{name}")
