"""How alike two models' maps are, in words, where no student alone was studied."""

from __future__ import annotations

from kdviz.core.language import _, number, plural
from kdviz.studies.attention.statistics.likeness import Likeness
from kdviz.studies.attention.statistics.uncertainty import Effect


def likeness_sentences(alike: Likeness) -> list[str]:
    """What can be said without a student alone."""
    found = [
        _(
            "Over {images} the KD student's maps agree with the teacher's by {value} (95 % "
            "interval {low} to {high}, noise ceiling {ceiling}).",
            images=plural("{count} image", "{count} images", alike.images),
            ceiling=number(alike.ceiling, 3),
            **_ends(alike.own),
        )
    ]
    if alike.shuffled is not None:
        text = _(
            "With a teacher whose weights are shuffled they agree by {value} (95 % interval {low} to {high}).",
            **_ends(alike.shuffled),
        )
        found.append(text)
    found.append(
        _(
            "Without a student that was trained alone it is not known whether distillation brought this: any two "
            "models that are right look at similar places."
        )
    )
    return found


def _ends(effect: Effect) -> dict[str, str]:
    ends = {"value": effect.value, "low": effect.interval.low, "high": effect.interval.high}
    return {name: number(one, 3) for name, one in ends.items()}
