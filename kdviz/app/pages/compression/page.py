"""Compression: a tree of models and those made from them, each with its cost, its saving and its verdict."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import streamlit as st

from kdviz.app import address
from kdviz.app.library import OpenExperiment
from kdviz.app.page_header import heading
from kdviz.app.pages.compression import PAGE
from kdviz.app.texts import download_table, plain, say_missing, together
from kdviz.core.files import stamp_of
from kdviz.core.language import _, number, percent, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.narrative.products.compression import limit_sentences, run_sentences, stale_sentences, step_title
from kdviz.narrative.products.shortcut_use import shortcut_use_sentences
from kdviz.narrative.shortcuts.sentences import condition_sentences, shortcut_title
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.compression.report import CompressedRun, CompressionReport, read_compression_report
from kdviz.studies.compression.rows import known
from kdviz.studies.compression.shortcut_use import ShortcutUses, read_shortcut_uses
from kdviz.studies.compression.table import NAME
from kdviz.studies.regions.report import Mean
from kdviz.studies.shortcuts.table import NAME as SHORTCUTS

_INDENT = "\u2003"  # an em space, which a table keeps


def page() -> None:
    address.keep_only()
    opened = heading(PAGE)
    report = _report(opened)
    if report is None:
        _show_missing(opened)
        return
    for sentence in stale_sentences(report):
        st.warning(plain(sentence))
    st.dataframe(tree_table(report), hide_index=True, height="content")
    runs = [run for _depth, run in in_order(report)]
    for run in runs:
        if not run.is_null:
            _show_run(run)
    nulls = [run for run in runs if run.is_null]
    if nulls:
        with st.expander(_("What chance alone changes: other seeds"), expanded=len(nulls) == len(runs)):
            for run in nulls:
                _show_run(run)
    for condition in _shortcuts(opened):
        _show_shortcut(condition)
    st.markdown(f":gray[**{_('Limits')}** {plain(together(limit_sentences(report)))}]")
    download_table(opened.experiment, NAME)


def _report(opened: OpenExperiment) -> CompressionReport | None:
    """The table as it is by now."""
    stamp = stamp_of(opened.experiment.folder, f"{NAME}.parquet")
    return opened.cache.get(NAME, stamp, lambda: read_compression_report(opened.experiment))


def _shortcuts(opened: OpenExperiment) -> list[ShortcutUses]:
    """Conditions of a planted mark with compressed models, as they are by now."""
    stamp = stamp_of(opened.experiment.folder, f"{SHORTCUTS}.parquet")
    return opened.cache.get("compression-shortcuts", stamp, lambda: read_shortcut_uses(opened.experiment))


def _show_shortcut(condition: ShortcutUses) -> None:
    """Whether the steps changed the use of a planted mark."""
    st.subheader(_("Use of a planted mark: {mark}", mark=shortcut_title(condition.report.shortcut)))
    st.markdown(" ".join(plain(sentence) for sentence in condition_sentences(condition.report)))
    st.dataframe(shortcut_table(condition), hide_index=True, height="content")
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in shortcut_use_sentences(condition)))


def shortcut_table(condition: ShortcutUses) -> pd.DataFrame:
    """A row a step: what the mark of another class adds to that class's probability, in points."""
    return pd.DataFrame(
        [
            {
                _("Model"): use.child,
                _("Step"): step_title(use.step),
                _("Use of the mark (points)"): _of_mean(use.own),
                _("Its parent's (points)"): _of_mean(use.parents),
                _("Less its parent's (points)"): _of_mean(use.change, signed=True),
            }
            for use in condition.uses
        ]
    )


def _of_mean(mean: Mean, *, signed: bool = False) -> str:
    """A mean of shares in points, with its interval."""
    values = (100 * mean.value, 100 * mean.low, 100 * mean.high)
    value, low, high = signed_interval(*values, 1) if signed else (number(each, 1) for each in values)
    return f"{value} [{low}, {high}]"


def _show_missing(opened: OpenExperiment) -> None:
    st.markdown(
        _(
            "A model can be pruned, trained on with int8 in mind, or quantised. Each step makes a model of its own, "
            "which every page shows like any other, and this page says what the step cost, saved and changed: "
            "accuracy, answers, and where the model looks, held against the same model trained with another seed."
        )
    )
    data = "" if opened.is_mnist else " --data DIR"
    models = opened.experiment.models
    of = Role.KD_STUDENT if Role.KD_STUDENT in models else next(iter(models), Role.KD_STUDENT)
    command = f"kdviz compress -e {opened.command_folder}{data} --of {of} --prune 0.5 --qat"
    say_missing(_("Nothing was compressed in this experiment yet; do so with:"), command)


def in_order(report: CompressionReport) -> Iterator[tuple[int, CompressedRun]]:
    """Every run after the one that it was made from, with its depth in the tree, from 1; other seeds come last."""

    def below(role: str, depth: int) -> Iterator[tuple[int, CompressedRun]]:
        for run in sorted(report.children(role), key=lambda child: child.is_null):
            yield depth, run
            yield from below(run.child, depth + 1)

    for root in report.roots:
        yield from below(root, 1)


def tree_table(report: CompressionReport) -> pd.DataFrame:
    """A row a run, indented below the one that it was made from."""
    rows, shown = [], set()
    for depth, run in in_order(report):
        root = report.root_of(run.child)
        if root not in shown:
            shown.add(root)
            rows.append(_root_row(run))
        rows.append(_row(depth, run))
    return pd.DataFrame(rows).fillna("")  # of a root nothing is compared


def _root_row(run: CompressedRun) -> dict[str, str]:
    row = run.row
    return _cells(run.parent, "", row["parent_bytes"], row["parent_flops"], row["parent_accuracy"])


def _row(depth: int, run: CompressedRun) -> dict[str, str]:
    row = run.row
    value, low, high = points_interval(run.accuracy.value, run.accuracy.low, run.accuracy.high)
    maps = "" if run.maps_parent is None else number(run.maps_parent.value, 3)
    name = f"{_INDENT * depth}{run.child}"
    return _cells(name, step_title(run.step), row["bytes"], row["flops"], row["accuracy"]) | {
        _("Less its parent's (points)"): f"{value} [{low}, {high}]",
        _("Mended, broken"): f"{number(row['fixed'])}, {number(row['broken'])}",
        _("Other answers"): percent(float(run.changed.mean()), 2),
        _("Maps agree with its parent's"): maps,
    }


def _cells(name: str, step: str, size: int, flops: int | None, accuracy: float) -> dict[str, str]:
    return {
        _("Model"): name,
        _("Step"): step,
        _("File (MB)"): number(size / 1e6, 2),
        _("Operations (MFLOP)"): number(known(flops) / 1e6, 2),
        _("Accuracy"): percent(accuracy, 2),
    }


def _show_run(run: CompressedRun) -> None:
    """What can be said of one run: its accuracy first."""
    saving, accuracy, *others = run_sentences(run)
    st.markdown(f"**{plain(run.child)}** {plain(accuracy)}")
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in (saving, *others)))
