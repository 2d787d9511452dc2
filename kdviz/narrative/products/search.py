"""What a search found, in words: the validation figure that chose the winner, and apart from it what the test says."""

from __future__ import annotations

from collections.abc import Mapping

from kdviz.core.language import N_, _, listed, number, percent, plural
from kdviz.studies.comparison.judgement import (
    EQUAL,
    HIGHER,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    NO_HIGHER,
    NO_LOWER,
    UNDECIDED,
    basis,
    interval,
    judge_difference,
    margin_points,
    points_interval,
)
from kdviz.studies.search.objectives import LATENCY
from kdviz.studies.search.report import SearchReport, TestedCandidate
from kdviz.studies.search.table import COMPLETE, DEFAULT, FAILED, GRID, PRUNED, WINNER
from kdviz.studies.search.titles import settings_text

MARGIN = 0.005
"""Share of the samples within which two recipes count as equally accurate, unless the reader says otherwise."""

_SHORT = 0.2
"""Share of the grid's time whose winner is said apart."""

_OTHERS: Mapping[str, str] = {DEFAULT: N_("the default recipe"), GRID: N_("the grid's best")}
_ACCURACY: Mapping[str, str] = {
    EQUAL: N_("On the test split the winner is as accurate as {other} within {margin} points: {change}."),
    MUCH_HIGHER: N_(
        "On the test split the winner is more accurate than {other}, by more than {margin} points: {change}."
    ),
    HIGHER: N_(
        "On the test split the winner is more accurate than {other}; whether by more than {margin} points "
        "cannot be told: "
        "{change}."
    ),
    NO_LOWER: N_("On the test split the winner is not worse than {other} by {margin} points or more: {change}."),
    NO_HIGHER: N_(
        "One cannot tell whether the winner is as accurate as {other} within {margin} points on the test split: "
        "{change}."
    ),
    UNDECIDED: N_(
        "One cannot tell whether the winner is as accurate as {other} within {margin} points on the test split: "
        "{change}."
    ),
    LOWER: N_(
        "On the test split the winner is less accurate than {other}; whether by more than {margin} points "
        "cannot be told: "
        "{change}."
    ),
    MUCH_LOWER: N_(
        "On the test split the winner is less accurate than {other}, by more than {margin} points: {change}."
    ),
}


def search_sentences(report: SearchReport, margin: float = MARGIN) -> list[str]:
    """Everything that can be said of a search, and what limits it.

    Args:
        report: The report.
        margin: Share of the samples within which two recipes count as equally accurate.
    """
    return [
        *verdict_sentences(report, margin),
        *further_sentences(report),
        *stale_sentences(report),
        *limit_sentences(report),
    ]


def verdict_sentences(report: SearchReport, margin: float = MARGIN) -> list[str]:
    """The winner against the default recipe, and against the best of a grid where there is one."""
    if report.winner is None:
        return [_("No trial was trained to its end yet.")]
    sentences = [sentence for name in _OTHERS for sentence in _against(report, name, margin)]
    return sentences or [_("The winner was not tested yet; the same command does so.")]


def _against(report: SearchReport, name: str, margin: float) -> list[str]:
    difference = report.against(name)
    if difference is None or report.candidates is None:
        return []
    winner, other = report.candidates[WINNER], report.candidates[name]
    if winner.settings == other.settings:
        return [_("The winner is {other}: the search found nothing more accurate.", other=_(_OTHERS[name]))]
    judged = judge_difference(difference, margin)
    value, low, high = points_interval(judged.value, judged.low, judged.high)
    change = _(
        "{own} against {other}, {value} points ({interval}, over {basis})",
        own=percent(winner.test, 2),
        other=percent(other.test, 2),
        value=value,
        interval=interval(judged, low, high),
        basis=basis(judged),
    )
    return [_(_ACCURACY[judged.outcome], other=_(_OTHERS[name]), margin=margin_points(margin), change=change)]


def further_sentences(report: SearchReport) -> list[str]:
    """The trials, the winner with its validation and its test figure apart, the time, the front."""
    return [
        count_sentence(report),
        *sample_sentences(report),
        *winner_sentences(report),
        *time_sentences(report),
        *found_sentences(report),
        *front_sentences(report),
    ]


def count_sentence(report: SearchReport) -> str:
    return _(
        "Of {trials} {complete} trained to the end, {pruned} stopped early as hopeless, and {failed} could not "
        "be trained.",
        trials=plural("{count} trial", "{count} trials", len(report.trials)),
        complete=plural("{count} was", "{count} were", report.count(COMPLETE)),
        pruned=plural("{count} was", "{count} were", report.count(PRUNED)),
        failed=number(report.count(FAILED)),
    )


def sample_sentences(report: SearchReport) -> list[str]:
    """The samples that all students learned from; empty where the table does not say."""
    samples = report.about.get("training_samples")
    if samples is None:
        return []
    return [
        _(
            "All students learned from {samples}, for at most {epochs}.",
            samples=plural("{count} training sample", "{count} training samples", samples),
            epochs=plural("{count} epoch", "{count} epochs", max(row["epochs"] for row in report.trials)),
        )
    ]


def winner_sentences(report: SearchReport) -> list[str]:
    """What won, and the figure that chose it beside those of new seeds."""
    winner = report.winner
    if winner is None:
        return []
    sentences = [
        _(
            "The winner is trial {trial}: {settings}. It was chosen by a validation accuracy of {accuracy}.",
            trial=number(winner["trial"]),
            settings=settings_text(winner, report.varied),
            accuracy=percent(winner["accuracy"], 2),
        )
    ]
    tested: TestedCandidate | None = (report.candidates or {}).get(WINNER)
    if tested is None or len(report.complete) < 2:
        return sentences
    return [
        *sentences,
        _(
            "The highest of many figures is too high on average: with {seeds} the same settings have "
            "{validation} of the "
            "validation samples, and {test} of the test samples.",
            seeds=plural("{count} new seed", "{count} new seeds", len(tested.right)),
            validation=percent(tested.validation, 2),
            test=percent(tested.test, 2),
        ),
    ]


def time_sentences(report: SearchReport) -> list[str]:
    """The time of all trials beside that of a grid; empty before the test."""
    grid = report.grid_seconds
    if not grid:
        return []
    values = {
        "seconds": number(report.seconds),
        "ratio": percent(report.seconds / grid),
        "grid": number(grid),
        "runs": number(report.grid_runs),
    }
    if report.grid:
        return [
            _(
                "All trials took {seconds} seconds of training, {ratio} of the {grid} seconds of the grid of "
                "{runs} runs.",
                **values,
            )
        ]
    return [
        _(
            "All trials took {seconds} seconds of training, {ratio} of the {grid} seconds that a grid of "
            "temperature and "
            "alpha would take: {runs} runs, each as long as the default recipe's.",
            **values,
        )
    ]


def found_sentences(report: SearchReport) -> list[str]:
    """After how much training the winner was found; before the test the grid's time is not known."""
    found = report.found
    if found is None:
        return []
    values = {
        "trials": plural("{count} trial", "{count} trials", found.trials),
        "seconds": number(found.seconds),
        "ratio": "" if found.share_of_grid is None else percent(found.share_of_grid),
    }
    if found.share_of_grid is None:
        return [
            _(
                "The winner was found after {trials} and {seconds} seconds of training; that it is the best was known "
                "only after all trials.",
                **values,
            )
        ]
    return [
        _(
            "The winner was found after {trials} and {seconds} seconds of training, {ratio} of the grid's time; that "
            "it is the best was known only after all trials.",
            **values,
        ),
        *_within_a_fifth(report),
    ]


def _within_a_fifth(report: SearchReport) -> list[str]:
    """The winner of the trials within a fifth of the grid's time; empty where all of them are."""
    part = report.within(_SHORT * (report.grid_seconds or 0.0))
    if report.winner is None or part.winner is None or len(part.trials) == len(report.trials):
        return []
    trials = plural("The first trial, all that fits", "The first {count} trials, all that fit", len(part.trials))
    if part.winner["trial"] == report.winner["trial"]:
        return [_("{trials} in a fifth of the grid's time, would have given the same winner.", trials=trials)]
    return [
        _(
            "{trials} in a fifth of the grid's time, would have given another winner: trial {trial}, with a validation "
            "accuracy of {accuracy}.",
            trials=trials,
            trial=number(part.winner["trial"]),
            accuracy=percent(part.winner["accuracy"], 2),
        )
    ]


def front_sentences(report: SearchReport) -> list[str]:
    """How many trials are on the Pareto front; empty for one objective."""
    if len(report.objectives) < 2:
        return []
    return [
        _(
            "{trials} on the Pareto front: no other is better in one of {objectives} and no worse in the others.",
            trials=plural("{count} trial is", "{count} trials are", len(report.front)),
            objectives=listed([_(objective.title) for objective in report.objectives]),
        )
    ]


def stale_sentences(report: SearchReport) -> list[str]:
    """A sentence where the teacher is another one by now."""
    if not report.stale:
        return []
    return [_("The teacher has changed since the search; move search.db away and search again.")]


def limit_sentences(report: SearchReport) -> list[str]:
    """What the figures do not say."""
    sentences = [_("Each trial is one training with one seed: the order of trials that lie close together is chance.")]
    if report.about.get("importance"):
        importance = _(
            "Importance is of the trials that were trained to the end, of which the search made many near its "
            "best ones; "
            "it says what sets the most accurate ones apart, not what would change in another range."
        )
        sentences.append(importance)
    if len(report.objectives) > 1:
        sentences += [
            _("Only accuracy was tested with new seeds; the other objectives are of one training each."),
            _("No trial was stopped early: with several objectives none is hopeless by one of them alone."),
        ]
    if any(objective.name == LATENCY for objective in report.objectives):
        sentences.append(
            _(
                "Times are of this machine, over that of the student in its own width, which had its turns beside; "
                "equal networks differ by a few percent."
            )
        )
    return sentences
