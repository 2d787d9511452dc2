"""Which samples pass some filters, and in which order: at once, for any number of samples that fits into memory.

Each filter leaves out samples by itself, so that what another one would find can be counted before it is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kdviz.core.language import N_
from kdviz.studies.predictions.mistakes import GROUPS, UNLABELLED_GROUPS, Predictions, known_groups, members

ORDERS = {
    "gap": N_("Largest confidence gap to the teacher"),
    "kl": N_("Furthest from the teacher (KL): {model}"),
    "sure": N_("Most confident mistakes"),
    "unsure": N_("Least confident: {model}"),
    "sample": N_("Sample number"),
}
"""Order -> its title. Of ``kl`` there is one a student; it is called ``kl``, for the KD student, else ``kl-<role>``."""

_AT_ONCE = 8192  # samples whose softmax is in memory
_STUDENTS = ("kd_student", "student")


@dataclass(frozen=True)
class Filters:
    """What is asked for.

    Attributes:
        group: Of :attr:`MistakeIndex.groups`.
        model: The role whose answer and confidence are meant.
        true: Ground truth, a class index; None: any.
        said: The model's answer; None: any.
        either: ``said`` may be the answer of either student, whatever the model.
        low, high: Between which the model's confidence is, ends included.
    """

    group: str
    model: str
    true: int | None = None
    said: int | None = None
    either: bool = False
    low: float = 0.0
    high: float = 1.0


def without(filters: Filters, name: str) -> Filters:
    """The same filters but for one: ``group``, ``true``, ``said`` or ``confidence``."""
    changes = {
        "group": {"group": "all"},
        "true": {"true": None},
        "said": {"said": None, "either": False},
        "confidence": {"low": 0.0, "high": 1.0},
    }
    return replace(filters, **changes[name])


class MistakeIndex:
    """The samples of one split, ready to be filtered, counted and ordered.

    Args:
        predictions: What each role says.
        logits: Role -> float (N, classes); without the teacher's there is no KL.
        classes: How many there are.
    """

    def __init__(self, predictions: Predictions, logits: Mapping[str, np.ndarray], classes: int):
        self.predictions = predictions
        self.classes = classes
        self.roles = tuple(predictions.predicted)
        self.groups = tuple(known_groups(predictions))
        self._logits = logits
        self._members = {group: members(predictions, group) for group in self.groups}
        self._orders: dict[tuple[str, str], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.predictions.labels)

    @property
    def labelled(self) -> bool:
        """Whether it is known which answers are right."""
        return self.predictions.labelled

    @property
    def titles(self) -> Mapping[str, tuple[str, str]]:
        """Group -> its title and what it means, to be translated."""
        return GROUPS if self.labelled else UNLABELLED_GROUPS

    @property
    def has_change(self) -> bool:
        """Whether what distillation changed can be counted."""
        return set(_STUDENTS) <= set(self.roles) and self.labelled

    # filters ----------------------------------------------------------------------------------------------------------

    def passing(self, filters: Filters) -> np.ndarray:
        """Bool (N,): the samples that pass all filters."""
        found = self._members[filters.group].copy()
        if filters.true is not None:
            found &= self.predictions.labels == filters.true
        if filters.said is not None:
            roles = _STUDENTS if filters.either else (filters.model,)
            found &= np.any([self.predictions.predicted[role] == filters.said for role in roles], axis=0)
        if filters.low > 0 or filters.high < 1:
            confidence = self.predictions.confidence[filters.model]
            found &= (confidence >= filters.low) & (confidence <= filters.high)
        return found

    def counts(self, filters: Filters) -> dict[str, int]:
        """Group -> how many samples it has under the other filters."""
        others = self.passing(without(filters, "group"))
        return {group: int((self._members[group] & others).sum()) for group in self.groups}

    # class pairs ------------------------------------------------------------------------------------------------------

    def confusion(self, filters: Filters, role: str | None = None) -> np.ndarray:
        """Int (classes, classes), true class x answer of a role (the filters' model), under the other filters."""
        found = self.passing(without(without(filters, "true"), "said"))
        answers = self.predictions.predicted[role or filters.model][found].astype(np.int64)
        pairs = self.predictions.labels[found].astype(np.int64) * self.classes + answers
        return np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    def change(self, filters: Filters) -> np.ndarray:
        """The KD student's confusion matrix less that of the student alone."""
        return self.confusion(filters, "kd_student") - self.confusion(filters, "student")

    # orders -----------------------------------------------------------------------------------------------------------

    @cached_property
    def orders(self) -> tuple[str, ...]:
        """Those of ``ORDERS`` for which there is what they need."""
        students = [role for role in self.roles if role != "teacher"]
        paired = "teacher" in self.roles and bool(students)
        measured = [role for role in students if {"teacher", role} <= set(self._logits)]
        divergences = [_divergence_order(role) for role in measured]
        mistakes = ["sure"] if self.labelled else []
        return (*(["gap"] if paired else []), *divergences, *mistakes, "unsure", "sample")

    def places(self, filters: Filters, order: str) -> np.ndarray:
        """The samples that pass, int (n,), in one of :attr:`orders`; ties keep the order of the data."""
        ranked = self._ranked(order, filters.model if order == "unsure" else "")
        return ranked[self.passing(filters)[ranked]]

    def _ranked(self, order: str, model: str) -> np.ndarray:
        known = self._orders.get((order, model))
        if known is None:
            known = self._orders[order, model] = np.argsort(self._key(order, model), kind="stable")
        return known

    def _key(self, order: str, model: str) -> np.ndarray:
        """What is sorted by, smallest first."""
        if order == "gap":
            return -self._gap()
        if order == "sure":
            return -self._surest_mistake()
        if order == "unsure":
            return self.predictions.confidence[model]
        if order == "sample":
            return np.arange(len(self))
        return -self.divergence(order_role(order) or "kd_student")

    def divergence(self, role: str) -> np.ndarray:
        """Float (N,): KL(teacher || role) of each sample, in nats, at temperature 1."""
        found = np.empty(len(self))
        teacher, student = self._logits["teacher"], self._logits[role]
        for start in range(0, len(self), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            spoken = _log_softmax(teacher[part])
            found[part] = (np.exp(spoken) * (spoken - _log_softmax(student[part]))).sum(1)
        return np.maximum(found, 0)  # rounding

    def _gap(self) -> np.ndarray:
        """How far the student's confidence in its answer is from the teacher's in its own; 1 more if they differ."""
        role = "kd_student" if "kd_student" in self.roles else next(one for one in self.roles if one != "teacher")
        said, confidence = self.predictions.predicted, self.predictions.confidence
        return np.abs(confidence["teacher"] - confidence[role]) + (said["teacher"] != said[role])

    def _surest_mistake(self) -> np.ndarray:
        """The highest confidence of a model that is wrong; 0 where none is."""
        said = self.predictions
        return np.max([np.where(~said.right(role), said.confidence[role], 0) for role in self.roles], axis=0)


def order_role(order: str) -> str | None:
    """The student whose divergence an order is by; None for the other orders."""
    if order == "kl":
        return "kd_student"
    return order.removeprefix("kl-") if order.startswith("kl-") else None


def _divergence_order(role: str) -> str:
    return "kl" if role == "kd_student" else f"kl-{role}"


def confused_pairs(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """(true, answer, count) of the pairs of different classes with the largest counts, or changes; none that are 0."""
    off = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-np.abs(off), axis=None, kind="stable")[:most]
    pairs = [(int(one // len(matrix)), int(one % len(matrix))) for one in order]
    return [(true, said, int(off[true, said])) for true, said in pairs if off[true, said]]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    return values - np.log(np.exp(values).sum(1, keepdims=True))
