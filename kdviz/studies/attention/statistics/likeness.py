"""A study without a student alone, which only tells how alike the KD student's and the teacher's maps are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdviz.core.vocabulary import Role
from kdviz.experiment import Experiment
from kdviz.metrics.similarity import MAIN, measures
from kdviz.studies.attention.statistics.agreements import read_agreements
from kdviz.studies.attention.statistics.effects import effect_of, mean_contrast, mean_effect
from kdviz.studies.attention.statistics.pairs import MAIN_EFFECT
from kdviz.studies.attention.statistics.table import NAME, about_studies
from kdviz.studies.attention.statistics.uncertainty import Effect

OWN = "models"


@dataclass(frozen=True)
class Likeness:
    """Mean agreement of maps over a test set.

    Attributes:
        images: Number of images.
        agreement: Agreement of the KD student's maps with the teacher's.
        ceiling: The highest agreement that the masks' noise allows.
        shuffled: Agreement of its maps with those of the teacher with shuffled weights; None: not made.
    """

    images: int
    agreement: Effect
    ceiling: float
    shuffled: Effect | None

    def to_json(self) -> dict[str, Any]:
        """The study as JSON."""
        effects = {"agreement": self.agreement, "shuffled": self.shuffled}
        values = {
            name: None
            if effect is None
            else {"value": effect.value, "low": effect.interval.low, "high": effect.interval.high}
            for name, effect in effects.items()
        }
        return {"study": OWN, "images": self.images, "ceiling": self.ceiling, **values}


def read_likeness(experiment: Experiment, measure: str = MAIN) -> Likeness | None:
    """Read the study of the experiment's own models without a student alone; None: there is no such study.

    Raises:
        ExperimentError: The table is damaged.
        UnknownNameError: No such measure.
    """
    if OWN not in about_studies(experiment):
        return None
    agreements = read_agreements(experiment.table(NAME), OWN, measure)
    kd_series = agreements.of(MAIN_EFFECT, Role.KD_STUDENT)
    if agreements.of(MAIN_EFFECT, Role.STUDENT) or not kd_series:
        return None
    corrected, weights = measures[measure].disattenuates, agreements.weights / agreements.weights.sum()
    shuffled = agreements.of("shuffled", Role.KD_STUDENT)
    return Likeness(
        len(agreements.samples),
        effect_of(agreements, mean_contrast(kd_series), corrected),
        float(np.mean([weights @ series.ceiling for series in kd_series])),
        mean_effect(agreements, shuffled, False),
    )
