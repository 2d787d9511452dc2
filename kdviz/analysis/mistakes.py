"""Samples by who gets them wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kdviz.errors import ExperimentError
from kdviz.metrics import McNemar, mcnemar

GROUPS = {
    "lost": ("Teacher right, KD student wrong", "What the distilled student did not learn from its teacher."),
    "fixed": ("Fixed by distillation", "The student alone is wrong, the KD student is right."),
    "broken": ("Broken by distillation", "The student alone is right, the KD student is wrong."),
    "inherited": ("Inherited from the teacher", "The teacher is wrong and the KD student gives the same wrong answer."),
    "all_wrong": ("All wrong", "No model gives the true class."),
    "any_wrong": ("Any model wrong", "At least one model is wrong."),
    "all": ("All samples", "Right or wrong."),
}
"""Group -> its title and what it means."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of every role on one split, as arrays.

    Attributes:
        split: Its name.
        labels: Ground truth, int (N,).
        predicted: Role -> class index, int (N,).
        confidence: Role -> probability of the predicted class, float (N,).
    """

    split: str
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]
    confidence: Mapping[str, np.ndarray]

    def right(self, role: str) -> np.ndarray:
        """Bool (N,): where the role gives the true class."""
        return self.predicted[role] == self.labels


def read_predictions(table: pa.Table, split: str) -> Predictions:
    """Take one split out of predictions.parquet.

    Raises:
        ExperimentError: The table has no such split.
    """
    table = table.filter(pc.field("split").cast(pa.string()) == split)
    if not len(table):
        raise ExperimentError(f"There are no predictions of the split '{split}'; make them with: kdviz evaluate.")
    predicted, confidence, labels = {}, {}, np.array([])
    for role in table["role"].cast(pa.string()).unique().to_pylist():
        part = table.filter(pc.field("role").cast(pa.string()) == role).sort_by("sample")
        predicted[role] = part["predicted"].to_numpy()
        confidence[role] = part["confidence"].to_numpy()
        labels = part["label"].to_numpy()
    return Predictions(split, labels, predicted, confidence)


def members(predictions: Predictions, group: str) -> np.ndarray:
    """Bool (N,): the samples of a group of ``GROUPS``. A group that needs a missing role is empty."""
    everything = np.ones(len(predictions.labels), bool)
    wrong = [~predictions.right(role) for role in predictions.predicted]
    if group == "all":
        return everything
    if group == "any_wrong":
        return np.any(wrong, axis=0)
    if group == "all_wrong":
        return np.all(wrong, axis=0)
    needed = {"lost": "teacher", "inherited": "teacher", "fixed": "student", "broken": "student"}[group]
    if needed not in predictions.predicted or "kd_student" not in predictions.predicted:
        return ~everything
    other, student = predictions.right(needed), predictions.right("kd_student")
    if group == "inherited":
        return ~other & (predictions.predicted["kd_student"] == predictions.predicted["teacher"])
    return ~other & student if group == "fixed" else other & ~student


ORDERS = {
    "gap": "Largest confidence gap to the teacher first",
    "sure": "Most confident mistakes first",
    "sample": "In the order of the data",
}


def ordered(predictions: Predictions, index: np.ndarray, order: str) -> np.ndarray:
    """The samples ``index`` in one of ``ORDERS``; ties keep the order of the data."""
    if order == "sample" or not len(index):
        return index
    if order == "gap":
        key = _gap(predictions)[index]
    else:
        key = np.max(
            [np.where(~predictions.right(r), predictions.confidence[r], 0)[index] for r in predictions.predicted], 0
        )
    return index[np.argsort(-key, kind="stable")]


def _gap(predictions: Predictions) -> np.ndarray:
    """How far the KD student's confidence in its answer is from the teacher's in its own; 1 more if they differ."""
    if not {"teacher", "kd_student"} <= set(predictions.predicted):
        return np.zeros(len(predictions.labels))
    gap = np.abs(predictions.confidence["teacher"] - predictions.confidence["kd_student"])
    return gap + (predictions.predicted["teacher"] != predictions.predicted["kd_student"])


def distillation_effect(predictions: Predictions) -> McNemar | None:
    """McNemar's test of the student alone against the KD student; None when one is missing."""
    if not {"student", "kd_student"} <= set(predictions.predicted):
        return None
    return mcnemar(predictions.right("student"), predictions.right("kd_student"))


def showcase(predictions: Predictions, classes: int) -> list[int]:
    """Samples for a first look: some on which the models differ, then one of each class that all get right."""
    fixed = members(predictions, "fixed")
    if "teacher" in predictions.predicted:
        fixed = fixed & predictions.right("teacher")
    picks: list[int] = []
    for group in (fixed, members(predictions, "lost"), members(predictions, "inherited")):
        found = ordered(predictions, np.flatnonzero(group), "sample")
        picks += [int(sample) for sample in found if sample not in picks][:3]
    easy = ~members(predictions, "any_wrong")
    for label in range(classes):
        found = np.flatnonzero(easy & (predictions.labels == label))
        picks += [int(sample) for sample in found[:1]]
    return picks
