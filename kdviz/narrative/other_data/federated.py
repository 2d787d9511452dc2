"""What clients gain by sharing answers, in sentences that the intervals allow."""

from __future__ import annotations

from kdviz.core.language import N_, _, number, percent, plural
from kdviz.metrics import Difference
from kdviz.studies.comparison.judgement import points_interval
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
    return 0 if not difference.excludes_zero else 1 if difference.value > 0 else -1


def _change(own: float, other: float, difference: Difference) -> str:
    points, low, high = points_interval(difference.value, difference.low, difference.high)
    return _(
        "{own} against {other} ({points} points, 95 % interval {low} to {high}, over {clients} and {samples})",
        own=percent(own, 2),
        other=percent(other, 2),
        points=points,
        low=low,
        high=high,
        clients=plural("{count} client", "{count} clients", difference.seeds),
        samples=plural("{count} sample", "{count} samples", difference.samples),
    )
