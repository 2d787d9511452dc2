"""What clients gain by sharing answers, in sentences that the intervals allow."""

from __future__ import annotations

from kdviz.core.language import N_, _, number, percent
from kdviz.metrics import Difference
from kdviz.narrative.other_data.incremental import change_text
from kdviz.studies.federated.report import FederatedReport

_GAIN = {
    1: N_("Clients that share answers about {public} public pictures are more accurate than alone: {change}."),
    -1: N_("Clients that share answers about {public} public pictures are less accurate than alone: {change}."),
    0: N_("Whether clients that share answers about {public} public pictures gain by it cannot be told: {change}."),
}
_SHORT = {
    1: N_("They are more accurate than one model that has the samples of all: {change}."),
    -1: N_("They are less accurate than one model that has the samples of all: {change}."),
    0: N_("Whether they are as accurate as one model that has the samples of all cannot be told: {change}."),
}


def federated_sentences(report: FederatedReport) -> list[str]:
    """The report in the reader's language."""
    public = number(report.public)
    return [
        _(_GAIN[_sign(report.gain)], public=public, change=_change(report.fedmd, report.alone, report.gain)),
        _(_SHORT[_sign(report.short)], change=_change(report.fedmd, report.central, report.short)),
    ]


def _sign(difference: Difference) -> int:
    """With one seed, which says nothing about others, nothing is told."""
    return 0 if difference.seeds < 2 or not difference.excludes_zero else 1 if difference.value > 0 else -1


def _change(own: float, other: float, difference: Difference) -> str:
    accuracies = {"own": percent(own, 2), "other": percent(other, 2)}
    return _("{own} against {other}, {change}", change=change_text(difference), **accuracies)
