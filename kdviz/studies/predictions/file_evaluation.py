"""Every model of an experiment on pictures in files, each through its own transforms, without growing memory.

The results are predictions.parquet, samples.parquet and the runs' metrics.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from kdviz.core.devices import choose_device
from kdviz.core.environment import cores
from kdviz.core.errors import DatasetError
from kdviz.core.processes.folder_lock import writing_within
from kdviz.data.doubts import Doubt, normalisation_doubt, of_predictions, record_doubts, weighed
from kdviz.data.doubts.answers import LEAST
from kdviz.data.picture_files import PictureFiles
from kdviz.data.samples import as_pixels
from kdviz.data.store import stored_samples
from kdviz.data.thumbnails import NAME, ThumbnailParts, thumbnail, write_thumbnails
from kdviz.experiment import Experiment
from kdviz.metrics import Rows, predicted_classes
from kdviz.models.inputs import InputSpec
from kdviz.studies.predictions.evaluated_networks import EvaluatedNetworks
from kdviz.studies.predictions.evaluation import logits_without_model, record_predictions
from kdviz.studies.predictions.unfinished import UnfinishedEvaluation, unfinished_evaluation

KEPT = 500
"""The most pictures that are kept for the pages."""

UNKNOWN = -1
"""The label of a picture without a label."""

_BATCH = 32
_MOST_VALUES = 1_500_000  # of a batch: on a processor a larger one costs more for memory than for arithmetic
_TRIED = 200  # pictures that are also predicted under other normalisations
_THREADS = 16  # that decode, at most: on a GPU the models are faster than they are


@dataclass
class _PreparedPicture:
    """A picture as each model sees it, and as it is stored."""

    inputs: Mapping[InputSpec, np.ndarray]
    thumbnail: bytes
    png: bytes | None


class _Preparation:
    """Preparation of pictures for the models, with a copy of those of which more than the logits is needed.

    Attributes:
        specs: The models' inputs, each once.
        kept: Number of a picture -> PNG, for the pages.
        tried: Input -> number of a picture -> pixels, uint8 (C, H, W), for other normalisations.
    """

    def __init__(self, experiment: Experiment, pictures: PictureFiles, keep: int):
        self._pictures, self._picture_input = pictures, experiment.input
        self.specs = list(dict.fromkeys(run.spec for run in experiment.models.values()))
        self._to_keep = set(_random_indices(len(pictures), keep))
        self._to_try = set(_evenly_spaced_indices(len(pictures)))
        self.kept: dict[int, bytes] = {}
        self.tried: dict[InputSpec, dict[int, Tensor]] = {spec: {} for spec in self.specs}
        largest = max((math.prod(spec.size) * spec.channels for spec in self.specs), default=1)
        self._size = max(4, min(_BATCH, _MOST_VALUES // largest))

    def batches(self, indices: Sequence[int]) -> Iterator[list[_PreparedPicture]]:
        """Some pictures in batches; copies are taken of those that need it."""
        done = 0
        for batch in _batches(self._prepare, indices, self._size):
            for index, picture in zip(indices[done : done + len(batch)], batch, strict=True):
                self._copy(index, picture)
            done += len(batch)
            yield batch

    def copy_first(self, count: int) -> None:
        """Prepare those among the first ``count`` pictures of which copies are needed."""
        deque(self.batches(sorted(index for index in self._to_keep | self._to_try if index < count)), maxlen=0)

    def _prepare(self, index: int) -> _PreparedPicture:
        picture = self._pictures.open(index)
        inputs = {spec: as_pixels(spec.transform(picture)) for spec in self.specs}
        png = _png(self._picture_input.transform(picture)) if index in self._to_keep else None
        seen = inputs[self.specs[0]] if self.specs else as_pixels(self._picture_input.transform(picture))
        return _PreparedPicture(inputs, thumbnail(_picture(seen)), png)

    def _copy(self, index: int, picture: _PreparedPicture) -> None:
        if picture.png is not None:
            self.kept[index] = picture.png
        if index in self._to_try:
            for spec in self.specs:
                self.tried[spec][index] = torch.from_numpy(picture.inputs[spec].copy())


def evaluate_files(
    experiment: Experiment,
    pictures: PictureFiles,
    device: str = "auto",
    *,
    keep: int = KEPT,
    given: Mapping[str, Tensor] | None = None,
    unfinished: Path | None = None,
    fast: bool = False,
) -> Iterator[int]:
    """Predict the pictures with every model; yield how many are done; then write tables, metrics and doubts.

    Each picture is decoded once, and resized, cropped and normalised for each model as that model's own library does
    it. A random choice, which is always the same, is stored in samples.parquet with the experiment's common input.
    Logits are collected in files, so that memory does not grow with the number of pictures, and an evaluation that was
    stopped continues; the first number that is yielded is then what was done before.

    Args:
        experiment: The experiment, whose folder gets the tables.
        pictures: Pictures with labels, or without: then there are no accuracies.
        device: A torch device, or ``auto``.
        keep: The most pictures that are kept.
        given: Role -> logits (N, classes) of runs without a model; None: those in predictions.parquet.
        unfinished: Folder of the logits until the end; None: ``runs/evaluation`` in the experiment's folder.
        fast: Whether faster copies of the networks are run, whose logits differ by rounding; see
            :class:`kdviz.studies.predictions.evaluated_networks.EvaluatedNetworks`.

    Raises:
        DatasetError: The pictures' classes are not the experiment's, or a picture cannot be read.
        ModelError: A model fails.
        KdvizError: Nothing can be written.
    """
    if pictures.labels is not None and pictures.classes != experiment.classes:
        raise DatasetError(
            "The data's classes {data_classes} ... are not those of the experiment {expected} ...; see --classes.",
            data_classes=list(pictures.classes)[:5],
            expected=list(experiment.classes)[:5],
        )
    folder = unfinished or experiment.folder / "runs" / "evaluation"
    identity, roles, classes = _identity(experiment, pictures, fast), list(experiment.models), len(experiment.classes)
    with (
        writing_within(experiment.folder),
        unfinished_evaluation(folder, identity, roles, classes, pictures.opened_notes) as evaluation,
    ):
        pictures.add_notes(evaluation.earlier_notes, evaluation.done)
        preparation = _Preparation(experiment, pictures, keep)
        networks = EvaluatedNetworks(experiment.models, choose_device(device), fast)
        yield from _predict_batches(experiment, len(pictures), networks, preparation, evaluation)
        _record(experiment, pictures, evaluation.logits, given, preparation, networks)
        if len(preparation.kept) < len(pictures):
            _write_thumbnails(experiment, pictures, evaluation.thumbnails)
        else:
            (experiment.folder / NAME).unlink(missing_ok=True)  # of an earlier evaluation


def _identity(experiment: Experiment, pictures: PictureFiles, fast: bool) -> str | None:
    """A hash of everything that decides the logits; None where a model is in memory only, or a file is missing."""
    runs = experiment.models
    if not all(run.sha256 for run in runs.values()):
        return None
    try:
        times = pictures.times_of_change()
        fingerprint = pictures.fingerprint
    except OSError:
        return None  # the picture is named when it is opened
    models = {
        role: [run.network, run.sha256, run.class_order, repr(sorted(run.settings.items())), repr(run.spec)]
        for role, run in runs.items()
    }
    about = {"models": models, "classes": experiment.classes, "pictures": fingerprint, "times": times}
    about |= {"fast": True} if fast else {}
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]


def _write_thumbnails(experiment: Experiment, pictures: PictureFiles, thumbnails: ThumbnailParts) -> None:
    """Write small copies of all pictures, of which only some are stored as the models see them."""
    labels = [_label(pictures, sample) for sample in range(len(pictures))]
    write_thumbnails(experiment.folder / NAME, pictures.split, pictures.names, labels, thumbnails.images())


def _record(
    experiment: Experiment,
    pictures: PictureFiles,
    predicted: Mapping[str, Rows],
    given: Mapping[str, Tensor] | None,
    preparation: _Preparation,
    networks: EvaluatedNetworks,
) -> None:
    """Write everything that follows from the logits."""
    labels = torch.full((len(pictures),), UNKNOWN) if pictures.labels is None else pictures.labels
    further = logits_without_model(experiment, pictures.split, labels) if given is None else given
    logits: dict[str, Rows] = {**predicted, **further}
    answers = {role: predicted_classes(values) for role, values in logits.items()}
    inputs = _normalisations(experiment, pictures, answers, preparation.tried, networks)
    record_predictions(experiment, pictures.split, labels, logits)
    record_doubts(experiment.runs, _doubts(experiment, pictures, answers, inputs), pictures.split, pictures.doubts)
    rows = [(sample, pictures.names[sample], _label(pictures, sample), png) for sample, png in preparation.kept.items()]
    if rows:
        experiment.write_stored(stored_samples(pictures.split, rows))
    if all(run.weights for run in experiment.models.values()):  # a model without a file cannot be saved
        experiment.save()


# the pass -------------------------------------------------------------------------------------------------------------


def _predict_batches(
    experiment: Experiment,
    count: int,
    networks: EvaluatedNetworks,
    preparation: _Preparation,
    evaluation: UnfinishedEvaluation,
) -> Iterator[int]:
    if evaluation.done:
        yield evaluation.done
        preparation.copy_first(evaluation.done)
    for batch in preparation.batches(range(evaluation.done, count)):
        logits = _batch_logits(experiment, preparation.specs, batch, networks)
        evaluation.add(logits, [picture.thumbnail for picture in batch])
        yield evaluation.done


def _batch_logits(
    experiment: Experiment,
    specs: Sequence[InputSpec],
    batch: Sequence[_PreparedPicture],
    networks: EvaluatedNetworks,
) -> dict[str, Tensor]:
    """Role -> logits (n, classes) of a batch of pictures."""
    logits: dict[str, Tensor] = {}
    for spec in specs:
        pixels = torch.from_numpy(np.stack([picture.inputs[spec] for picture in batch]))
        inputs = spec.normalise(pixels.to(networks.device))
        roles = [role for role, run in experiment.models.items() if run.spec == spec]
        logits |= {role: networks.logits(role, inputs) for role in roles}
    return logits


def _batches(
    prepare: Callable[[int], _PreparedPicture], indices: Sequence[int], size: int
) -> Iterator[list[_PreparedPicture]]:
    """Batches of pictures, which threads decode ahead of the models; at most three batches are in memory."""
    pending: deque[Future[_PreparedPicture]] = deque()
    remaining = iter(indices)
    with ThreadPoolExecutor(min(_THREADS, cores())) as pool:
        try:
            while True:
                pending.extend(pool.submit(prepare, index) for index in islice(remaining, 3 * size - len(pending)))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(size, len(pending)))]
        finally:
            for future in pending:
                future.cancel()


def _picture(pixels: np.ndarray) -> Image.Image:
    """uint8 (C, H, W), which may be read-only, as a picture of mode ``L`` or ``RGB``."""
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


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
    experiment: Experiment,
    pictures: PictureFiles,
    answers: Mapping[str, Tensor],
    tried: Mapping[InputSpec, Mapping[int, Tensor]],
    networks: EvaluatedNetworks,
) -> list[Doubt]:
    """Doubts about inputs, where a model is far more accurate under another normalisation."""
    labels = pictures.labels
    if labels is None or len(labels) < LEAST:
        return []
    indices = _evenly_spaced_indices(len(labels))
    doubts = []
    for role, run in experiment.models.items():
        images = torch.stack([tried[run.spec][index] for index in indices])

        def predict(inputs: Tensor, role: str = role) -> Tensor:
            return networks.logits(role, inputs)

        present = (run.spec.mean, run.spec.std)
        predicted = answers[role][indices]
        doubts += normalisation_doubt(role, pictures.split, predict, images, labels[indices], present, predicted)
    return doubts


def _doubts(
    experiment: Experiment, pictures: PictureFiles, answers: Mapping[str, Tensor], inputs: Sequence[Doubt]
) -> list[Doubt]:
    """Doubts raised by the models' predictions, with those about their inputs."""
    if pictures.labels is None:
        return []
    predicted = {role: values.numpy() for role, values in answers.items()}
    doubts = of_predictions(pictures.split, pictures.labels.numpy(), predicted, experiment.classes)
    reordered = {doubt.role for doubt in doubts if doubt.kind == "order"}  # a wrong class order explains their errors
    return weighed(doubts, [doubt for doubt in inputs if doubt.role not in reordered])
