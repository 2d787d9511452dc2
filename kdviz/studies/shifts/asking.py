"""The answers of models to the same pictures, shifted in every way."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import DatasetError, ModelError
from kdviz.data import LabelledImages
from kdviz.data.shifts.drawing import shifted
from kdviz.models.inputs import InputSpec
from kdviz.studies.shifts.rows import Answers
from kdviz.studies.shifts.table import UNSHIFTED

FEWEST = 2
"""Pictures of a study, at least: intervals are over pictures."""

_BATCH = 250


@dataclass(frozen=True)
class Asking:
    """Pictures, and the shifts with which models are asked about them.

    Attributes:
        samples: Pictures with labels.
        names: Names of the shifts.
        severities: From 1 to 5.
        seed: Of what is random in the shifts.
        spec: How pictures are normalised.
        device: Where the models compute.
    """

    samples: LabelledImages
    names: Sequence[str]
    severities: Sequence[int]
    seed: int
    spec: InputSpec
    device: str

    def ask(self, models: Mapping[str, nn.Module]) -> Generator[float, None, Answers]:
        """The answers of all models; yields the share that is done, below 1, after each shift and severity.

        Args:
            models: Name -> model, on the device: normalised pictures -> logits (N, classes).

        Raises:
            ModelError: A model gives scores that are not finite.
        """
        conditions = [(UNSHIFTED, None), *product(self.names, self.severities)]
        predicted: dict[str, list[np.ndarray]] = {name: [] for name in models}
        for number, (shift, severity) in enumerate(conditions, 1):
            images = self.samples.images
            images = images if severity is None else shifted(images, shift, severity, self.seed)
            for name, model in models.items():
                predicted[name].append(self._answers(model, images))
            yield number / (len(conditions) + 1)
        return Answers(
            {name: np.stack(rows) for name, rows in predicted.items()},
            self.samples.labels.numpy(),
            tuple(self.names),
            tuple(self.severities),
        )

    def _answers(self, model: nn.Module, images: Tensor) -> np.ndarray:
        """The class that a model gives each picture, (N,)."""
        device = choose_device(self.device)
        with torch.no_grad():
            logits = torch.cat([model(self.spec.normalise(part.to(device))).cpu() for part in images.split(_BATCH)])
        if not bool(torch.isfinite(logits).all()):
            raise ModelError("A model gives scores that are NaN or infinite; look at its weights and its input.")
        return logits.argmax(1).numpy()


def require_labelled(samples: LabelledImages) -> None:
    """Refuse pictures with which no study of shifts can be made.

    Raises:
        DatasetError: There are too few, or some have no label.
    """
    if len(samples) < FEWEST:
        raise DatasetError(
            "A study of shifts needs at least {fewest} pictures, and there are {count}.",
            fewest=FEWEST,
            count=len(samples),
        )
    if bool((samples.labels < 0).any()):
        raise DatasetError("A study of shifts needs the class of each picture, and some of these have none.")
