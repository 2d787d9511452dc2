"""What was learned and forgotten, in sentences that the intervals allow."""

from __future__ import annotations

from kdviz.core.language import N_, _, percent, plural
from kdviz.metrics import Difference
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.incremental.report import IncrementalReport

_OLD = {
    1: N_("With its own answers about the old classes it knows these better than fine-tuned: {change}."),
    -1: N_("With its own answers about the old classes it knows these less well than fine-tuned: {change}."),
    0: N_(
        "Whether its own answers about the old classes keep more of these than fine-tuning cannot be told: {change}."
    ),
}
_NEW = {
    1: N_("It knows the new classes better than fine-tuned: {change}."),
    -1: N_("It knows the new classes less well than fine-tuned: {change}."),
    0: N_("Whether it knows the new classes better or less well cannot be told: {change}."),
}
_ALL = {
    1: N_("Not told which classes are old, it is more accurate among all: {change}."),
    -1: N_("Not told which classes are old, it is less accurate among all: {change}."),
    0: N_("Whether it is more accurate among all classes, not told which are old, cannot be told: {change}."),
}
_TAUGHT = {
    1: N_("With a teacher of the new classes a network knows these better than from labels alone: {change}."),
    -1: N_("With a teacher of the new classes a network knows these less well than from labels alone: {change}."),
    0: N_(
        "Whether with a teacher of the new classes a network knows these better than from labels alone cannot be told: "
        "{change}."
    ),
}


def incremental_sentences(report: IncrementalReport) -> list[str]:
    """The report in the reader's language."""
    pairs = ((_OLD, report.old), (_NEW, report.new), (_ALL, report.all), (_TAUGHT, report.taught))
    return [_compared(texts, difference) for texts, difference in pairs if difference is not None]


def change_text(difference: Difference) -> str:
    """A difference of shares in points, with its interval and what it is over."""
    points, low, high = points_interval(difference.value, difference.low, difference.high)
    return _(
        "{points} points (95 % interval {low} to {high}, over {seeds} and {samples})",
        points=points,
        low=low,
        high=high,
        seeds=_("one seed") if difference.seeds == 1 else plural("{count} seed", "{count} seeds", difference.seeds),
        samples=plural("{count} sample", "{count} samples", difference.samples),
    )


def _compared(texts: dict[int, str], difference: Difference) -> str:
    """With one seed, which says nothing about others, nothing is told."""
    sign = 0 if difference.seeds < 2 or not difference.excludes_zero else 1 if difference.value > 0 else -1
    return _(texts[sign], change=change_text(difference))


def incremental_rows(report: IncrementalReport) -> list[list[str]]:
    """Method, and its accuracy on the old classes, the new ones, and all."""
    return [
        [row.method, *(percent(part.value, 2) for part in (row.old, row.new, row.all))] for row in report.accuracies
    ]
