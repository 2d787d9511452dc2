"""A study without a student alone: how alike the KD student's maps are to the teacher's, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.analysis.attention.agreements import read_agreements
from kdviz.analysis.attention.pairs import CLAIM
from kdviz.analysis.attention.statistics import effect_of, mean_contrast
from kdviz.analysis.attention.table import NAME, about_studies
from kdviz.analysis.attention.uncertain import Effect
from kdviz.experiment import Experiment
from kdviz.language import _, number, plural
from kdviz.metrics.similarity import MAIN, measures

OWN = "models"


@dataclass(frozen=True)
class Likeness:
    """Mean agreement of maps over a test set.

    Attributes:
        images: How many.
        own: Of the KD student's maps with the teacher's.
        ceiling: The most that the masks' noise allows.
        shuffled: Of its maps with those of the teacher with shuffled weights; None: not made.
    """

    images: int
    own: Effect
    ceiling: float
    shuffled: Effect | None

    @property
    def sentences(self) -> list[str]:
        """What can be said."""
        found = [
            _(
                "Over {images} the KD student's maps agree with the teacher's by {value} (95 % "
                "interval {low} to {high}, noise ceiling {ceiling}).",
                images=plural("{count} image", "{count} images", self.images),
                ceiling=number(self.ceiling, 3),
                **_ends(self.own),
            )
        ]
        if self.shuffled is not None:
            text = _(
                "With a teacher whose weights are shuffled they agree by {value} (95 % interval {low} to {high}).",
                **_ends(self.shuffled),
            )
            found.append(text)
        found.append(
            _(
                "Without a student that was trained alone it is not known whether distillation brought this: any two "
                "models that are right look at similar places."
            )
        )
        return found

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        effects = {"agreement": self.own, "shuffled": self.shuffled}
        values = {
            name: None if one is None else {"value": one.value, "low": one.interval.low, "high": one.interval.high}
            for name, one in effects.items()
        }
        return {"study": OWN, "images": self.images, "ceiling": self.ceiling, **values}


def _ends(effect: Effect) -> dict[str, str]:
    ends = {"value": effect.value, "low": effect.interval.low, "high": effect.interval.high}
    return {name: number(one, 3) for name, one in ends.items()}


def read_likeness(experiment: Experiment, measure: str = MAIN) -> Likeness | None:
    """The study of the experiment's own models where no student alone was in it; None: there is no such study.

    Raises:
        ExperimentError: The table is damaged.
        UnknownNameError: No such measure.
    """
    if OWN not in about_studies(experiment):
        return None
    agreements = read_agreements(experiment.table(NAME), OWN, measure)
    own = agreements.of(CLAIM, "kd_student")
    if agreements.of(CLAIM, "student") or not own:
        return None
    corrected, weights = measures[measure].disattenuates, agreements.weights / agreements.weights.sum()
    shuffled = agreements.of("shuffled", "kd_student")
    return Likeness(
        len(agreements.samples),
        effect_of(agreements, mean_contrast(own), corrected),
        float(np.mean([weights @ one.ceiling for one in own])),
        effect_of(agreements, mean_contrast(shuffled), False) if shuffled else None,
    )
