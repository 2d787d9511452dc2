"""A study of what distillation transferred: likeness of layers, confusions and errors, beside the student alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import DatasetError, ExperimentError, KdvizError, ModelError
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.samples import SPLITS
from kdviz.experiment import Experiment, Run
from kdviz.metrics.feature_similarity import FEWEST
from kdviz.models.inputs import adapted
from kdviz.models.networks import ONNX, build_network
from kdviz.studies.predictions.mistakes import COLUMNS, read_predictions
from kdviz.studies.predictions.stored_logits import stored_logits
from kdviz.studies.transfer.confusions import MOST_CLASSES, confusion_rows, inherited_rows
from kdviz.studies.transfer.features import LayerFeatures, compared_layers, features_of
from kdviz.studies.transfer.layers import layer_rows
from kdviz.studies.transfer.rows import Row
from kdviz.studies.transfer.table import TABLE, UNTRAINED

MOST_PICTURES = 5000
"""Pictures of a study, at most: the memory is a few matrices of their square."""

_TO_FIT = 2000  # pictures from which an untrained network takes what it does before training, such as a whitening


def _can_be_built(run: Run) -> bool:
    """Whether its network can be built anew, as that of an ONNX file cannot."""
    return run.has_model and run.network != ONNX


@dataclass
class TransferStudy:
    """What an experiment's models have of their teacher.

    Args:
        experiment: The experiment.
        samples: Pictures, none of which was trained on; ``MOST_PICTURES`` at most.
        seed: Of the random pairings, of the untrained network, and of the jackknife's groups.
        device: Where features are computed.
        about: What else the table is to say of how it was made.

    Attributes:
        left_out: Role -> why its layers are not compared.

    Raises:
        DatasetError: There are too few pictures or too many.
        ExperimentError: There is no teacher, or no other model.
    """

    experiment: Experiment
    samples: LabelledImages
    seed: int = 0
    device: str = "auto"
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not FEWEST <= len(self.samples) <= MOST_PICTURES:
            raise DatasetError(
                "A study of what was transferred takes {fewest} to {most} pictures, and there are {count}.",
                fewest=FEWEST,
                most=MOST_PICTURES,
                count=len(self.samples),
            )
        if Role.TEACHER not in self.experiment.runs or len(self.experiment.runs) < 2:
            raise ExperimentError(
                "'{folder}' has no teacher with other models beside it, so that nothing was transferred.",
                folder=self.experiment.folder,
            )
        self.left_out: dict[str, str] = {}

    def run(self) -> Iterator[float]:
        """Compute everything and write the table; the share that is done, after each step."""
        rows: list[Row] = []
        features: dict[str, list[LayerFeatures]] = {}
        for number, (role, model) in enumerate(self._models(), 1):
            self._add_features(features, role, model)
            yield 0.2 * number / (len(self.experiment.runs) + 1)
        teacher = features.pop(Role.TEACHER, None)
        if teacher is not None and features:
            most = max(map(len, features.values()))
            for layer in layer_rows(teacher, features, self.samples.labels, self.seed):
                rows += layer.rows
                yield 0.2 + 0.7 * layer.depth / most
        rows += self._prediction_rows()
        if not rows:
            raise ExperimentError(
                "Nothing of '{folder}' can be compared: its models show no layers, and no logits of them are stored.",
                folder=self.experiment.folder,
            )
        averaged = {
            role: [each.layer.depth for each in known if each.averaged]
            for role, known in {Role.TEACHER: teacher or [], **features}.items()
        }
        TABLE.write(self.experiment, rows, {**self._about(), "averaged": averaged})
        yield 1.0

    def _about(self) -> dict[str, Any]:
        pictures = {"pictures": len(self.samples), "split": self.samples.split, "predictions": self.predictions_split}
        return {**pictures, "seed": self.seed, "left_out": self.left_out, **self.about}

    # layers -----------------------------------------------------------------------------------------------------------

    def _models(self) -> Iterator[tuple[str, nn.Module]]:
        """The models whose layers are compared: those of the experiment, and the student's network untrained."""
        device = choose_device(self.device)
        for role, run in self.experiment.runs.items():
            try:
                yield role, run.on(device)
            except ModelError as error:  # only its predictions are known
                self.left_out[role] = error.sentence
        student = self.experiment.runs.get(Role.STUDENT) or self.experiment.runs.get(Role.KD_STUDENT)
        if UNTRAINED not in self.experiment.runs and student is not None and _can_be_built(student):
            try:
                yield UNTRAINED, self._untrained(student).to(device)
            except KdvizError as error:
                self.left_out[UNTRAINED] = error.sentence

    def _add_features(self, features: dict[str, list[LayerFeatures]], role: str, model: nn.Module) -> None:
        device = choose_device(self.device)
        normalise = self.experiment.input.normalise
        try:
            layers = compared_layers(model, normalise(self.samples.images[:2].to(device)))
            found = features_of(model, self.samples.images, normalise, layers, device)
            if not all(bool(torch.isfinite(each.values).all()) for each in found):
                raise ModelError("A model gives features that are NaN or infinite; look at its weights and its input.")
            features[role] = found
        except ModelError as error:
            self.left_out[role] = error.sentence

    def _untrained(self, run: Run) -> nn.Module:
        """The network of a run with random weights, as a training would begin with."""
        spec = run.spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            network = build_network(
                run.network, classes=run.n_classes, channels=spec.channels, size=spec.size, settings=run.settings
            )
        fit_to = getattr(network, "fit_to", None)
        if fit_to is not None and not run.is_adapted:
            fit_to(self.experiment.input.normalise(self.samples.images[:_TO_FIT]))
        network = network.float().eval().requires_grad_(False)
        return adapted(network, run.picture or spec, spec, run.class_order)

    # predictions ------------------------------------------------------------------------------------------------------

    @cached_property
    def predictions_split(self) -> str | None:
        """The split whose stored predictions are compared; None: there are none of the teacher and another model."""
        if not self.experiment.has_table("predictions"):
            return None
        table = self.experiment.table("predictions", COLUMNS)
        for split in SPLITS:
            try:
                known = read_predictions(table, split)
            except ExperimentError:
                continue
            if Role.TEACHER in known.predicted and len(known.predicted) > 1 and known.labelled:
                return split
        return None

    def _prediction_rows(self) -> list[Row]:
        """The rows about confusions and inherited errors; empty where no predictions are stored."""
        split = self.predictions_split
        if split is None:
            return []
        predictions = read_predictions(self.experiment.table("predictions", COLUMNS), split)
        labels = np.asarray(predictions.labels, np.int64)
        rows = inherited_rows(predictions.predicted, labels)
        if len(self.experiment.classes) > MOST_CLASSES:
            return rows
        try:
            logits = stored_logits(self.experiment, split)
        except ExperimentError:  # predictions without logits
            return rows
        return [*confusion_rows(logits, labels, self._temperatures(), self.seed), *rows]

    def _temperatures(self) -> list[float]:
        """1, and the one at which the KD student was taught, if it is known and another."""
        run = self.experiment.runs.get(Role.KD_STUDENT)
        taught = None if run is None else run.training.get("temperature")
        return [1.0] if not isinstance(taught, int | float) or taught == 1 else [1.0, float(taught)]
