"""Every model of an experiment on every sample of a split: predictions.parquet and the runs' metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from torch import Tensor

from kdviz.datasets import LabelledImages
from kdviz.distill import predict_logits
from kdviz.distill.check import input_doubts
from kdviz.doubts import Doubt, of_predictions, remember, weighed
from kdviz.errors import DatasetError
from kdviz.experiment import Experiment
from kdviz.files import rows_where
from kdviz.metrics import classification_metrics, divergence_from_teacher, inherited_errors
from kdviz.networks import choose_device


def evaluate(experiment: Experiment, samples: LabelledImages, device: str = "auto") -> Iterator[str]:
    """Predict ``samples`` with every run; yield each role when it is done; then write tables, metrics and doubts.

    What looks wrong is kept in the runs' records, where :func:`kdviz.doubts.known` finds it. The rows of this split in
    predictions.parquet are replaced, those of other splits stay.

    Raises:
        DatasetError: The samples' classes are not the experiment's.
    """
    if samples.classes != experiment.classes:
        raise DatasetError(
            f"The data's classes {list(samples.classes)} are not those of the experiment {list(experiment.classes)}."
        )
    logits: dict[str, Tensor] = {}
    for role, run in experiment.models.items():
        model = run.on(choose_device(device))
        logits[role] = predict_logits(model, samples, experiment.input.normalise, device=device)
        yield role
    teacher = logits.get("teacher")
    for role, run in experiment.models.items():
        run.metrics[samples.split] = model_metrics(logits[role], samples.labels, None if role == "teacher" else teacher)
    remember(experiment.runs, _doubts(experiment, samples, logits, device), samples.split, samples.doubts)
    experiment.write_table("predictions", _merged(experiment, samples, logits))
    experiment.save()


def _doubts(experiment: Experiment, samples: LabelledImages, logits: dict[str, Tensor], device: str) -> list[Doubt]:
    """What the answers of the models say, and those of a part of the samples under other normalisations."""
    predicted = {role: values.argmax(1).numpy() for role, values in logits.items()}
    answers = of_predictions(samples.split, samples.labels.numpy(), predicted, experiment.classes)
    where, reordered = choose_device(device), {doubt.role for doubt in answers if doubt.kind == "order"}
    inputs = [
        doubt
        for role, run in experiment.models.items()
        if role not in reordered  # which explains its errors
        for doubt in input_doubts(role, run.on(where), samples, experiment.input)
    ]
    return weighed(answers, inputs)


def model_metrics(logits: Tensor, labels: Tensor | None, teacher: Tensor | None) -> dict[str, float]:
    """Accuracy, loss, ECE, F1, AUC; beside a teacher's logits also likeness to it and errors inherited from it.

    What is undefined is left out: no errors can be inherited from a teacher that makes none, and without labels there
    is likeness alone.
    """
    metrics = {"samples": float(len(logits))}
    if labels is not None:
        metrics |= classification_metrics(logits, labels)
    if teacher is not None:
        predicted, spoken = logits.argmax(1).numpy(), teacher.argmax(1).numpy()
        metrics["same_as_teacher"] = float((predicted == spoken).mean())
        if labels is not None:
            metrics["inherited_errors"] = inherited_errors(spoken, predicted, labels.numpy())
        metrics["kl_to_teacher"] = divergence_from_teacher(teacher, logits)
    return {name: round(value, 6) for name, value in metrics.items() if not math.isnan(value)}


def predictions_table(split: str, labels: Tensor, logits: dict[str, Tensor]) -> pa.Table:
    """Tidy: one row a sample and role, with columns split, sample, label, role, predicted, confidence, logits."""
    tables = []
    for role, values in logits.items():
        confidence, predicted = values.softmax(1).max(1)
        count = len(values)
        columns = {
            "split": pa.array([split] * count).dictionary_encode(),
            "sample": pa.array(np.arange(count, dtype=np.int32)),
            "label": pa.array(labels.numpy().astype(np.int16)),
            "role": pa.array([role] * count).dictionary_encode(),
            "predicted": pa.array(predicted.numpy().astype(np.int16)),
            "confidence": pa.array(confidence.numpy()),
            "logits": pa.FixedSizeListArray.from_arrays(pa.array(values.flatten().numpy()), values.shape[1]),
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables).unify_dictionaries()


def _merged(experiment: Experiment, samples: LabelledImages, logits: dict[str, Tensor]) -> pa.Table:
    new = predictions_table(samples.split, samples.labels, logits)
    if not experiment.has_table("predictions"):
        return new
    old = experiment.table("predictions")
    others = rows_where(old, "split", samples.split, without=True)
    return pa.concat_tables([others.cast(new.schema), new]).unify_dictionaries().combine_chunks()
