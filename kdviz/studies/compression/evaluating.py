"""Predictions and metrics of one new run, beside those of the others, which stay as they were stored."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kdviz.core.devices import choose_device
from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.data import LabelledImages
from kdviz.distill import predict_logits
from kdviz.experiment import Experiment
from kdviz.studies.predictions.evaluation import evaluate, record_predictions
from kdviz.studies.predictions.stored_logits import stored_logits


def evaluate_run(experiment: Experiment, role: str, samples: LabelledImages, device: str = "auto") -> None:
    """Predict samples with one run, add its rows to predictions.parquet, and its metrics; the experiment is saved.

    Where the table lacks these samples of another run, all are predicted anew.

    Args:
        experiment: The experiment.
        role: Role of the run.
        samples: Samples of a split, with labels.
        device: A torch device, or ``auto``.

    Raises:
        DatasetError: The samples' classes are not the experiment's.
    """
    others = _stored(experiment, role, samples)
    if others is None:
        for _ in evaluate(experiment, samples, device):
            pass
        return
    model = experiment.runs[role].on(choose_device(device))
    logits = predict_logits(model, samples, experiment.input.normalise, device=device)
    record_predictions(experiment, samples.split, samples.labels, {**others, role: logits})
    experiment.save()


def _stored(experiment: Experiment, role: str, samples: LabelledImages) -> dict[str, Tensor] | None:
    """Role -> logits of all runs but one; None if they are not stored for exactly these samples."""
    others = [other for other in experiment.runs if other != role]
    if not experiment.has_table("predictions"):
        return None
    table = rows_where(experiment.table("predictions", ["split", "role", "sample", "label"]), "split", samples.split)
    for other in others:
        rows = rows_where(table, "role", other).sort_by("sample")
        if not np.array_equal(rows["label"].to_numpy(), samples.labels.numpy()):
            return None
    try:
        logits = stored_logits(experiment, samples.split, roles=others)
    except ExperimentError:
        return None
    return {other: torch.from_numpy(logits[other]) for other in others}
