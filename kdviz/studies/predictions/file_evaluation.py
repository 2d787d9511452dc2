"""Every model of an experiment on pictures in files, each through its own transforms, without growing memory.

The results are predictions.parquet, samples.parquet and the runs' metrics.
"""

from __future__ import annotations

import io
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from kdviz.core.devices import choose_device
from kdviz.core.errors import DatasetError
from kdviz.data.doubts import Doubt, normalisation_doubt, of_predictions, record_doubts, weighed
from kdviz.data.doubts.answers import LEAST
from kdviz.data.picture_files import PictureFiles
from kdviz.data.samples import as_pixels
from kdviz.data.store import stored_samples
from kdviz.experiment import Experiment, Run
from kdviz.models.inputs import AdaptedNetwork, InputSpec
from kdviz.studies.predictions.evaluation import logits_without_model, record_predictions

KEPT = 500
"""The most pictures that are kept for the pages."""

UNKNOWN = -1
"""The label of a picture without a label."""

_BATCH = 32
_MOST_VALUES = 1_500_000  # of a batch: on a processor a larger one costs more for memory than for arithmetic
_TRIED = 200  # pictures that are also predicted under other normalisations
_THREADS = 4


@dataclass
class _PreparedPicture:
    """A picture as each model sees it, and as it is stored."""

    inputs: Mapping[InputSpec, np.ndarray]
    png: bytes | None


@dataclass
class _Results:
    """What has been computed from the pictures, in their order."""

    logits: dict[str, list[Tensor]]
    kept: dict[int, bytes] = field(default_factory=dict)
    tried: dict[InputSpec, list[Tensor]] = field(default_factory=dict)


def evaluate_files(
    experiment: Experiment,
    pictures: PictureFiles,
    device: str = "auto",
    *,
    keep: int = KEPT,
    given: Mapping[str, Tensor] | None = None,
) -> Iterator[int]:
    """Predict the pictures with every model; yield how many are done; then write tables, metrics and doubts.

    Each picture is decoded once, and resized, cropped and normalised for each model as that model's own library does
    it. A random choice, which is always the same, is stored in samples.parquet with the experiment's common input.

    Args:
        experiment: The experiment, whose folder gets the tables.
        pictures: Pictures with labels, or without: then there are no accuracies.
        device: A torch device, or ``auto``.
        keep: The most pictures that are kept.
        given: Role -> logits (N, classes) of runs without a model; None: those in predictions.parquet.

    Raises:
        DatasetError: The pictures' classes are not the experiment's, or a picture cannot be read.
        ModelError: A model fails.
    """
    if pictures.labels is not None and pictures.classes != experiment.classes:
        raise DatasetError(
            "The data's classes {data_classes} ... are not those of the experiment {expected} ...; see --classes.",
            data_classes=list(pictures.classes)[:5],
            expected=list(experiment.classes)[:5],
        )
    torch_device = choose_device(device)
    results = _Results({role: [] for role in experiment.models})
    yield from _predict_batches(experiment, pictures, torch_device, keep, results)
    labels = torch.full((len(pictures),), UNKNOWN) if pictures.labels is None else pictures.labels
    logits = {role: torch.cat(parts) for role, parts in results.logits.items()}
    logits |= logits_without_model(experiment, pictures.split, labels) if given is None else given
    inputs = _normalisations(experiment, pictures, results, torch_device)
    record_predictions(experiment, pictures.split, labels, logits)
    record_doubts(experiment.runs, _doubts(experiment, pictures, logits, inputs), pictures.split, pictures.doubts)
    rows = [(sample, pictures.names[sample], _label(pictures, sample), png) for sample, png in results.kept.items()]
    if rows:
        experiment.write_stored(stored_samples(pictures.split, rows))
    if all(run.weights for run in experiment.models.values()):  # a model without a file cannot be saved
        experiment.save()


# the pass -------------------------------------------------------------------------------------------------------------


def _predict_batches(
    experiment: Experiment, pictures: PictureFiles, device: torch.device, keep: int, results: _Results
) -> Iterator[int]:
    runs = experiment.models
    specs = list(dict.fromkeys(run.spec for run in runs.values()))
    to_keep, to_try = set(_random_indices(len(pictures), keep)), set(_evenly_spaced_indices(len(pictures)))
    results.tried = {spec: [] for spec in specs}

    def prepare(index: int) -> _PreparedPicture:
        picture = pictures.open(index)
        inputs = {spec: as_pixels(spec.transform(picture)) for spec in specs}
        return _PreparedPicture(inputs, _png(experiment.input.transform(picture)) if index in to_keep else None)

    largest = max((math.prod(spec.size) * spec.channels for spec in specs), default=1)
    size = max(4, min(_BATCH, _MOST_VALUES // largest))
    done = 0
    for batch in _batches(prepare, range(len(pictures)), size):
        indices = range(done, done + len(batch))
        results.kept |= {
            index: picture.png for index, picture in zip(indices, batch, strict=True) if picture.png is not None
        }
        for spec in specs:
            pixels = torch.from_numpy(np.stack([picture.inputs[spec] for picture in batch]))
            results.tried[spec] += [
                pixels[position].clone() for position, index in enumerate(indices) if index in to_try
            ]
            inputs = spec.normalise(pixels.to(device))
            for role, run in runs.items():
                if run.spec == spec:
                    results.logits[role].append(own_logits(run, inputs))
        done += len(batch)
        yield done


def own_logits(run: Run, inputs: Tensor) -> Tensor:
    """Logits (n, classes of the experiment), float32 on the CPU, for the network's own inputs (n, c, h, w)."""
    network = unadapted_on(run, inputs.device)
    batch = inputs.contiguous(memory_format=torch.channels_last) if inputs.shape[1] > 1 else inputs
    with torch.inference_mode():
        logits = network(batch).float().cpu()
    return (logits if run.class_order is None else logits[:, list(run.class_order)]).clone()


def unadapted_on(run: Run, device: torch.device) -> nn.Module:
    """The network without its adaptation to the experiment's input, on a device."""
    model = run.on(device)
    return model.network if isinstance(model, AdaptedNetwork) else model


def _batches(
    prepare: Callable[[int], _PreparedPicture], indices: Sequence[int], size: int
) -> Iterator[list[_PreparedPicture]]:
    """Batches of pictures, which threads decode ahead of the models; at most three batches are in memory."""
    pending: deque[Future[_PreparedPicture]] = deque()
    remaining = iter(indices)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            while True:
                pending.extend(pool.submit(prepare, index) for index in islice(remaining, 3 * size - len(pending)))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(size, len(pending)))]
        finally:
            for future in pending:
                future.cancel()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a third larger than at the default level, and five times as fast
    return buffer.getvalue()


def _random_indices(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].tolist()


def _evenly_spaced_indices(count: int) -> list[int]:
    return torch.linspace(0, count - 1, min(_TRIED, count)).round().long().tolist()


# results --------------------------------------------------------------------------------------------------------------


def _label(pictures: PictureFiles, sample: int) -> int:
    return UNKNOWN if pictures.labels is None else int(pictures.labels[sample])


def _normalisations(
    experiment: Experiment, pictures: PictureFiles, results: _Results, device: torch.device
) -> list[Doubt]:
    """Doubts about inputs, where a model is far more accurate under another normalisation."""
    labels = pictures.labels
    if labels is None or len(labels) < LEAST:
        return []
    indices = _evenly_spaced_indices(len(labels))
    doubts = []
    for role, run in experiment.models.items():
        images = torch.stack(results.tried[run.spec])

        def predict(inputs: Tensor, run: Run = run) -> Tensor:
            return own_logits(run, inputs.to(device))

        present = (run.spec.mean, run.spec.std)
        predicted = torch.cat(results.logits[role]).argmax(1)[indices]
        doubts += normalisation_doubt(role, pictures.split, predict, images, labels[indices], present, predicted)
    return doubts


def _doubts(
    experiment: Experiment, pictures: PictureFiles, logits: Mapping[str, Tensor], inputs: Sequence[Doubt]
) -> list[Doubt]:
    """Doubts raised by the models' predictions, with those about their inputs."""
    if pictures.labels is None:
        return []
    predicted = {role: values.argmax(1).numpy() for role, values in logits.items()}
    answers = of_predictions(pictures.split, pictures.labels.numpy(), predicted, experiment.classes)
    reordered = {doubt.role for doubt in answers if doubt.kind == "order"}  # a wrong class order explains their errors
    return weighed(answers, [doubt for doubt in inputs if doubt.role not in reordered])
