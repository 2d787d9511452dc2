"""A few samples with precomputed maps, so that an experiment can be shown at once.

``showcase.parquet`` is tidy: one row a sample and model, with the picture as the models see it, the explained class,
the model's prediction, its map and the standard error of each pixel, and its agreement with the teacher's map and the
noise ceiling.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.images import open_image
from kdviz.core.language import N_
from kdviz.core.vocabulary import Role, Split
from kdviz.data.photographs import photographs_of
from kdviz.data.registry import bundled_samples
from kdviz.data.samples import SPLITS
from kdviz.data.store import StoredSamples
from kdviz.experiment import Experiment
from kdviz.metrics import agreement
from kdviz.saliency import SaliencyMap, explain
from kdviz.studies.predictions.mistakes import COLUMNS, Predictions, members, read_predictions

STORIES = {
    "fixed": N_("Fixed by distillation"),
    "lost": N_("Teacher right, KD student wrong"),
    "inherited": N_("Mistake inherited from the teacher"),
    "easy": N_("All right"),
}
"""What a sample is an example of -> its title, in the order in which they are shown."""

FURTHER_STORIES = {"differ": N_("The models disagree"), "agree": N_("All say the same")}
"""The same for samples without labels, or without a KD student."""

PHOTOGRAPH = "photograph "
"""What the story of a photograph of no data set begins with; its name follows."""

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("sample", pa.int32()),
        ("story", pa.string()),
        ("label", pa.int16()),
        ("role", pa.string()),
        ("weights", pa.string()),  # SHA-256 of the run's weights
        ("target", pa.int16()),
        ("target_probability", pa.float32()),
        ("predicted", pa.int16()),
        ("confidence", pa.float32()),
        ("method", pa.string()),
        ("masks", pa.int32()),
        ("settings", pa.string()),  # JSON
        ("agreement", pa.float32()),  # with the teacher's map, across independent halves of the masks
        ("agreement_low", pa.float32()),
        ("agreement_high", pa.float32()),
        ("ceiling", pa.float32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("map", pa.list_(pa.float16())),
        ("standard_error", pa.list_(pa.float16())),
        ("picture", pa.binary()),  # PNG
    ]
)
_MASKS = 4000


@dataclass(frozen=True)
class Example:
    """One model's map of a sample.

    Attributes:
        role: Role of the model.
        target, target_probability: The explained class, and its probability.
        predicted, confidence: The predicted class, and its probability.
        values: float32 (H, W): the map.
        agreement, low, high, ceiling: Agreement with the teacher's map, its interval and its noise ceiling; NaN for the
            teacher itself and where they are not known.
        masks: Number of masks.
    """

    role: str
    target: int
    target_probability: float
    predicted: int
    confidence: float
    values: np.ndarray
    agreement: float
    low: float
    high: float
    ceiling: float
    masks: int


@dataclass(frozen=True, eq=False)
class ShownSample:
    """A sample with every model's map.

    Attributes:
        split, sample, label: Its split, its number there, and its true class.
        story: What it is an example of; a key of ``STORIES`` or ``FURTHER_STORIES``, or ``PHOTOGRAPH`` and a name.
        picture: The picture as the models see it.
        examples: Role -> its map.
    """

    split: str
    sample: int
    label: int
    story: str
    picture: Image.Image
    examples: dict[str, Example]


def choose(predictions: Predictions, among: np.ndarray) -> list[tuple[str, int]]:
    """(story, number) of one sample for each story that has any among the samples ``among``, which have pictures."""
    differ = members(predictions, "differ")
    if not predictions.labelled:
        return _surest({"differ": differ, "agree": ~differ}, predictions, among)
    fixed = members(predictions, "fixed")
    if Role.TEACHER in predictions.predicted:
        fixed &= predictions.right(Role.TEACHER)
    groups = {
        "fixed": fixed,
        "lost": members(predictions, "lost"),
        "inherited": members(predictions, "inherited"),
        "differ": differ if Role.KD_STUDENT not in predictions.predicted else np.zeros_like(differ),
        "easy": ~members(predictions, "any_wrong"),
    }
    return _surest(groups, predictions, among)


def _surest(groups: Mapping[str, np.ndarray], predictions: Predictions, among: np.ndarray) -> list[tuple[str, int]]:
    """For each group the sample of which all models together are surest."""
    confidence = np.sum(list(predictions.confidence.values()), axis=0)
    chosen, used_samples = [], set()
    for story, group in groups.items():
        numbers = [int(sample) for sample in among if group[sample] and int(sample) not in used_samples]
        if numbers:
            best = max(numbers, key=lambda sample: confidence[sample])
            chosen.append((story, best))
            used_samples.add(best)
    return chosen


def make(experiment: Experiment, device: str = "auto", masks: int = _MASKS, seed: int = 0) -> Iterator[str | pa.Table]:
    """Explain one sample for each story; yield each story when it is done, and at last the table.

    An experiment that opens with photographs gets the maps of these, since its own pictures may not be passed on.

    Raises:
        ExperimentError: There are no pictures with predictions.
    """
    rows: list[dict[str, Any]] = []
    pictures = _photographs(experiment) if experiment.opening_pictures else _chosen_samples(experiment)
    for columns, image, target in pictures:
        rows += _explain_rows(experiment, image, target, columns, n_masks=masks, seed=seed, device=device)
        yield columns["story"]
    yield pa.Table.from_pylist(rows, schema=SCHEMA)


_Picture = tuple[dict[str, Any], Image.Image, int]  # the columns that tell what it is, the picture, the class explained


def _chosen_samples(experiment: Experiment) -> Iterator[_Picture]:
    split, predictions, numbers, picture = _samples_with_pictures(experiment)
    predicted = predictions.predicted.get(Role.TEACHER, next(iter(predictions.predicted.values())))
    for story, sample in choose(predictions, numbers):
        columns = {"split": split, "sample": sample, "story": story, "label": int(predictions.labels[sample])}
        yield columns, picture(sample), int(predicted[sample])


def _photographs(experiment: Experiment) -> Iterator[_Picture]:
    """The photographs with which the experiment opens; the class explained is the teacher's answer."""
    run = experiment.models.get(Role.TEACHER, next(iter(experiment.models.values())))
    for number, photograph in enumerate(photographs_of(experiment.opening_pictures, experiment.classes)):
        image = experiment.prepare(photograph.picture())
        with torch.inference_mode():
            target = int(run.model(experiment.preprocess(image)).argmax())
        label = experiment.classes.index(photograph.shows)
        story = f"{PHOTOGRAPH}{photograph.name}"
        yield {"split": Split.PHOTOGRAPHS, "sample": number, "story": story, "label": label}, image, target


def _explain_rows(
    experiment: Experiment, image: Image.Image, target: int, about: dict[str, Any], **settings: Any
) -> list[dict[str, Any]]:
    """Rows of one sample; its maps and their samples are freed before those of the next one are made."""
    maps = explain(experiment, image, target, roles=list(experiment.models), **settings)
    return list(_rows(experiment, maps, image, about))


def _rows(
    experiment: Experiment, maps: dict[str, SaliencyMap], image: Image.Image, about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    report = agreement(maps)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    for role, saliency_map in maps.items():
        pair = report.between(Role.TEACHER, role) if Role.TEACHER in maps and role != Role.TEACHER else None
        figures: dict[str, float | None] = dict.fromkeys(("agreement", "agreement_low", "agreement_high", "ceiling"))
        if pair is not None:
            values = (pair.agreement, pair.low, pair.high, pair.ceiling)
            figures = {name: _finite(value) for name, value in zip(figures, values, strict=True)}
        yield {
            **about,
            "role": role,
            "weights": experiment.runs[role].sha256,
            "target": saliency_map.target,
            "target_probability": float(saliency_map.probabilities[saliency_map.target]),
            "predicted": saliency_map.predicted,
            "confidence": float(saliency_map.probabilities[saliency_map.predicted]),
            "method": saliency_map.method,
            "masks": saliency_map.n_masks,
            "settings": json.dumps(dict(saliency_map.settings), default=str),
            **figures,
            "height": saliency_map.shape[0],
            "width": saliency_map.shape[1],
            "map": _as_float16(saliency_map.values),
            "standard_error": _as_float16(saliency_map.standard_error),
            "picture": buffer.getvalue(),
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _as_float16(values: np.ndarray) -> np.ndarray:
    return np.ravel(values).astype(np.float16)


def _samples_with_pictures(experiment: Experiment) -> tuple[str, Predictions, np.ndarray, Callable[[int], Image.Image]]:
    """The first split with predictions and pictures: its name, predictions, sample numbers and picture reader."""
    table = experiment.table("predictions", COLUMNS)
    bundled = bundled_samples(experiment.dataset)
    if bundled is not None and bundled.images.shape[2:] == experiment.input.size:
        return Split.BUNDLED, read_predictions(table, Split.BUNDLED), np.arange(len(bundled)), bundled.picture
    for split in SPLITS:
        try:
            stored, predictions = experiment.samples(split), read_predictions(table, split)
        except (ExperimentError, UnknownNameError):
            continue
        return split, predictions, stored.numbers.numpy(), partial(_stored_picture, stored)
    raise ExperimentError("There are no pictures with predictions to show; make them with: kdviz evaluate.")


def _stored_picture(stored: StoredSamples, sample: int) -> Image.Image:
    return stored.picture(int(np.flatnonzero(stored.numbers.numpy() == sample)[0]))


def read_showcase(experiment: Experiment) -> list[ShownSample]:
    """The samples of showcase.parquet that show the experiment's present models; empty without the table.

    Raises:
        ExperimentError: The table is damaged, or of another version of kdviz.
    """
    if not experiment.has_table("showcase"):
        return []
    table = experiment.table("showcase")
    if table.schema != SCHEMA:
        raise ExperimentError("This experiment's showcase.parquet was made by another version of kdviz; make it anew.")
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        run = experiment.runs.get(row["role"])
        if run is not None and run.sha256 == row["weights"]:
            groups.setdefault((row["split"], row["sample"]), []).append(row)
    samples = [_sample(experiment, rows) for rows in groups.values() if len(rows) == len(experiment.models)]
    order = [*FURTHER_STORIES, *STORIES, *(f"{PHOTOGRAPH}{name}" for name in experiment.opening_pictures)]
    return sorted((sample for sample in samples if sample.story in order), key=lambda sample: order.index(sample.story))


def _sample(experiment: Experiment, rows: Sequence[dict[str, Any]]) -> ShownSample:
    first = rows[0]
    classes = len(experiment.classes)
    size = (first["height"], first["width"])
    is_valid = size == tuple(experiment.input.size) and -1 <= first["label"] < classes
    for row in rows:
        is_valid &= len(row["map"] or ()) == size[0] * size[1]
        is_valid &= 0 <= row["target"] < classes and 0 <= row["predicted"] < classes
    if not is_valid:
        raise ExperimentError("This experiment's showcase.parquet does not fit its models; make it anew.")
    examples = {row["role"]: _example(row, size) for row in rows}
    ordered = {role: examples[role] for role in experiment.models}
    return ShownSample(
        first["split"], first["sample"], first["label"], first["story"], open_image(first["picture"]), ordered
    )


def _example(row: dict[str, Any], size: tuple[int, int]) -> Example:
    numbers = [
        math.nan if row[name] is None else row[name]
        for name in ("agreement", "agreement_low", "agreement_high", "ceiling")
    ]
    values = np.array(row["map"], np.float32).reshape(size)
    answer = row["target"], row["target_probability"], row["predicted"], row["confidence"]
    return Example(row["role"], *answer, values, *numbers, masks=row["masks"])
