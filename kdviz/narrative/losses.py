"""Losses beside each other in words: which teaches where to look, and what it costs in accuracy."""

from __future__ import annotations

from collections.abc import Callable

from kdviz.core.language import N_, _, listed, plural, signed_interval
from kdviz.metrics.equivalence import BETTER, EQUIVALENT, UNDECIDED, WORSE
from kdviz.studies.comparison.judgement import margin_points, points_interval
from kdviz.studies.losses import REFERENCE, Gain, LossComparison, LossResult

_CLOSER = {
    BETTER: N_(
        "{loss} brings the maps closer to the teacher's than {reference} alone ({agreement}), and makes the student "
        "more accurate ({accuracy} points)."
    ),
    EQUIVALENT: N_(
        "{loss} brings the maps closer to the teacher's than {reference} alone ({agreement}), and the student is as "
        "accurate within {margin} points ({accuracy})."
    ),
    WORSE: N_(
        "{loss} brings the maps closer to the teacher's than {reference} alone ({agreement}), at the price of accuracy "
        "({accuracy} points)."
    ),
    UNDECIDED: N_(
        "{loss} brings the maps closer to the teacher's than {reference} alone ({agreement}); whether the student is "
        "as accurate cannot be told ({accuracy} points)."
    ),
}


def verdict_sentences(comparison: LossComparison) -> list[str]:
    """Which losses bring the maps closer to the teacher's than the softened targets alone, and at what price."""
    closer = [result for result in comparison.losses if _agreement_outcome(result) == BETTER]
    closer.sort(key=lambda result: result.trained_on_maps)  # those whose figures mark their own work come last
    if not closer:
        return [
            _("No loss is shown to bring the maps closer to the teacher's than {reference} alone.", reference=REFERENCE)
        ]
    return [_closer(result, comparison) for result in closer]


def further_sentences(comparison: LossComparison) -> list[str]:
    """Which of the losses mark their own work, and what can be said of the others."""
    return [
        *_naming(
            comparison,
            lambda result: result.trained_on_maps,
            N_("Trained on maps of this very method, so that their figures mark their own work: {losses}."),
        ),
        *_naming(
            comparison,
            lambda result: _agreement_outcome(result) == WORSE,
            N_("Further from the teacher than with {reference} alone are the maps with {losses}."),
        ),
        *_naming(
            comparison,
            lambda result: _agreement_outcome(result) == UNDECIDED,
            N_("Whether the maps are closer or further than with {reference} alone cannot be told of {losses}."),
        ),
        *_naming(
            comparison,
            lambda result: _agreement_outcome(result) != BETTER and _accuracy_outcome(result) == BETTER,
            N_("More accurate than with {reference} alone is the student with {losses}."),
        ),
        *_naming(
            comparison,
            lambda result: _agreement_outcome(result) != BETTER and _accuracy_outcome(result) == WORSE,
            N_("Less accurate than with {reference} alone is the student with {losses}."),
        ),
    ]


def limit_sentences(comparison: LossComparison) -> list[str]:
    """What limits the comparison."""
    difference = comparison.verdict.difference
    sentences = [
        _(
            "Accuracies are over {seeds} and {samples}, maps over {images}; losses are judged by p-values that hold "
            "for all pairs of them.",
            seeds=plural("{count} seed", "{count} seeds", difference.seeds),
            samples=plural("{count} sample", "{count} samples", difference.samples),
            images=plural("{count} image", "{count} images", comparison.attention.images),
        )
    ]
    if comparison.attention.teachers == 1:
        sentences.append(_("All students have one teacher: with another, the losses may differ otherwise."))
    if comparison.without_maps:
        sentences.append(
            _("Trained, but their maps were not studied: {losses}.", losses=listed(comparison.without_maps))
        )
    return sentences


def accuracy_text(gain: Gain) -> str:
    """A gain of accuracy in points, with its interval."""
    value, low, high = points_interval(gain.value, gain.low, gain.high)
    return f"{value} [{low}, {high}]"


def agreement_text(gain: Gain) -> str:
    """A gain of agreement, with its interval."""
    value, low, high = signed_interval(gain.value, gain.low, gain.high, 3)
    return f"{value} [{low}, {high}]"


def _agreement_outcome(result: LossResult) -> str:
    return UNDECIDED if result.agreement_gain is None else result.agreement_gain.outcome


def _accuracy_outcome(result: LossResult) -> str:
    return UNDECIDED if result.accuracy_gain is None else result.accuracy_gain.outcome


def _closer(result: LossResult, comparison: LossComparison) -> str:
    assert result.agreement_gain is not None
    accuracy = result.accuracy_gain
    return _(
        _CLOSER[_accuracy_outcome(result)],
        loss=result.loss,
        reference=REFERENCE,
        agreement=agreement_text(result.agreement_gain),
        accuracy=accuracy_text(accuracy) if accuracy is not None else "–",
        margin=margin_points(comparison.verdict.margin),
    )


def _naming(comparison: LossComparison, belongs: Callable[[LossResult], bool], text: str) -> list[str]:
    losses = [result.loss for result in comparison.losses if result.loss and belongs(result)]
    return [_(text, reference=REFERENCE, losses=listed(losses))] if losses else []
