"""The samples that pass filters, in an order: fast, for any number of samples that fits into memory.

Filters are independent, so that the matches of each of their values can be counted before one is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from kdviz.core.language import N_
from kdviz.core.vocabulary import Role
from kdviz.studies.predictions.broken_by_steps import GroupWords, MadeRun, broken
from kdviz.studies.predictions.mistakes import GROUPS, UNLABELLED_GROUPS, Predictions, known_groups, members
from kdviz.studies.predictions.stored_logits import Logits, in_parts

ORDERS = {
    "gap": N_("Largest confidence gap to the teacher"),
    "kl": N_("Furthest from the teacher (KL): {model}"),
    "sure": N_("Most confident mistakes"),
    "unsure": N_("Least confident: {model}"),
    "inside": N_("Least inside the region: {model}"),
    "sample": N_("Sample number"),
}
"""Order -> its title. There is a ``kl`` for each student: ``kl`` for the KD student, ``kl-<role>`` for others."""

_CHUNK = 4096  # samples whose softmax is in memory at once
_STUDENTS = (Role.KD_STUDENT, Role.STUDENT)


@dataclass(frozen=True)
class Filters:
    """The filters of a view of the samples.

    Attributes:
        group: One of :attr:`MistakeIndex.groups`.
        model: The role whose prediction and confidence are filtered.
        true: Ground truth, a class index; None: any.
        said: The model's predicted class; None: any.
        either: Whether ``said`` may be the prediction of either student, whatever ``model`` is.
        low, high: Ends of the model's confidence, which are included.
        inside: Ends of the share of the model's positive saliency inside the region, which are included; None: any,
            also of samples without a region.
    """

    group: str
    model: str
    true: int | None = None
    said: int | None = None
    either: bool = False
    low: float = 0.0
    high: float = 1.0
    inside: tuple[float, float] | None = None


def without(filters: Filters, name: str) -> Filters:
    """The filters without one of them: ``group``, ``true``, ``said``, ``confidence`` or ``inside``."""
    changes = {
        "group": {"group": "all"},
        "true": {"true": None},
        "said": {"said": None, "either": False},
        "confidence": {"low": 0.0, "high": 1.0},
        "inside": {"inside": None},
    }
    return replace(filters, **changes[name])


class MistakeIndex:
    """The samples of one split, ready to be filtered, counted and ordered.

    Args:
        predictions: The predictions of each role.
        logits: Role -> float (N, classes); without the teacher's there is no KL.
        classes: Number of classes.
        inside: Role -> float (N,), the share of its positive saliency inside each sample's region; NaN: not known.
        made: Runs that were made from another one; each has a group of the samples that this broke.
    """

    def __init__(
        self,
        predictions: Predictions,
        logits: Mapping[str, Logits],
        classes: int,
        inside: Mapping[str, np.ndarray] | None = None,
        made: Sequence[MadeRun] = (),
    ):
        self.predictions = predictions
        self.classes = classes
        self.roles = tuple(predictions.predicted)
        self.made = {run.group: run for run in made}
        self.groups = _with_steps(known_groups(predictions), self.made)
        self.inside = dict(inside or {})
        self._logits = logits
        self._members = {group: self._of_group(group) for group in self.groups}
        self._orders: dict[tuple[str, str], np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.predictions.labels)

    @property
    def labelled(self) -> bool:
        """Whether it is known which predictions are right."""
        return self.predictions.labelled

    def words(self, group: str) -> GroupWords:
        """The title and the meaning of a group."""
        if group in self.made:
            return self.made[group].words
        return GroupWords(*(GROUPS if self.labelled else UNLABELLED_GROUPS)[group])

    def _of_group(self, group: str) -> np.ndarray:
        if group in self.made:
            return broken(self.predictions, self.made[group])
        return members(self.predictions, group)

    @property
    def has_change(self) -> bool:
        """Whether the changes by distillation can be counted."""
        return set(_STUDENTS) <= set(self.roles) and self.labelled

    # filters ----------------------------------------------------------------------------------------------------------

    def passing(self, filters: Filters) -> np.ndarray:
        """Bool (N,): the samples that pass all filters."""
        passing = self._members[filters.group].copy()
        if filters.true is not None:
            passing &= self.predictions.labels == filters.true
        if filters.said is not None:
            roles = _STUDENTS if filters.either else (filters.model,)
            passing &= np.any([self.predictions.predicted[role] == filters.said for role in roles], axis=0)
        if filters.low > 0 or filters.high < 1:
            confidence = self.predictions.confidence[filters.model]
            passing &= (confidence >= filters.low) & (confidence <= filters.high)
        if filters.inside is not None:
            low, high = filters.inside
            inside = self._inside(filters.model)
            passing &= (inside >= low) & (inside <= high)  # not where it is NaN
        return passing

    def counts(self, filters: Filters) -> dict[str, int]:
        """Group -> number of its samples under the other filters."""
        passing_others = self.passing(without(filters, "group"))
        return {group: int((self._members[group] & passing_others).sum()) for group in self.groups}

    # class pairs ------------------------------------------------------------------------------------------------------

    def confusion(self, filters: Filters, role: str | None = None) -> np.ndarray:
        """Int (classes, classes), true x predicted class of a role (the filters' model), under the other filters."""
        passing = self.passing(without(without(filters, "true"), "said"))
        answers = self.predictions.predicted[role or filters.model][passing].astype(np.int64)
        pairs = self.predictions.labels[passing].astype(np.int64) * self.classes + answers
        return np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)

    def change(self, filters: Filters) -> np.ndarray:
        """The KD student's confusion matrix less that of the student alone."""
        return self.confusion(filters, Role.KD_STUDENT) - self.confusion(filters, Role.STUDENT)

    # orders -----------------------------------------------------------------------------------------------------------

    @cached_property
    def orders(self) -> tuple[str, ...]:
        """The orders of ``ORDERS`` whose predictions and logits exist."""
        students = [role for role in self.roles if role != Role.TEACHER]
        paired = Role.TEACHER in self.roles and bool(students)
        measured = [role for role in students if {Role.TEACHER, role} <= set(self._logits)]
        divergences = [_divergence_order(role) for role in measured]
        mistakes = ["sure"] if self.labelled else []
        regions = ["inside"] if self.inside else []
        return (*(["gap"] if paired else []), *divergences, *mistakes, "unsure", *regions, "sample")

    def indices(self, filters: Filters, order: str) -> np.ndarray:
        """The samples that pass, int (n,), in one of :attr:`orders`; ties keep the order of the data."""
        ranked = self._ranking(order, filters.model if order in ("unsure", "inside") else "")
        return ranked[self.passing(filters)[ranked]]

    def _ranking(self, order: str, model: str) -> np.ndarray:
        ranking = self._orders.get((order, model))
        if ranking is None:
            ranking = self._orders[order, model] = np.argsort(self._key(order, model), kind="stable")
        return ranking

    def _key(self, order: str, model: str) -> np.ndarray:
        """The sort key of each sample, smallest first."""
        if order == "gap":
            return -self._gap()
        if order == "sure":
            return -self._surest_mistake()
        if order == "unsure":
            return self.predictions.confidence[model]
        if order == "inside":
            return self._inside(model)  # NaN comes last
        if order == "sample":
            return np.arange(len(self))
        return -self.divergence(order_role(order) or Role.KD_STUDENT)

    def _inside(self, role: str) -> np.ndarray:
        """Float (N,): the share inside the region; NaN where it is not known."""
        return self.inside.get(role, np.full(len(self), np.nan))

    def divergence(self, role: str) -> np.ndarray:
        """Float (N,): KL(teacher || role) of each sample, in nats, at temperature 1."""
        divergence = np.empty(len(self))
        teacher, student = self._logits[Role.TEACHER], self._logits[role]
        for (part, of_teacher), (_, of_student) in zip(
            in_parts(teacher, _CHUNK), in_parts(student, _CHUNK), strict=True
        ):
            log_teacher = _log_softmax(of_teacher)
            divergence[part] = (np.exp(log_teacher) * (log_teacher - _log_softmax(of_student))).sum(1)
        return np.maximum(divergence, 0)  # rounding may leave it below zero

    def _gap(self) -> np.ndarray:
        """Distance of the student's confidence from the teacher's, each in its prediction; 1 more if these differ."""
        role = (
            Role.KD_STUDENT
            if Role.KD_STUDENT in self.roles
            else next(other for other in self.roles if other != Role.TEACHER)
        )
        predicted, confidence = self.predictions.predicted, self.predictions.confidence
        return np.abs(confidence[Role.TEACHER] - confidence[role]) + (predicted[Role.TEACHER] != predicted[role])

    def _surest_mistake(self) -> np.ndarray:
        """The highest confidence of a wrong prediction of each sample; 0 where none is wrong."""
        predictions = self.predictions
        return np.max(
            [np.where(~predictions.right(role), predictions.confidence[role], 0) for role in self.roles], axis=0
        )


def _with_steps(groups: Sequence[str], steps: Mapping[str, MadeRun]) -> tuple[str, ...]:
    """The groups with those of steps before the ones that are about no particular models."""
    end = next((number for number, group in enumerate(groups) if group.startswith("all")), len(groups))
    return (*groups[:end], *steps, *groups[end:])


def order_role(order: str) -> str | None:
    """The student whose divergence an order sorts by; None for the other orders."""
    if order == "kl":
        return Role.KD_STUDENT
    return order.removeprefix("kl-") if order.startswith("kl-") else None


def _divergence_order(role: str) -> str:
    return "kl" if role == Role.KD_STUDENT else f"kl-{role}"


def confused_pairs(matrix: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """(true, predicted, count) of the pairs of different classes with the largest counts or changes, none of them 0."""
    confused = np.where(np.eye(len(matrix), dtype=bool), 0, matrix)
    order = np.argsort(-np.abs(confused), axis=None, kind="stable")[:most]
    pairs = [(int(index // len(matrix)), int(index % len(matrix))) for index in order]
    return [(true, answer, int(confused[true, answer])) for true, answer in pairs if confused[true, answer]]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    return values - np.log(np.exp(values).sum(1, keepdims=True))
