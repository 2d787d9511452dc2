"""Every model of an experiment on every sample of a split: predictions.parquet and the runs' metrics."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from kdviz.core.devices import choose_device
from kdviz.core.errors import DatasetError
from kdviz.core.files import rows_where
from kdviz.core.vocabulary import Role
from kdviz.data import LabelledImages
from kdviz.data.doubts import Doubt, normalisation_doubt, of_predictions, record_doubts, weighed
from kdviz.data.doubts.answers import TRIED
from kdviz.distill import predict_logits
from kdviz.distill.checks import input_doubts
from kdviz.experiment import Experiment, Run
from kdviz.metrics import Rows, classification_metrics, divergence_from_teacher, inherited_errors, predicted_classes
from kdviz.models.inputs import AdaptedNetwork
from kdviz.studies.predictions.stored_logits import stored_logits


def evaluate(experiment: Experiment, samples: LabelledImages, device: str = "auto") -> Iterator[str]:
    """Predict ``samples`` with every model; yield each role when it is done; then write tables, metrics and doubts.

    Doubts are kept in the runs' records, where :func:`kdviz.data.doubts.recorded_doubts` finds them. The rows of this
    split in predictions.parquet are replaced; those of other splits stay, and so do those of runs without a model on
    the same samples.

    Args:
        experiment: The experiment with the models.
        samples: Samples with labels, or with -1 for all of them: then there are no accuracies.
        device: A torch device, or ``auto``.

    Raises:
        DatasetError: The samples' classes are not the experiment's.
    """
    if samples.classes != experiment.classes:
        raise DatasetError(
            "The data's classes {data_classes} are not those of the experiment {expected}.",
            data_classes=list(samples.classes),
            expected=list(experiment.classes),
        )
    logits: dict[str, Tensor] = {}
    for role, run in experiment.models.items():
        model = run.on(choose_device(device))
        logits[role] = predict_logits(model, samples, experiment.input.normalise, device=device)
        yield role
    logits |= logits_without_model(experiment, samples.split, samples.labels)
    labelled = bool((samples.labels >= 0).all())
    doubts = _doubts(experiment, samples, logits, device) if labelled else []
    record_predictions(experiment, samples.split, samples.labels, logits)
    record_doubts(experiment.runs, doubts, samples.split, samples.doubts)
    experiment.save()


def record_predictions(experiment: Experiment, split: str, labels: Tensor, logits: Mapping[str, Rows]) -> None:
    """Set the metrics of a split in the runs, and write its predictions to the table; the experiment is not saved.

    Args:
        experiment: The experiment with the models. Runs that are not among ``logits`` lose their metrics of this split.
        split: Name of the split.
        labels: int64 (N,); -1 for all of them where they are not known: then there are no accuracies.
        logits: Role -> (N, classes); only some rows of a role that is not in memory are read at a time.
    """
    ordered = {role: logits[role] for role in experiment.runs if role in logits}
    known_labels = labels if bool((labels >= 0).all()) else None
    for role, run in experiment.runs.items():
        run.metrics.pop(split, None)
        if role in ordered:
            teacher = None if role == Role.TEACHER else ordered.get(Role.TEACHER)
            run.metrics[split] = model_metrics(ordered[role], known_labels, teacher)
    write_predictions(experiment, split, labels, ordered)


def logits_without_model(experiment: Experiment, split: str, labels: Tensor) -> dict[str, Tensor]:
    """Role -> logits of the runs without a model, where predictions.parquet has them for exactly these samples."""
    roles = [role for role in experiment.runs if role not in experiment.models]
    if not roles or not experiment.has_table("predictions"):
        return {}
    table = rows_where(experiment.table("predictions", ["split", "role", "sample", "label"]), "split", split)
    same = []
    for role in roles:
        rows = rows_where(table, "role", role).sort_by("sample")
        if np.array_equal(rows["label"].to_numpy(), labels.numpy()):
            same.append(role)
    logits = stored_logits(experiment, split, roles=same) if same else {}
    return {role: torch.from_numpy(values) for role, values in logits.items()}


def _doubts(experiment: Experiment, samples: LabelledImages, logits: dict[str, Tensor], device: str) -> list[Doubt]:
    """Doubts raised by the models' predictions, and by those on some samples under other normalisations."""
    predicted = {role: values.argmax(1).numpy() for role, values in logits.items()}
    answers = of_predictions(samples.split, samples.labels.numpy(), predicted, experiment.classes)
    torch_device, reordered = choose_device(device), {doubt.role for doubt in answers if doubt.kind == "order"}
    inputs = [
        doubt
        for role, run in experiment.models.items()
        if role not in reordered  # a wrong class order explains its errors
        for doubt in _input_doubts(experiment, run, samples, torch_device)
    ]
    return weighed(answers, inputs)


def _input_doubts(experiment: Experiment, run: Run, samples: LabelledImages, device: torch.device) -> list[Doubt]:
    """Doubts about an input, where a model is far more accurate under another normalisation of its own input."""
    model = run.on(device)
    if not isinstance(model, AdaptedNetwork):
        return input_doubts(run.role, model, samples, experiment.input)
    tried = torch.linspace(0, len(samples) - 1, min(TRIED, len(samples))).round().long()
    with torch.inference_mode():
        inputs = model.own_input(experiment.input.normalise(samples.images[tried].to(device)))
    pixels = (255 * run.spec.pixels(inputs).clamp(0, 1)).round().to(torch.uint8).cpu()

    def predict(own_inputs: Tensor) -> Tensor:
        logits = model.network(own_inputs.to(device))
        return logits if run.class_order is None else logits[:, list(run.class_order)]

    present = (run.spec.mean, run.spec.std)
    return normalisation_doubt(run.role, samples.split, predict, pixels, samples.labels[tried], present)


def model_metrics(logits: Rows, labels: Tensor | None, teacher: Rows | None) -> dict[str, float]:
    """Accuracy, loss, ECE, F1, AUC; with a teacher's logits also likeness to it and errors inherited from it.

    Undefined metrics are left out: no errors can be inherited from a teacher that makes none, and without labels there
    is likeness alone.
    """
    metrics = {"samples": float(len(logits))}
    if labels is not None:
        metrics |= classification_metrics(logits, labels)
    if teacher is not None:
        predicted, teacher_predicted = predicted_classes(logits).numpy(), predicted_classes(teacher).numpy()
        metrics["same_as_teacher"] = float((predicted == teacher_predicted).mean())
        if labels is not None:
            metrics["inherited_errors"] = inherited_errors(teacher_predicted, predicted, labels.numpy())
        metrics["kl_to_teacher"] = divergence_from_teacher(teacher, logits)
    return {name: round(value, 6) for name, value in metrics.items() if not math.isnan(value)}


# the table ------------------------------------------------------------------------------------------------------------

_GROUP_BYTES = 2**22  # of the logits in a row group, all of which is decoded to show one picture's
_LARGEST_GROUP = 65_536  # rows


def predictions_table(split: str, labels: Tensor, logits: Mapping[str, Rows]) -> pa.Table:
    """Predictions, tidy: one row a sample and role.

    The columns are split, sample, label, role, predicted, confidence and logits.
    """
    return pa.concat_tables(_prediction_parts(split, labels, logits)).unify_dictionaries().combine_chunks()


def write_predictions(experiment: Experiment, split: str, labels: Tensor, logits: Mapping[str, Rows]) -> None:
    """Replace a split's rows in predictions.parquet, see :func:`predictions_table`; those of other splits stay.

    Neither the new rows nor the others are ever in memory together.
    """
    if not logits:
        return
    empty = next(_prediction_parts(split, labels[:0], {role: values[:0] for role, values in logits.items()}))
    options: dict[str, Any] = {
        "use_dictionary": ["split", "role"],
        # A number's bytes compress better beside their like, and are read twice as fast as without it.
        "use_byte_stream_split": ["logits.list.element"],
    }

    def parts() -> Iterator[pa.Table]:
        yield from _rows_of_other_splits(experiment, split, empty.schema)
        yield from _prediction_parts(split, labels, logits)

    experiment.write_table_parts("predictions", empty.schema, parts(), **options)


def _prediction_parts(split: str, labels: Tensor, logits: Mapping[str, Rows]) -> Iterator[pa.Table]:
    """The rows of each role, as many at a time as make a row group; one part at least for each role."""
    for role, values in logits.items():
        size = max(1, min(_LARGEST_GROUP, _GROUP_BYTES // (4 * max(1, values.shape[1]))))
        for start in range(0, max(1, len(labels)), size):
            yield _prediction_rows(split, role, start, labels[start : start + size], values[start : start + size])


def _prediction_rows(split: str, role: str, first: int, labels: Tensor, logits: Tensor) -> pa.Table:
    count, classes = logits.shape
    confidence, predicted = logits.softmax(1).max(1)
    columns = {
        "split": pa.array([split] * count, pa.string()).dictionary_encode(),
        "sample": pa.array(np.arange(first, first + count, dtype=np.int32)),
        "label": pa.array(labels.numpy().astype(np.int16)),
        "role": pa.array([role] * count, pa.string()).dictionary_encode(),
        "predicted": pa.array(predicted.numpy().astype(np.int16)),
        "confidence": pa.array(confidence.numpy()),
        "logits": pa.FixedSizeListArray.from_arrays(pa.array(logits.flatten().numpy()), classes),
    }
    return pa.table(columns)


def _rows_of_other_splits(experiment: Experiment, split: str, schema: pa.Schema) -> Iterator[pa.Table]:
    if not experiment.has_table("predictions"):
        return
    with experiment.open_table("predictions") as file:
        for group in range(file.metadata.num_row_groups):
            rows = rows_where(file.read_row_group(group, use_threads=False), "split", split, without=True)
            if len(rows):
                yield rows.cast(schema)
