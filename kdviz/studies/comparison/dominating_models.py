"""Cost and accuracy of the KD student and its teacher, and the models that offer the same without distillation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdviz.compress.cost import CostEntry, CostReport, Form
from kdviz.core.vocabulary import Role
from kdviz.metrics import Difference
from kdviz.studies.comparison.judgement import (
    AT_LEAST,
    EQUAL,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    NO_HIGHER,
    Judgement,
    Margins,
    judge_difference,
    judge_times,
)

_FLOAT_FORMS = (Form.ONNX, Form.TORCH, Form.FILE)  # float32, in the order of preference for a comparison
_USUAL = Margins()
SURE, POSSIBLE = "sure", "possible"


@dataclass(frozen=True)
class Tradeoff:
    """The KD student compared with its teacher, in one form.

    Attributes:
        student, teacher: Their entries.
        operations, size, speed: How many times more the teacher costs; NaN when it is not known.
        gain: Accuracy of the student less the teacher's, paired by sample; None when it was not measured.
    """

    student: CostEntry
    teacher: CostEntry
    operations: float
    size: float
    speed: float
    gain: Difference | None

    @property
    def points(self) -> float:
        """Accuracy gained, in percentage points; negative when lost."""
        return 100 * (self.gain.value if self.gain else self.student.accuracy - self.teacher.accuracy)

    def faster(self, margins: Margins = _USUAL) -> Judgement | None:
        """Whether the student answers one picture faster, judged over rounds; None when times were not measured."""
        if math.isnan(self.speed):
            return None
        return judge_times(self.teacher.ratios(self.student, "latency"), margins.speed)

    def accurate(self, margins: Margins = _USUAL) -> Judgement | None:
        """Whether the student is as accurate; None when it was not measured."""
        return None if self.gain is None else judge_difference(self.gain, margins.accuracy)


def tradeoff(report: CostReport, role: str = Role.KD_STUDENT) -> Tradeoff | None:
    """The student compared with its teacher, in the first float form that both have; None when one is missing."""
    for form in _FLOAT_FORMS:
        student, teacher = (report.find(model_role, (form,)) for model_role in (role, Role.TEACHER))
        if student is not None and teacher is not None:
            operations, size, speed = (_cost_ratio(teacher, student, axis) for axis in ("flops", "size", "latency"))
            return Tradeoff(student, teacher, operations, size, speed, student.gain(teacher))
    return None


def _cost_ratio(teacher: CostEntry, student: CostEntry, axis: str) -> float:
    return teacher.over(student, axis) if axis in teacher.costs and axis in student.costs else math.nan


def dominating_models(report: CostReport, margins: Margins = _USUAL) -> list[CostEntry]:
    """Models other than the KD student that surely are as fast as it is in float32, no larger and no less accurate.

    "As fast" and "no less accurate" are within the margins, by intervals. The most accurate come first, and the faster
    ones among equals.
    """
    return _rivals(report, margins, SURE)


def possibly_dominating(report: CostReport, margins: Margins = _USUAL) -> list[CostEntry]:
    """Models that may be as fast, no larger and no less accurate, but not surely, in the same order."""
    return _rivals(report, margins, POSSIBLE)


def _rivals(report: CostReport, margins: Margins, certainty: str) -> list[CostEntry]:
    kd_tradeoff = tradeoff(report)
    if kd_tradeoff is None:
        return []
    rivals = [
        entry
        for entry in report.entries
        if entry.role != Role.KD_STUDENT and dominance(entry, kd_tradeoff.student, margins) == certainty
    ]
    return sorted(rivals, key=lambda entry: (-entry.accuracy, entry.costs["latency"]))


def dominance(entry: CostEntry, other: CostEntry, margins: Margins = _USUAL) -> str | None:
    """Whether ``entry`` is as fast as ``other``, no larger, no less accurate: ``sure``, ``possible``, or None: not."""
    if not {"latency", "size"} <= entry.costs.keys() & other.costs.keys() or math.isnan(entry.accuracy):
        return None
    if entry.costs["size"] > other.costs["size"]:
        return None
    time, gain = judge_times(entry.ratios(other, "latency"), margins.speed), entry.gain(other)
    if gain is None:
        accurate = POSSIBLE if entry.accuracy >= other.accuracy else None
    else:
        accurate = _no_less(judge_difference(gain, margins.accuracy).outcome)
    fast = _no_slower(time.outcome)
    if fast is None or accurate is None:
        return None
    return SURE if (fast, accurate) == (SURE, SURE) else POSSIBLE


def _no_less(outcome: str) -> str | None:
    return SURE if outcome in AT_LEAST else None if outcome in (LOWER, MUCH_LOWER) else POSSIBLE


def _no_slower(outcome: str) -> str | None:
    fast = (EQUAL, NO_HIGHER, LOWER, MUCH_LOWER)
    return SURE if outcome in fast else None if outcome == MUCH_HIGHER else POSSIBLE
