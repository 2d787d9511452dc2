"""A study without a student alone: how alike the KD student's maps are to the teacher's, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.experiment import Experiment
from kdviz.metrics.similarity import MAIN, measures
from kdviz.studies.attention.statistics.agreements import read_agreements
from kdviz.studies.attention.statistics.effects import effect_of, mean_contrast
from kdviz.studies.attention.statistics.pairs import MAIN_EFFECT
from kdviz.studies.attention.statistics.table import NAME, about_studies
from kdviz.studies.attention.statistics.uncertainty import Effect

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

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        effects = {"agreement": self.own, "shuffled": self.shuffled}
        values = {
            name: None if one is None else {"value": one.value, "low": one.interval.low, "high": one.interval.high}
            for name, one in effects.items()
        }
        return {"study": OWN, "images": self.images, "ceiling": self.ceiling, **values}


def read_likeness(experiment: Experiment, measure: str = MAIN) -> Likeness | None:
    """The study of the experiment's own models where no student alone was in it; None: there is no such study.

    Raises:
        ExperimentError: The table is damaged.
        UnknownNameError: No such measure.
    """
    if OWN not in about_studies(experiment):
        return None
    agreements = read_agreements(experiment.table(NAME), OWN, measure)
    own = agreements.of(MAIN_EFFECT, "kd_student")
    if agreements.of(MAIN_EFFECT, "student") or not own:
        return None
    corrected, weights = measures[measure].disattenuates, agreements.weights / agreements.weights.sum()
    shuffled = agreements.of("shuffled", "kd_student")
    return Likeness(
        len(agreements.samples),
        effect_of(agreements, mean_contrast(own), corrected),
        float(np.mean([weights @ one.ceiling for one in own])),
        effect_of(agreements, mean_contrast(shuffled), False) if shuffled else None,
    )
