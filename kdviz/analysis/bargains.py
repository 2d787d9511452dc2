"""What the cost table says in words: what the KD student saves, what it loses, and who undercuts it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdviz.analysis.cost import FORMS, CostReport, Entry
from kdviz.language import _, number, percent, plural
from kdviz.metrics import Difference

_PLAIN = ("onnx", "torch", "file")  # float32, in the order in which a comparison wants it
_AS_FAST = 1.1  # times: less is within what two measurements differ by
_TITLES = {
    ("teacher", False): lambda: _("the teacher in float32"),
    ("teacher", True): lambda: _("the teacher in int8"),
    ("student", False): lambda: _("the student alone in float32"),
    ("student", True): lambda: _("the student alone in int8"),
    ("kd_student", False): lambda: _("the KD student in float32"),
    ("kd_student", True): lambda: _("the KD student in int8"),
}


@dataclass(frozen=True)
class Bargain:
    """The KD student beside its teacher, in one kind of file.

    Attributes:
        student, teacher: Their entries.
        operations, size, speed: How many times more the teacher costs; NaN when it is not known.
        gain: Accuracy of the student less the teacher's, sample by sample; None when it was not measured.
    """

    student: Entry
    teacher: Entry
    operations: float
    size: float
    speed: float
    gain: Difference | None

    @property
    def points(self) -> float:
        """Points of accuracy gained, below zero when lost."""
        return 100 * (self.gain.value if self.gain else self.student.accuracy - self.teacher.accuracy)


def bargain(report: CostReport, role: str = "kd_student") -> Bargain | None:
    """The student beside its teacher, both in the first float form that both have; None when one is missing."""
    for form in _PLAIN:
        student, teacher = (report.find(one, (form,)) for one in (role, "teacher"))
        if student is not None and teacher is not None:
            operations, size, speed = (_times(teacher, student, axis) for axis in ("flops", "size", "latency"))
            return Bargain(student, teacher, operations, size, speed, student.gain(teacher))
    return None


def _times(dear: Entry, cheap: Entry, axis: str) -> float:
    return dear.over(cheap, axis) if axis in dear.costs and axis in cheap.costs else math.nan


def findings(report: CostReport) -> list[str]:
    """Sentences, best read in order; none when there is no KD student beside a teacher."""
    return [*exchange(report), *competition(report)]


def exchange(report: CostReport) -> list[str]:
    """What the KD student saves and what it loses, beside its teacher."""
    found = bargain(report)
    return [] if found is None else [*_savings(found), *_loss(found)]


def competition(report: CostReport) -> list[str]:
    """Who offers the same without distillation, and what is left of the difference when both are quantised."""
    found = bargain(report)
    return [] if found is None else [*_rival(report, found), *_both_quantised(report)]


def _savings(found: Bargain) -> list[str]:
    sentences = []
    if not math.isnan(found.operations):
        sentences.append(
            _(
                "The KD student needs {operations} times fewer operations than its teacher, in a file {size} times "
                "smaller.",
                operations=number(found.operations, 1),
                size=number(found.size, 1),
            )
        )
    if not math.isnan(found.speed):
        values = {
            "times": number(found.speed, 1),
            "fast": _ms(found.student),
            "slow": _ms(found.teacher),
            "runtime": _(FORMS[found.student.form]),
            "threads": _threads(found.student),
        }
        if found.speed >= _AS_FAST:
            text = _(
                "It answers one picture {times} times faster: {fast} ms against {slow} ms ({runtime}, {threads}).",
                **values,
            )
        else:
            text = _(
                "That does not make it faster: one picture takes {fast} ms against {slow} ms ({runtime}, {threads}).",
                **values,
            )
        sentences.append(text)
    return sentences


def _loss(found: Bargain) -> list[str]:
    if math.isnan(found.student.accuracy) or math.isnan(found.teacher.accuracy):
        return []
    accuracy = {"student": percent(found.student.accuracy, 2), "teacher": percent(found.teacher.accuracy, 2)}
    gain = found.gain
    if gain is None:
        return [
            _("Its accuracy is {student} against {teacher}, as experiment.json has it.", **accuracy),
        ]
    values = {
        **accuracy,
        "points": number(100 * abs(gain.value), 2),
        "low": number(100 * min(abs(gain.low), abs(gain.high)), 2),
        "high": number(100 * max(abs(gain.low), abs(gain.high)), 2),
        "samples": plural("{count} sample", "{count} samples", gain.samples),
    }
    if not gain.excludes_zero:
        return [_("Their accuracies cannot be told apart: {student} against {teacher} on {samples}.", **values)]
    if gain.value < 0:
        return [
            _(
                "It loses {points} points of accuracy (95 % interval {low} to {high}): {student} against {teacher} on "
                "{samples}.",
                **values,
            )
        ]
    return [
        _(
            "It even gains {points} points of accuracy (95 % interval {low} to {high}): {student} against {teacher} on "
            "{samples}.",
            **values,
        )
    ]


def rivals(report: CostReport) -> list[Entry]:
    """Models other than the KD student that are as fast as it is in float32, no larger and no less accurate.

    The most accurate first; of equals the fastest.
    """
    found = bargain(report)
    if found is None:
        return []
    others = [one for one in report.entries if one.role != "kd_student" and _undercuts(one, found.student)]
    return sorted(others, key=lambda one: (-one.accuracy, one.costs["latency"]))


def _undercuts(one: Entry, other: Entry) -> bool:
    if not {"latency", "size"} <= one.costs.keys() & other.costs.keys() or math.isnan(one.accuracy):
        return False
    cheap = one.over(other, "latency") <= _AS_FAST and one.costs["size"] <= other.costs["size"]
    return cheap and one.accuracy >= other.accuracy


def _rival(report: CostReport, found: Bargain) -> list[str]:
    others = rivals(report)
    if not others or found.student.form not in ("onnx", "file"):
        return []
    best = others[0]
    gain = best.gain(found.student)
    values = {
        "who": title(best),
        "fast": _ms(best),
        "small": number(best.costs["size"], 1),
        "slow": _ms(found.student),
        "large": number(found.student.costs["size"], 1),
        "accuracy": percent(best.accuracy, 2),
    }
    if gain is not None and gain.low > 0:
        return [
            _(
                "A rival without any distillation: {who} takes {fast} ms and {small} MB, where the KD student in "
                "float32 takes {slow} ms and {large} MB, and is more accurate by {points} points ({accuracy}).",
                points=number(100 * gain.value, 2),
                **values,
            )
        ]
    return [
        _(
            "A rival without any distillation: {who} takes {fast} ms and {small} MB, where the KD student in float32 "
            "takes {slow} ms and {large} MB, and is as accurate ({accuracy}).",
            **values,
        )
    ]


def _both_quantised(report: CostReport) -> list[str]:
    student, teacher = (report.find(role, ("onnx_int8",)) for role in ("kd_student", "teacher"))
    if student is None or teacher is None or not {"latency"} <= student.costs.keys() & teacher.costs.keys():
        return []
    values = {
        "fast": _ms(student),
        "slow": _ms(teacher),
        "small": number(student.costs["size"], 1),
        "large": number(teacher.costs["size"], 1),
        "student": percent(student.accuracy, 2),
        "teacher": percent(teacher.accuracy, 2),
    }
    return [
        _(
            "Both in int8: the KD student takes {fast} ms and {small} MB at {student}, its teacher {slow} ms and "
            "{large} MB at {teacher}.",
            **values,
        )
    ]


def title(one: Entry) -> str:
    """A model and its form inside a sentence."""
    made = _TITLES.get((one.role, one.form == "onnx_int8"))
    return made() if made else _("{model} ({form})", model=one.role, form=_(FORMS[one.form]))


def _ms(one: Entry) -> str:
    return milliseconds(one.costs["latency"])


def milliseconds(value: float) -> str:
    """With two digits that say something."""
    return number(value, 3 if value < 0.1 else 2 if value < 10 else 1)


def _threads(one: Entry) -> str:
    return plural("{count} thread", "{count} threads", int(one.row["threads"]))
