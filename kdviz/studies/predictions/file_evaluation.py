"""Every model of an experiment on pictures in files, each through its own transforms, in memory that does not grow with
their number: predictions.parquet, samples.parquet and the runs' metrics."""

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
from kdviz.data.doubts import Doubt, normalisation_doubt, of_predictions, remember, weighed
from kdviz.data.doubts.answers import LEAST
from kdviz.data.picture_files import PictureFiles
from kdviz.data.samples import as_pixels
from kdviz.data.store import stored_samples
from kdviz.experiment import Experiment, Run
from kdviz.models.inputs import AdaptedNetwork, InputSpec
from kdviz.studies.predictions.evaluation import given_logits, record

KEPT = 500
"""Pictures that are kept for the pages, at most."""

UNKNOWN = -1
"""The label of a picture that has none."""

_BATCH = 32
_NUMBERS = 1_500_000  # in a batch: a large one costs a processor more for memory than for arithmetic
_TRIED = 200  # pictures that are answered under other normalisations
_THREADS = 4


@dataclass
class _PreparedPicture:
    """A picture as each model sees it, and as it is kept."""

    inputs: Mapping[InputSpec, np.ndarray]
    png: bytes | None


@dataclass
class _Gathered:
    """What comes of the pictures, in their order."""

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
    it. A random choice, which is always the same, is kept in samples.parquet as the experiment's common picture.

    Args:
        experiment: Whose folder gets the tables.
        pictures: With labels, or without: then there are no accuracies.
        device: A torch device, or ``auto``.
        keep: The most pictures that are kept.
        given: Role -> logits (N, classes) of runs that have no model; None: what predictions.parquet holds of these.

    Raises:
        DatasetError: The pictures' classes are not the experiment's, or a picture cannot be read.
        ModelError: A model fails.
    """
    if pictures.labels is not None and pictures.classes != experiment.classes:
        raise DatasetError(
            f"The data's classes {list(pictures.classes)[:5]} ... are not those of the experiment "
            f"{list(experiment.classes)[:5]} ...; see --classes."
        )
    where = choose_device(device)
    gathered = _Gathered({role: [] for role in experiment.models})
    yield from _pass(experiment, pictures, where, keep, gathered)
    labels = torch.full((len(pictures),), UNKNOWN) if pictures.labels is None else pictures.labels
    logits = {role: torch.cat(parts) for role, parts in gathered.logits.items()}
    logits |= given_logits(experiment, pictures.split, labels) if given is None else given
    inputs = _normalisations(experiment, pictures, gathered, where)
    record(experiment, pictures.split, labels, logits)
    remember(experiment.runs, _doubts(experiment, pictures, logits, inputs), pictures.split, pictures.doubts)
    rows = [(sample, pictures.names[sample], _label(pictures, sample), png) for sample, png in gathered.kept.items()]
    if rows:
        experiment.write_stored(stored_samples(pictures.split, rows))
    if all(run.weights for run in experiment.models.values()):  # a model that is in memory only cannot be saved
        experiment.save()


# the pass -------------------------------------------------------------------------------------------------------------


def _pass(
    experiment: Experiment, pictures: PictureFiles, device: torch.device, keep: int, gathered: _Gathered
) -> Iterator[int]:
    runs = experiment.models
    specs = list(dict.fromkeys(run.spec for run in runs.values()))
    kept, tried = set(_spread_at_random(len(pictures), keep)), set(_spread_evenly(len(pictures)))
    gathered.tried = {spec: [] for spec in specs}

    def prepared(number: int) -> _PreparedPicture:
        picture = pictures.open(number)
        inputs = {spec: as_pixels(spec.transform(picture)) for spec in specs}
        return _PreparedPicture(inputs, _png(experiment.input.transform(picture)) if number in kept else None)

    largest = max((math.prod(spec.size) * spec.channels for spec in specs), default=1)
    size = max(4, min(_BATCH, _NUMBERS // largest))
    done = 0
    for batch in _batches(prepared, range(len(pictures)), size):
        numbers = range(done, done + len(batch))
        gathered.kept |= {n: one.png for n, one in zip(numbers, batch, strict=True) if one.png is not None}
        for spec in specs:
            pixels = torch.from_numpy(np.stack([one.inputs[spec] for one in batch]))
            gathered.tried[spec] += [pixels[place].clone() for place, n in enumerate(numbers) if n in tried]
            inputs = spec.normalise(pixels.to(device))
            for role, run in runs.items():
                if run.spec == spec:
                    gathered.logits[role].append(own_logits(run, inputs))
        done += len(batch)
        yield done


def own_logits(run: Run, inputs: Tensor) -> Tensor:
    """Logits (n, classes of the experiment), float32 on the CPU, for the network's own inputs (n, c, h, w)."""
    network = unadapted_on(run, inputs.device)
    laid_out = inputs.contiguous(memory_format=torch.channels_last) if inputs.shape[1] > 1 else inputs
    with torch.inference_mode():
        logits = network(laid_out).float().cpu()
    return (logits if run.class_order is None else logits[:, list(run.class_order)]).clone()


def unadapted_on(run: Run, device: torch.device) -> nn.Module:
    """The network alone, on a device."""
    model = run.on(device)
    return model.network if isinstance(model, AdaptedNetwork) else model


def _batches(
    prepared: Callable[[int], _PreparedPicture], numbers: Sequence[int], size: int
) -> Iterator[list[_PreparedPicture]]:
    """The pictures, decoded by threads a little ahead of the models: never more than three batches in memory."""
    waiting: deque[Future[_PreparedPicture]] = deque()
    rest = iter(numbers)
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        try:
            while True:
                waiting.extend(pool.submit(prepared, one) for one in islice(rest, 3 * size - len(waiting)))
                if not waiting:
                    return
                yield [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
        finally:
            for future in waiting:
                future.cancel()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a third larger than the usual, and five times as fast
    return buffer.getvalue()


def _spread_at_random(count: int, most: int) -> list[int]:
    if count <= most:
        return list(range(count))
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:most].tolist()


def _spread_evenly(count: int) -> list[int]:
    return torch.linspace(0, count - 1, min(_TRIED, count)).round().long().tolist()


# what comes of it -----------------------------------------------------------------------------------------------------


def _label(pictures: PictureFiles, sample: int) -> int:
    return UNKNOWN if pictures.labels is None else int(pictures.labels[sample])


def _normalisations(
    experiment: Experiment, pictures: PictureFiles, gathered: _Gathered, device: torch.device
) -> list[Doubt]:
    """Whether a model answers far better under another normalisation."""
    labels = pictures.labels
    if labels is None or len(labels) < LEAST:
        return []
    tried = _spread_evenly(len(labels))
    found = []
    for role, run in experiment.models.items():
        images = torch.stack(gathered.tried[run.spec])

        def predict(inputs: Tensor, run: Run = run) -> Tensor:
            return own_logits(run, inputs.to(device))

        present = (run.spec.mean, run.spec.std)
        answered = torch.cat(gathered.logits[role]).argmax(1)[tried]
        found += normalisation_doubt(role, pictures.split, predict, images, labels[tried], present, answered)
    return found


def _doubts(
    experiment: Experiment, pictures: PictureFiles, logits: Mapping[str, Tensor], inputs: Sequence[Doubt]
) -> list[Doubt]:
    """What the answers of the models say, with the doubts about their inputs."""
    if pictures.labels is None:
        return []
    predicted = {role: values.argmax(1).numpy() for role, values in logits.items()}
    answers = of_predictions(pictures.split, pictures.labels.numpy(), predicted, experiment.classes)
    reordered = {doubt.role for doubt in answers if doubt.kind == "order"}  # which explains their errors
    return weighed(answers, [one for one in inputs if one.role not in reordered])
