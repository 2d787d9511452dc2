"""A few samples with their maps, computed beforehand, so that an experiment can be shown at once.

``showcase.parquet`` is tidy: one row a sample and model, with the picture as the models see it, the class explained,
what the model says, its map and the standard error of each pixel, and its agreement with the teacher's map beside the
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
from PIL import Image

from kdviz.core.errors import ExperimentError, UnknownNameError
from kdviz.core.images import open_image
from kdviz.core.language import N_
from kdviz.data.registry import bundled_samples
from kdviz.data.samples import SPLITS
from kdviz.data.store import StoredSamples
from kdviz.experiment import Experiment
from kdviz.metrics import agreement
from kdviz.saliency import SaliencyMap, explain
from kdviz.studies.predictions.mistakes import Predictions, members, read_predictions

STORIES = {
    "fixed": N_("Fixed by distillation"),
    "lost": N_("Teacher right, KD student wrong"),
    "inherited": N_("Mistake inherited from the teacher"),
    "easy": N_("All right"),
}
"""What a sample is an example of, in the order in which they are shown."""

FURTHER_STORIES = {"differ": N_("The models disagree"), "agree": N_("All say the same")}
"""The same without labels, or without a KD student."""

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
        role: Whose.
        target, target_probability: The class explained.
        predicted, confidence: What it says.
        values: float32 (H, W): the map.
        agreement, low, high, ceiling: With the teacher's map; NaN for the teacher itself and where it is not known.
        masks: How many were used.
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
        split, sample, label: Which it is, and its true class.
        story: What it is an example of: in ``STORIES``.
        picture: What the models see.
        examples: Role -> its map.
    """

    split: str
    sample: int
    label: int
    story: str
    picture: Image.Image
    examples: dict[str, Example]


def choose(predictions: Predictions, among: np.ndarray) -> list[tuple[str, int]]:
    """(story, number) of one sample for each story that there is one for; ``among`` are those with pictures."""
    differ = members(predictions, "differ")
    if not predictions.labelled:
        return _chosen({"differ": differ, "agree": ~differ}, predictions, among)
    fixed = members(predictions, "fixed")
    if "teacher" in predictions.predicted:
        fixed &= predictions.right("teacher")
    groups = {
        "fixed": fixed,
        "lost": members(predictions, "lost"),
        "inherited": members(predictions, "inherited"),
        "differ": differ if "kd_student" not in predictions.predicted else np.zeros_like(differ),
        "easy": ~members(predictions, "any_wrong"),
    }
    return _chosen(groups, predictions, among)


def _chosen(groups: Mapping[str, np.ndarray], predictions: Predictions, among: np.ndarray) -> list[tuple[str, int]]:
    """Of each group the sample of which all models together are surest."""
    sure = np.sum(list(predictions.confidence.values()), axis=0)
    found, taken = [], set()
    for story, group in groups.items():
        numbers = [int(one) for one in among if group[one] and int(one) not in taken]
        if numbers:
            best = max(numbers, key=lambda one: sure[one])
            found.append((story, best))
            taken.add(best)
    return found


def make(experiment: Experiment, device: str = "auto", masks: int = _MASKS, seed: int = 0) -> Iterator[str | pa.Table]:
    """Explain one sample for each story; yield each story when it is done, and at last the table.

    Raises:
        ExperimentError: There are no pictures with predictions.
    """
    split, predictions, numbers, picture = _pictured(experiment)
    rows: list[dict[str, Any]] = []
    for story, number in choose(predictions, numbers):
        image, label = picture(number), int(predictions.labels[number])
        said = predictions.predicted.get("teacher", next(iter(predictions.predicted.values())))
        about = {"split": split, "sample": number, "story": story, "label": label}
        rows += _explained(experiment, image, int(said[number]), about, n_masks=masks, seed=seed, device=device)
        yield story
    yield pa.Table.from_pylist(rows, schema=SCHEMA)


def _explained(
    experiment: Experiment, image: Image.Image, target: int, about: dict[str, Any], **settings: Any
) -> list[dict[str, Any]]:
    """Rows of one sample. Its maps, with all of what their errors come from, are gone before the next one's come."""
    maps = explain(experiment, image, target, roles=list(experiment.models), **settings)
    return list(_rows(experiment, maps, image, about))


def _rows(
    experiment: Experiment, maps: dict[str, SaliencyMap], image: Image.Image, about: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    report = agreement(maps)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    for role, one in maps.items():
        pair = report.between("teacher", role) if "teacher" in maps and role != "teacher" else None
        figures: dict[str, float | None] = dict.fromkeys(("agreement", "agreement_low", "agreement_high", "ceiling"))
        if pair is not None:
            values = (pair.agreement, pair.low, pair.high, pair.ceiling)
            figures = {name: _finite(value) for name, value in zip(figures, values, strict=True)}
        yield {
            **about,
            "role": role,
            "weights": experiment.runs[role].sha256,
            "target": one.target,
            "target_probability": float(one.probabilities[one.target]),
            "predicted": one.predicted,
            "confidence": float(one.probabilities[one.predicted]),
            "method": one.method,
            "masks": one.n_masks,
            "settings": json.dumps(dict(one.settings), default=str),
            **figures,
            "height": one.shape[0],
            "width": one.shape[1],
            "map": _halves(one.values),
            "standard_error": _halves(one.standard_error),
            "picture": buffer.getvalue(),
        }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _halves(values: np.ndarray) -> np.ndarray:
    return np.ravel(values).astype(np.float16)


def _pictured(experiment: Experiment) -> tuple[str, Predictions, np.ndarray, Callable[[int], Image.Image]]:
    """The first split that has predictions and pictures, the numbers of those with one, and what gives it."""
    table = experiment.table("predictions")
    bundled = bundled_samples(experiment.dataset)
    if bundled is not None and bundled.images.shape[2:] == experiment.input.size:
        return "bundled", read_predictions(table, "bundled"), np.arange(len(bundled)), bundled.picture
    for split in SPLITS:
        try:
            stored, predictions = experiment.samples(split), read_predictions(table, split)
        except (ExperimentError, UnknownNameError):
            continue
        return split, predictions, stored.numbers.numpy(), partial(_stored_picture, stored)
    raise ExperimentError("There are no pictures with predictions to show; make them with: kdviz evaluate.")


def _stored_picture(stored: StoredSamples, number: int) -> Image.Image:
    return stored.picture(int(np.flatnonzero(stored.numbers.numpy() == number)[0]))


def read_showcase(experiment: Experiment) -> list[ShownSample]:
    """The samples of showcase.parquet, of the models that the experiment has now; none when there is no such table.

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
    found = [_sample(experiment, rows) for rows in groups.values() if len(rows) == len(experiment.models)]
    order = [*FURTHER_STORIES, *STORIES]
    return sorted((one for one in found if one.story in order), key=lambda one: order.index(one.story))


def _sample(experiment: Experiment, rows: Sequence[dict[str, Any]]) -> ShownSample:
    first = rows[0]
    classes = len(experiment.classes)
    size = (first["height"], first["width"])
    fine = size == tuple(experiment.input.size) and -1 <= first["label"] < classes
    for row in rows:
        fine &= len(row["map"] or ()) == size[0] * size[1]
        fine &= 0 <= row["target"] < classes and 0 <= row["predicted"] < classes
    if not fine:
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
    said = row["target"], row["target_probability"], row["predicted"], row["confidence"]
    return Example(row["role"], *said, values, *numbers, masks=row["masks"])
