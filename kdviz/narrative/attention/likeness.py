"""The agreement of two models' maps in words, for a study without a student alone."""

from __future__ import annotations

from kdviz.core.language import _, interval_digits, number, plural
from kdviz.studies.attention.statistics.likeness import Likeness
from kdviz.studies.attention.statistics.uncertainty import Effect


def likeness_sentences(likeness: Likeness) -> list[str]:
    """What can be said without a student that was trained alone."""
    sentences = [
        _(
            "Over {images} the KD student's maps agree with the teacher's by {value} (95 % "
            "interval {low} to {high}, noise ceiling {ceiling}).",
            images=plural("{count} image", "{count} images", likeness.images),
            ceiling=number(likeness.ceiling, 3),
            **_ends(likeness.agreement),
        )
    ]
    if likeness.shuffled is not None:
        text = _(
            "With a teacher whose weights are shuffled they agree by {value} (95 % interval {low} to {high}).",
            **_ends(likeness.shuffled),
        )
        sentences.append(text)
    sentences.append(
        _(
            "Without a student that was trained alone it is not known whether distillation brought this: any two "
            "models that are right look at similar places."
        )
    )
    return sentences


def _ends(effect: Effect) -> dict[str, str]:
    ends = {"value": effect.value, "low": effect.interval.low, "high": effect.interval.high}
    digits = interval_digits(ends["low"], ends["high"], 3)
    return {name: number(value, digits) for name, value in ends.items()}
