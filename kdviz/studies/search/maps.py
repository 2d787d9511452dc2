"""Agreement of a trial's maps with its teacher's, on a few validation images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from kdviz.core.errors import KdvizError
from kdviz.core.vocabulary import Role, Split
from kdviz.distill.storage.training_run import TrainingRun
from kdviz.explanation.explain import explain
from kdviz.metrics import agreement
from kdviz.studies.compression.maps import MEASURE, chosen_images
from kdviz.studies.search.trainings import Trainings

_ROLE = "trial"


@dataclass(frozen=True)
class MapAgreement:
    """The same images and masks for every trial.

    Attributes:
        trainings: The trainings.
        images: Number of validation images.
        masks: Masks of each map.
    """

    trainings: Trainings
    images: int
    masks: int

    def of(self, run: TrainingRun) -> float:
        """Mean over images of Pearson's correlation across independent halves of the masks, by the noise ceiling.

        NaN where no image has a ceiling to divide by, or where the maps cannot be made.
        """
        try:
            experiment = self.trainings.experiment.with_model(_ROLE, self.trainings.model(run))
        except KdvizError:  # a head alone, which sees features
            return float("nan")
        samples = self.trainings.samples(Split.VALIDATION)
        values = []
        for image in chosen_images(samples, self.images):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a map that says little has a low ceiling
                maps = explain(
                    experiment,
                    samples.picture(image),
                    int(samples.labels[image]),
                    roles=[_ROLE, Role.TEACHER],
                    device=self.trainings.config.device,
                    n_masks=self.masks,
                    seed=image,
                )
            values.append(agreement(maps, MEASURE).between(_ROLE, Role.TEACHER).corrected)
        finite = np.array(values)[np.isfinite(values)]
        return float(finite.mean()) if finite.size else float("nan")
