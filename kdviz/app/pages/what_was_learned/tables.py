"""The tables of the page What was learned."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from kdviz.core.language import _, number, percent, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.figures.studies.transfer import model_title, tick_of
from kdviz.studies.transfer.report import (
    ALL,
    CLOSER,
    FURTHER,
    NOT_CLOSER,
    Estimate,
    LayerLikeness,
    LayerScore,
    TransferReport,
)
from kdviz.studies.transfer.table import RELEVANCE, SCORES, SIMILARITY, UNIQUE

_PAIR = (Role.KD_STUDENT, Role.STUDENT)


def verdict_title(verdict: str) -> str:
    """The verdict of a table's row."""
    titles = {CLOSER: _("Closer"), NOT_CLOSER: _("Not closer"), FURTHER: _("Further")}
    return titles.get(verdict, _("Cannot tell"))


def layers_table(report: TransferReport) -> pd.DataFrame:
    """A row a layer of the students: CKA of each model with the teacher's counterpart, and the paired difference."""
    by_role = {role: {entry.depth: entry for entry in report.counterparts(role)} for role in report.roles}
    differences = {entry.depth: entry for entry in report.counterparts(*_PAIR)}
    deepest = max(report.roles, key=report.depths, default="")
    rows = []
    for entry in by_role.get(deepest, {}).values():
        values = {
            model_title(role): number(layers[entry.depth].cka.value, 3) if entry.depth in layers else ""
            for role, layers in by_role.items()
        }
        difference = differences.get(entry.depth)
        rows.append({_("Layer · teacher's"): tick_of(report, entry), **_difference(difference), **values})
    return pd.DataFrame(rows)


def _difference(entry: LayerLikeness | None) -> dict[str, str]:
    if entry is None:
        return {}
    return {_("KD student less alone"): signed_estimate(entry.cka, 3), _("Verdict"): verdict_title(entry.cka.verdict())}


def scores_table(report: TransferReport) -> pd.DataFrame:
    """A row a score and layer of the students: of each model, and the paired difference. Empty without scores."""
    roles = list(dict.fromkeys(entry.role for entry in report.scores if not entry.less and entry.role != Role.TEACHER))
    deepest = max(roles, key=report.depths, default="")
    return pd.DataFrame(
        [
            _score_row(report, measure, entry, roles)
            for measure in SCORES
            for entry in report.counterparts(deepest)
            if report.score(measure, entry.depth, deepest) is not None
        ]
    )


def _score_row(report: TransferReport, measure: str, layer: LayerLikeness, roles: Sequence[str]) -> dict[str, str]:
    row = {_("Score"): score_title(measure), _("Layer · teacher's"): tick_of(report, layer)}
    difference = report.score(measure, layer.depth, *_PAIR)
    if difference is not None:
        row[_("KD student less alone")] = signed_estimate(difference.score, 3)
        row[_("Verdict")] = score_verdict_title(difference.score.verdict())
    row |= {model_title(role): _score_cell(report.score(measure, layer.depth, role)) for role in roles}
    teacher = report.score(measure, layer.teacher_depth, Role.TEACHER)
    return row | {model_title(Role.TEACHER): _score_cell(teacher)}


def _score_cell(entry: LayerScore | None) -> str:
    return "" if entry is None else number(entry.score.value, 3)


def score_title(measure: str) -> str:
    """The name of a score in a table's row."""
    titles = {
        SIMILARITY: _("Feature similarity"),
        RELEVANCE: _("Relevance"),
        UNIQUE[SIMILARITY]: _("Similarity beyond the other student"),
        UNIQUE[RELEVANCE]: _("Relevance beyond the other student"),
    }
    return titles[measure]


def score_verdict_title(verdict: str) -> str:
    """The verdict of a score's row."""
    titles = {CLOSER: _("Higher"), NOT_CLOSER: _("Not higher"), FURTHER: _("Lower")}
    return titles.get(verdict, _("Cannot tell"))


def signed_estimate(estimate: Estimate, digits: int, scale: float = 1.0) -> str:
    """``+0.090 [+0.084, +0.095]``."""
    value, low, high = signed_interval(scale * estimate.value, scale * estimate.low, scale * estimate.high, digits)
    return f"{value} [{low}, {high}]"


def confusions_table(report: TransferReport) -> pd.DataFrame:
    """A row a temperature and model."""
    rows = []
    for temperature in report.temperatures:
        for entry in report.confusions:
            if entry.temperature != temperature or entry.less:
                continue
            ends = (number(each, 3) for each in (entry.correlation.low, entry.correlation.high))
            cells = f"{number(entry.correlation.value, 3)} [{', '.join(ends)}]"
            rows.append({"T": f"{temperature:g}", _("Model"): model_title(entry.role), _("Rank correlation"): cells})
    return pd.DataFrame(rows)


def inherited_table(report: TransferReport, classes: Sequence[str]) -> pd.DataFrame:
    """A row a class with errors of the teacher, all of them first."""
    roles = list(dict.fromkeys(entry.role for entry in report.inherited if not entry.less))
    shares = {role: {entry.label: entry.share for entry in report.inheritance(role)} for role in roles}
    differences = {entry.label: entry.share for entry in report.inheritance(*_PAIR)}
    rows = []
    for class_label in dict.fromkeys(entry.label for entry in report.inherited):
        of_class = {role: known[class_label] for role, known in shares.items() if class_label in known}
        row: dict[str, str | int] = {_("True class"): _("All") if class_label == ALL else classes[class_label]}
        if class_label in differences:
            row[_("KD student less alone (points)")] = signed_estimate(differences[class_label], 1, 100)
        row |= {model_title(role): percent(share.value) for role, share in of_class.items()}
        row[_("Teacher's errors")] = max((share.count for share in of_class.values()), default=0)
        rows.append(row)
    return pd.DataFrame(rows)
