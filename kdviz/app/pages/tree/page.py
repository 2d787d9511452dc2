"""Tree: the decisions of a soft decision tree, a sample's path, and accuracy with and without a teacher."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from kdviz import figures
from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.tree import PAGE
from kdviz.app.pages.tree.diagram import show_diagram
from kdviz.app.pages.tree.sample import show_path, show_sample
from kdviz.app.texts import download_table, plain, say_missing, together
from kdviz.app.widgets.chart import chart_downloads, show_chart
from kdviz.core.files import ASSETS, stamp_of
from kdviz.core.language import _, number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.narrative.tree import tree_sentences, verdict_sentence
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.tree import ShownTree, TreeReport, read_tree, read_tree_report, tree_roles
from kdviz.studies.tree.report import Comparison
from kdviz.studies.tree.table import NAME, NODES

ADDRESS = ("teacher", "depth", "sample")
_OPENING_DEPTH = 4  # of the tree that is shown first: all of it fits on a screen
_ROLES = {"with": Role.KD_STUDENT, "without": Role.STUDENT}


def page() -> None:
    address.keep_only(*ADDRESS)
    opened = heading(PAGE)
    report = _report(opened)
    if report is None:
        _show_missing(opened)
        return
    st.html(ASSETS / "app" / "tree.css")
    st.markdown(f"**{plain(verdict_sentence(report))}**")
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in tree_sentences(report)[1:]))
    if tree_roles(opened.experiment):
        _show_tree(opened, report)
    _show_accuracy(opened, report)
    _show_limits(report)
    _show_files(opened, report)


def _report(opened: OpenExperiment) -> TreeReport | None:
    """The study as it is by now."""
    stamp = stamp_of(opened.experiment.folder, f"{NAME}.parquet")
    return opened.cache.get(NAME, stamp, lambda: read_tree_report(opened.experiment))


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "A soft decision tree gives each answer by a path of linear decisions that one can look at. This study "
            "trains trees of several depths from the teacher's answers and without them: what the teacher adds, what "
            "a path explains, and what that costs."
        )
    )
    data = "" if opened.is_mnist else " --data DIR --backbone student"
    command = f"kdviz study --study tree -e {opened.command_folder}{data}"
    say_missing(_("This experiment has no study of trees yet; make one with:"), command)


# the tree -------------------------------------------------------------------------------------------------------------


def _show_tree(opened: OpenExperiment, report: TreeReport) -> None:
    st.subheader(_("The tree and a path through it"), anchor=False)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium", key="tree-choices"):
        role, depth = _choose_tree(opened)
    tree = _tree(opened, role, depth)
    path = None
    with st.container(key="tree-sample"):
        sample = show_sample(opened, report, tree)
    if sample is not None:
        path = show_path(opened, report, tree, sample)
    show_diagram(opened, report, tree, path)


def _choose_tree(opened: OpenExperiment) -> tuple[str, int]:
    """The role and the depth of the tree to show."""
    kept = tree_roles(opened.experiment)
    names = [name for name, role in _ROLES.items() if any(known == role for known, _depth in kept)]
    titles = {"with": _("With the teacher"), "without": _("Without a teacher")}
    name = _choose("teacher", _("Tree"), names, names[0], titles)
    depths = [str(depth) for role, depth in sorted(kept, key=lambda key: key[1]) if role == _ROLES[name]]
    opening = str(_OPENING_DEPTH) if str(_OPENING_DEPTH) in depths else depths[-1]
    depth = _choose("depth", _("Depth"), depths, opening, {text: text for text in depths})
    return _ROLES[name], int(depth)


def _choose(name: str, label: str, options: list[str], default: str, titles: dict[str, str]) -> str:
    requested = address.read_choice(name, options, default)
    chosen = st.segmented_control(
        label,
        options,
        required=True,
        format_func=lambda option: titles[option],
        key=address.widget_key(f"tree-{name}-{','.join(options)}", requested),
    )
    address.keep(name, chosen or requested, default)
    return chosen or requested


def _tree(opened: OpenExperiment, role: str, depth: int) -> ShownTree:
    stamp = stamp_of(opened.experiment.folder, f"{NODES}.parquet")
    return opened.cache.get((NODES, role, depth), stamp, lambda: read_tree(opened.experiment, role, depth))


# accuracy -------------------------------------------------------------------------------------------------------------


def _show_accuracy(opened: OpenExperiment, report: TreeReport) -> None:
    st.subheader(_("Accuracy against depth"), anchor=False)
    show_chart(figures.accuracy_against_depth(report), "tree-accuracy")
    st.caption(
        _(
            "Above: mean accuracy on the test split, with 95 % intervals over seeds and samples. Below: the same seeds "
            "and samples paired, with intervals that hold together for all depths; where one crosses 0, one cannot "
            "tell."
        )
    )
    with st.container(horizontal=True):
        chart_downloads(figures.accuracy_against_depth, f"kdviz-{opened.experiment.name}-tree", report)
    st.dataframe(accuracy_table(report), hide_index=True, height="content")


def accuracy_table(report: TreeReport) -> pd.DataFrame:
    """A row a depth, and one for the sparse linear classifier."""
    comparisons = (*report.trees, *filter(None, [report.linear]))
    return pd.DataFrame([_row(comparison) for comparison in comparisons])


def _row(comparison: Comparison) -> dict[str, str]:
    kd, alone = comparison.kd, comparison.alone
    value, low, high = points_interval(comparison.accuracy.value, comparison.low, comparison.high)
    return {
        _("Depth"): _("linear, sparse") if comparison.depth is None else number(comparison.depth),
        _("With the teacher"): percent(kd.accuracy, 2),
        _("Without a teacher"): percent(alone.accuracy, 2),
        _("With less without (points)"): f"{value} [{low}, {high}]",
        _("Log-loss with, without"): f"{number(kd.means['loss'], 3)}, {number(alone.means['loss'], 3)}",
        _("Agrees with the teacher: with, without"): _pair(comparison, "same_as_teacher"),
        _("Path says the answer: with, without"): _pair(comparison, "path_is_answer"),
        _("Weights that are not 0: with, without"): (
            f"{number(kd.means['weights'])}, {number(alone.means['weights'])}"
        ),
    }


def _pair(comparison: Comparison, name: str) -> str:
    kd, alone = (figures.means[name] for figures in (comparison.kd, comparison.alone))
    return "" if kd != kd else f"{percent(kd)}, {percent(alone)}"


# the end --------------------------------------------------------------------------------------------------------------


def _show_limits(report: TreeReport) -> None:
    limits = [
        _(
            "A tree's answer is the mixture of all its leaves; the path that is shown is the most probable one. The "
            "weights of a decision say what it looks at, not why that tells classes apart."
        )
    ]
    if not report.on_pixels:
        limits.append(
            _(
                "The decisions are about features of a frozen model, {role}, which themselves are not explained.",
                role=str(report.about["backbone"]),
            )
        )
    st.markdown(f":gray[**{_('Limits')}** {plain(together(limits))}]")


def _show_files(opened: OpenExperiment, report: TreeReport) -> None:
    experiment = opened.experiment

    seeds = report.chosen.accuracy.seeds
    st.caption(
        f"{plural('{count} test sample', '{count} test samples', report.samples)} · "
        f"{plural('{count} seed', '{count} seeds', seeds)}"
    )
    with st.container(horizontal=True):
        for name in (NAME, NODES):
            if experiment.has_table(name):
                download_table(experiment, name)
