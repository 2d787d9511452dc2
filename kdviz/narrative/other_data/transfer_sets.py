"""What each transfer set gives, in sentences that its intervals allow."""

from __future__ import annotations

from collections.abc import Iterable

from kdviz.core.language import N_, _, percent, plural
from kdviz.distill.transfer_sets.registry import TRAINING
from kdviz.metrics import Difference
from kdviz.studies.comparison.judgement import points_interval
from kdviz.studies.sweep.transfer_values import TransferValue

_RIGHT = N_(
    "Distilled on the transfer set {value}, the student is right in {accuracy} (95 % interval {low} to {high}, over "
    "{seeds} and {samples}) and says the same as its teacher in {agreement} ({agreement_low} to {agreement_high})."
)
_NO_BETTER_THAN_CHANCE = N_(
    "Distilled on the transfer set {value}, the student is not shown to be better than chance, {chance}: it is right "
    "in {accuracy} (95 % interval {low} to {high}, over {seeds} and {samples})."
)
_BESIDE_TRAINING = {
    1: N_("It is more accurate than distilled on the training pictures: {points} points ({low} to {high})."),
    -1: N_("It is less accurate than distilled on the training pictures: {points} points ({low} to {high})."),
    0: N_(
        "Whether it is more or less accurate than distilled on the training pictures cannot be told: {points} points "
        "({low} to {high})."
    ),
}
_BESIDE_ALONE = {
    1: N_("It is more accurate than trained alone on the labels: {points} points ({low} to {high})."),
    -1: N_("It is less accurate than trained alone on the labels: {points} points ({low} to {high})."),
    0: N_(
        "Whether it is more or less accurate than trained alone on the labels cannot be told: {points} points "
        "({low} to {high})."
    ),
}


def transfer_set_sentences(values: Iterable[TransferValue]) -> list[str]:
    """A paragraph for each transfer set but the training pictures, in the reader's language."""
    return [_paragraph(value) for value in values if value.value != TRAINING]


def _paragraph(value: TransferValue) -> str:
    if not value.above_chance:
        return _(_NO_BETTER_THAN_CHANCE, **_basis(value), chance=percent(value.chance, 2))
    agreement = {
        "agreement": percent(value.agreement, 2),
        "agreement_low": percent(value.low, 2),
        "agreement_high": percent(value.high, 2),
    }
    sentences = [_(_RIGHT, **_basis(value), **agreement)]
    for texts, difference in ((_BESIDE_TRAINING, value.beside_training), (_BESIDE_ALONE, value.beside_alone)):
        if difference is not None:
            sentences.append(_compared(texts, difference))
    return " ".join(sentences)


def _basis(value: TransferValue) -> dict[str, str]:
    accuracy = value.accuracy
    return {
        "value": value.value,
        "accuracy": percent(accuracy.value, 2),
        "low": percent(max(0.0, accuracy.low), 2),
        "high": percent(min(1.0, accuracy.high), 2),
        "seeds": _("one seed") if accuracy.seeds == 1 else plural("{count} seed", "{count} seeds", accuracy.seeds),
        "samples": plural("{count} sample", "{count} samples", accuracy.samples),
    }


def _compared(texts: dict[int, str], difference: Difference) -> str:
    """The difference in words; with one seed, which says nothing about others, it is never told."""
    sign = 0 if difference.seeds < 2 or not difference.excludes_zero else 1 if difference.value > 0 else -1
    points, low, high = points_interval(difference.value, difference.low, difference.high)
    return _(texts[sign], points=points, low=low, high=high)
