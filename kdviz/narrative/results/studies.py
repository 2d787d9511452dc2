"""Sections on further studies: shortcuts, what was learned, and trees."""

from __future__ import annotations

import math

from kdviz.core.errors import ExperimentError
from kdviz.core.language import interval_digits, number, percent, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.narrative.loss_shifts import change_text, loss_shift_sentences
from kdviz.narrative.markdown import table
from kdviz.narrative.results.sections import NAMES, sections
from kdviz.narrative.shifts import shift_sentences, shift_title
from kdviz.narrative.shortcuts.sentences import condition_sentences, shortcut_title, verdict_sentences
from kdviz.narrative.transfer import transfer_sentences
from kdviz.narrative.tree import tree_sentences
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.loss_shifts import LossShiftsReport, read_loss_shifts
from kdviz.studies.loss_shifts.report import REFERENCE
from kdviz.studies.regions.report import Mean
from kdviz.studies.shifts import ShiftsReport, read_shifts_report
from kdviz.studies.shifts.report import LESS, MORE, Gain
from kdviz.studies.shifts.report import UNKNOWN as CANNOT_TELL
from kdviz.studies.shifts.table import ACCURACY, AGREEMENT, ALL, MEASURES, SECOND, UNSHIFTED
from kdviz.studies.shortcuts import ShortcutsReport, read_shortcut_reports
from kdviz.studies.transfer import TransferReport, read_transfer_report
from kdviz.studies.transfer.report import CLOSER, FURTHER, NOT_CLOSER, UNKNOWN
from kdviz.studies.transfer.table import RELEVANCE, SCORES, SIMILARITY, UNIQUE, UNTRAINED
from kdviz.studies.tree import read_tree_report
from kdviz.studies.tree.report import Comparison, ModelFigures


@sections.register("shortcuts")
def shortcuts(experiment: Experiment) -> str:
    """Every condition of a study of shortcuts: what was planted, who inherits it, and the figures of each model."""
    reports = read_shortcut_reports(experiment)
    if not reports:
        raise ExperimentError(
            "'{folder}' has no study of shortcuts; kdviz study --study shortcuts makes one.", folder=experiment.folder
        )
    lines = [f"- {' '.join([*condition_sentences(report), *verdict_sentences(report)])}" for report in reports]
    titles = ["mark", "in the pictures of", "model", "accuracy", "with another's mark", "use, in points"]
    titles += ["map inside", "AUROC", "AUROC where used"]
    return (
        "\n".join(lines) + "\n\n" + table(titles, [row for report in reports for row in _shortcut_rows(report)]) + "\n"
    )


def _shortcut_rows(report: ShortcutsReport) -> list[list[str]]:
    """A row for each model and method."""
    rows = []
    for maps in report.maps:
        role_use = report.role(maps.role)
        assert role_use is not None  # each model has answers
        mark = shortcut_title(report.shortcut).removeprefix("a ")
        cells = [mark, report.shown_to, _model_name(report, role_use.role), percent(role_use.accuracy.value)]
        cells += [
            percent(role_use.accuracy_other.value),
            _use(role_use.use),
            percent(maps.inside.value),
        ]
        cells += [_auroc(each) if each is not None else "" for each in (maps.auroc, maps.auroc_used)]
        rows.append(cells)
    return rows


def _model_name(report: ShortcutsReport, role: str) -> str:
    name = NAMES.get(role, role)
    return f"{name}, {report.loss}" if report.loss and role == Role.KD_STUDENT else name


def _use(mean: Mean) -> str:
    value, low, high = signed_interval(100 * mean.value, 100 * mean.low, 100 * mean.high, 1)
    return f"{value} ({low} to {high})"


def _auroc(mean: Mean) -> str:
    digits = interval_digits(mean.low, mean.high, 3, neutral=0.5)
    return f"{number(mean.value, digits)} ({number(mean.low, digits)} to {number(mean.high, digits)})"


@sections.register("transfer")
def transfer(experiment: Experiment) -> str:
    """What the KD student has of its teacher: the sentences, and CKA by layer with the teacher's counterpart."""
    report = read_transfer_report(experiment)
    if report is None:
        raise ExperimentError(
            "'{folder}' has no study of what was learned; kdviz study --study transfer makes one.",
            folder=experiment.folder,
        )
    lines = [f"- {sentence}" for sentence in transfer_sentences(report, experiment.classes)]
    rows = _transfer_rows(report)
    roles = [_TRANSFER_NAMES.get(role, role) for role in report.roles]
    titles = ["layer", "the teacher's", *roles, "KD student less alone", "verdict"]
    parts = [table(titles, rows)] if rows else []
    scores = _score_rows(report)
    parts += [table(_SCORE_TITLES, scores)] if scores else []
    return "\n".join(lines) + "\n" + ("\n" + "\n\n".join(parts) if parts else "")


_TRANSFER_NAMES = {**NAMES, UNTRAINED: "random weights"}


def _transfer_rows(report: TransferReport) -> list[list[str]]:
    """A row for each layer of the KD student."""
    by_role = {role: {entry.depth: entry for entry in report.counterparts(role)} for role in report.roles}
    rows = []
    for entry in report.counterparts(Role.KD_STUDENT, Role.STUDENT):
        value, low, high = signed_interval(entry.cka.value, entry.cka.low, entry.cka.high, 3)
        values = [number(layers[entry.depth].cka.value, 3) for layers in by_role.values()]
        names = [f"`{entry.layer}`", f"`{entry.teacher_layer}`"]
        rows.append([*names, *values, f"{value} ({low} to {high})", entry.cka.verdict()])
    return rows


_SCORE_TITLES = ["score", "layer", "KD student", "student alone", "random weights", "teacher"]
_SCORE_TITLES += ["KD student less alone", "verdict"]
_SCORE_NAMES = {
    SIMILARITY: "feature similarity",
    RELEVANCE: "relevance",
    UNIQUE[SIMILARITY]: "similarity beyond the other student",
    UNIQUE[RELEVANCE]: "relevance beyond the other student",
}
_SCORE_VERDICTS = {CLOSER: "higher", NOT_CLOSER: "not higher", FURTHER: "lower"}


def _score_rows(report: TransferReport) -> list[list[str]]:
    """A row for each score and layer of the KD student."""
    rows = []
    for entry in sorted((each for each in report.scores if each.less), key=lambda each: SCORES.index(each.measure)):
        known = [report.score(entry.measure, entry.depth, role) for role in (entry.role, entry.less, UNTRAINED)]
        known.append(report.score(entry.measure, entry.teacher_depth, Role.TEACHER))
        value, low, high = signed_interval(entry.score.value, entry.score.low, entry.score.high, 3)
        values = ["" if each is None else number(each.score.value, 3) for each in known]
        verdict = _SCORE_VERDICTS.get(entry.score.verdict(), UNKNOWN)
        rows.append([_SCORE_NAMES[entry.measure], f"`{entry.layer}`", *values, f"{value} ({low} to {high})", verdict])
    return rows


@sections.register("shifts")
def shifts(experiment: Experiment) -> str:
    """Shifted pictures: the sentences, and accuracy and the teacher's answers by shift."""
    report = read_shifts_report(experiment)
    if report is None:
        raise ExperimentError(
            "'{folder}' has no study of shifts; kdviz study --study shifts makes one.", folder=experiment.folder
        )
    titles = ["shift", *(f"{NAMES[role]}, right" for role in _SHIFT_ROLES), "KD student less alone", "verdict"]
    titles += ["KD student, as the teacher", "student alone, as the teacher", "KD student less alone", "verdict"]
    titles += ["second alone less alone, right", "as the teacher"] if report.has_second else []
    rows = [_shift_row(report, shift) for shift in (UNSHIFTED, *report.shifts, ALL)]
    return "\n".join(f"- {sentence}" for sentence in shift_sentences(report)) + f"\n\n{table(titles, rows)}\n"


_SHIFT_ROLES = (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT)


def _shift_row(report: ShiftsReport, shift: str) -> list[str]:
    """Means over severities: shares, and what the KD student has more."""
    cells = [{UNSHIFTED: "none", ALL: "mean"}.get(shift) or shift_title(shift)]
    for measure, roles in ((ACCURACY, _SHIFT_ROLES), (AGREEMENT, _SHIFT_ROLES[1:])):
        gain = report.gain(measure, shift)
        cells += [percent(report.share(measure, role, shift)) for role in roles]
        cells += [_gain(gain), report.verdict(gain)]
    if report.has_second:
        cells += [_gain(report.gain(measure, shift, role=SECOND)) for measure in MEASURES]
    return cells


def _gain(gain: Gain) -> str:
    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return f"{value} ({low} to {high})"


@sections.register("tree")
def tree(experiment: Experiment) -> str:
    """Soft decision trees with and without the teacher: the sentences, and the figures by depth."""
    report = read_tree_report(experiment)
    if report is None:
        raise ExperimentError(
            "'{folder}' has no study of trees; kdviz study --study tree makes one.", folder=experiment.folder
        )
    titles = ["depth", "with the teacher", "without", "with less without, in points", "log-loss", "without"]
    titles += ["says the same as the teacher", "without", "its path says the answer", "without"]
    rows = [_tree_row(comparison) for comparison in (*report.trees, *filter(None, [report.linear]))]
    return "\n".join(f"- {sentence}" for sentence in tree_sentences(report)) + f"\n\n{table(titles, rows)}\n"


def _tree_row(comparison: Comparison) -> list[str]:
    kd, alone = comparison.kd, comparison.alone
    value, low, high = points_interval(comparison.accuracy.value, comparison.low, comparison.high)
    depth = "sparse linear" if comparison.depth is None else number(comparison.depth)
    cells = [depth, _with_spread(kd), _with_spread(alone), f"{value} ({low} to {high})"]
    cells += [number(figures.means["loss"], 3) for figures in (kd, alone)]
    for name in ("same_as_teacher", "path_is_answer"):
        cells += ["" if math.isnan(each) else percent(each, 2) for each in (kd.means[name], alone.means[name])]
    return cells


def _with_spread(figures: ModelFigures) -> str:
    spread = "" if math.isnan(figures.spread) else f" ± {number(100 * figures.spread, 2)}"
    return percent(figures.accuracy, 2) + spread


@sections.register("loss-shifts")
def loss_shifts(experiment: Experiment) -> str:
    """Losses on shifted pictures: the sentences, and each loss beside the softened targets."""
    report = read_loss_shifts(experiment)
    if report is None:
        raise ExperimentError(
            "'{folder}' has no study of losses on shifted pictures; kdviz study --study loss-shifts makes one.",
            folder=experiment.folder,
        )
    titles = ["loss", "right, unshifted", "right, shifted", "less softened targets", "verdict"]
    titles += ["as the teacher, shifted", "less softened targets", "verdict"]
    rows = [_loss_row(report, loss) for loss in (*report.losses, None)]
    return "\n".join(f"- {sentence}" for sentence in loss_shift_sentences(report)) + f"\n\n{table(titles, rows)}\n"


def _loss_row(report: LossShiftsReport, loss: str | None) -> list[str]:
    """Means over severities and shifts, and what the loss has more than the softened targets."""
    cells = [loss or NAMES[Role.STUDENT], percent(report.share(ACCURACY, loss, UNSHIFTED))]
    for measure in (ACCURACY, AGREEMENT):
        cells.append(percent(report.share(measure, loss)))
        if loss in (None, REFERENCE):
            cells += ["", ""]
            continue
        gain = report.gain(measure, loss, REFERENCE)
        cells += [change_text(gain), _LOSS_VERDICTS[gain.outcome]]
    return cells


_LOSS_VERDICTS = {MORE: "more often", LESS: "less often", CANNOT_TELL: "cannot tell"}
