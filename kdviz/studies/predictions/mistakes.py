"""Samples by which models get them wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from kdviz.core.errors import ExperimentError
from kdviz.core.files import rows_where
from kdviz.core.language import N_
from kdviz.core.vocabulary import Role
from kdviz.metrics import McNemar, mcnemar, paired_shares
from kdviz.studies.comparison.judgement import HELPED, Judgement, judge_difference

GROUPS = {
    "lost": (
        N_("Teacher right, KD student wrong"),
        N_("What the distilled student did not learn from its teacher."),
    ),
    "fixed": (N_("Fixed by distillation"), N_("The student alone is wrong, the KD student is right.")),
    "broken": (N_("Broken by distillation"), N_("The student alone is right, the KD student is wrong.")),
    "inherited": (
        N_("Inherited from the teacher"),
        N_("The teacher is wrong and the KD student gives the same wrong answer."),
    ),
    "all_wrong": (N_("All wrong"), N_("No model gives the true class.")),
    "any_wrong": (N_("Any model wrong"), N_("At least one model is wrong.")),
    "all": (N_("All samples"), N_("Right or wrong.")),
}
"""Group -> its title and its meaning."""

UNLABELLED_GROUPS = {
    "differ": (N_("Models disagree"), N_("Not all models give the same answer.")),
    "apart": (N_("KD student differs from its teacher"), N_("They give different answers.")),
    "all": (N_("All samples"), N_("Whatever the models say.")),
}
"""The same for samples without labels."""

_NEEDS = {
    "lost": Role.TEACHER,
    "inherited": Role.TEACHER,
    "fixed": Role.STUDENT,
    "broken": Role.STUDENT,
    "apart": Role.TEACHER,
}
"""Group -> the role that it needs besides the KD student."""


COLUMNS = ("split", "sample", "label", "role", "predicted", "confidence")
"""The columns of predictions.parquet that :func:`read_predictions` needs: without the logits, which are large."""


@dataclass(frozen=True)
class Predictions:
    """Predictions of every role on one split, as arrays.

    Attributes:
        split: Name of the split.
        labels: Ground truth, int (N,); -1 where it is not known.
        predicted: Role -> class index, int (N,).
        confidence: Role -> probability of the predicted class, float (N,).
    """

    split: str
    labels: np.ndarray
    predicted: Mapping[str, np.ndarray]
    confidence: Mapping[str, np.ndarray]

    @property
    def labelled(self) -> bool:
        """Whether it is known which predictions are right."""
        return bool((self.labels >= 0).all())

    def right(self, role: str) -> np.ndarray:
        """Where the role predicts the true class, bool (N,)."""
        return self.predicted[role] == self.labels


def read_predictions(table: pa.Table, split: str) -> Predictions:
    """Read one split of predictions.parquet, of which ``COLUMNS`` are needed.

    Raises:
        ExperimentError: The table has no such split.
    """
    table = rows_where(table, "split", split)
    if not len(table):
        raise ExperimentError(
            "There are no predictions of the split '{split}'; make them with: kdviz evaluate.", split=split
        )
    predicted, confidence, labels = {}, {}, np.array([])
    for role in table["role"].cast(pa.string()).unique().to_pylist():
        part = rows_where(table, "role", role).sort_by("sample")
        predicted[role] = part["predicted"].to_numpy()
        confidence[role] = part["confidence"].to_numpy()
        labels = part["label"].to_numpy()
    return Predictions(split, labels, predicted, confidence)


def known_groups(predictions: Predictions) -> list[str]:
    """The groups whose models the predictions have."""
    roles = set(predictions.predicted)
    groups = GROUPS if predictions.labelled else UNLABELLED_GROUPS
    return [group for group in groups if group not in _NEEDS or {_NEEDS[group], Role.KD_STUDENT} <= roles]


def members(predictions: Predictions, group: str) -> np.ndarray:
    """The samples of a group of ``GROUPS`` or, without labels, of ``UNLABELLED_GROUPS``, bool (N,).

    A group that needs a missing role or labels is empty.
    """
    everything = np.ones(len(predictions.labels), bool)
    if group in ("differ", "apart") or not predictions.labelled:
        return _without_labels(predictions, group)
    wrong = [~predictions.right(role) for role in predictions.predicted]
    if group == "all":
        return everything
    if group == "any_wrong":
        return np.any(wrong, axis=0)
    if group == "all_wrong":
        return np.all(wrong, axis=0)
    needed = _NEEDS[group]
    if needed not in predictions.predicted or Role.KD_STUDENT not in predictions.predicted:
        return ~everything
    other_right, student_right = predictions.right(needed), predictions.right(Role.KD_STUDENT)
    if group == "inherited":
        return ~other_right & (predictions.predicted[Role.KD_STUDENT] == predictions.predicted[Role.TEACHER])
    return ~other_right & student_right if group == "fixed" else other_right & ~student_right


def _without_labels(predictions: Predictions, group: str) -> np.ndarray:
    """The samples of a group that needs no labels; see :func:`members`."""
    predicted, count = predictions.predicted, len(predictions.labels)
    if group == "all":
        return np.ones(count, bool)
    if group == "differ":
        first = next(iter(predicted.values()))
        return np.any([other != first for other in predicted.values()], axis=0)
    if group == "apart" and {Role.TEACHER, Role.KD_STUDENT} <= set(predicted):
        return predicted[Role.TEACHER] != predicted[Role.KD_STUDENT]
    return np.zeros(count, bool)


def distillation_effect(predictions: Predictions) -> McNemar | None:
    """McNemar's test of the student alone against the KD student; None without one of them or without labels."""
    if not {Role.STUDENT, Role.KD_STUDENT} <= set(predictions.predicted) or not predictions.labelled:
        return None
    return mcnemar(predictions.right(Role.STUDENT), predictions.right(Role.KD_STUDENT))


def distillation_judgement(predictions: Predictions, margin: float) -> Judgement | None:
    """Whether the KD student is better than the student alone, by a margin (a share); None without one of them.

    The judgement is about these two models: a single seed tells nothing about others.
    """
    has_both = {Role.STUDENT, Role.KD_STUDENT} <= set(predictions.predicted)
    if not has_both or not len(predictions.labels) or not predictions.labelled:
        return None
    difference = paired_shares(predictions.right(Role.STUDENT), predictions.right(Role.KD_STUDENT))
    return judge_difference(difference, margin, HELPED)


def showcase(predictions: Predictions, classes: int) -> list[int]:
    """Samples for a first look: some on which the models differ, then one of each class that all get right.

    Without labels: some on which the models differ, then one of each class that all predict.
    """
    if not predictions.labelled:
        return _unlabelled_showcase(predictions)
    fixed = members(predictions, "fixed")
    if Role.TEACHER in predictions.predicted:
        fixed = fixed & predictions.right(Role.TEACHER)
    picks: list[int] = []
    for group in (fixed, members(predictions, "lost"), members(predictions, "inherited")):
        picks += [int(sample) for sample in np.flatnonzero(group) if sample not in picks][:3]
    easy = ~members(predictions, "any_wrong")
    for label in range(classes):
        matching = np.flatnonzero(easy & (predictions.labels == label))
        picks += [int(sample) for sample in matching[:1]]
    return picks


def _unlabelled_showcase(predictions: Predictions) -> list[int]:
    differ = members(predictions, "differ")
    same, predicted = np.flatnonzero(~differ), next(iter(predictions.predicted.values()))
    firsts = np.unique(predicted[same], return_index=True)[1]
    return [int(index) for index in (*np.flatnonzero(differ)[:9], *same[firsts])]
