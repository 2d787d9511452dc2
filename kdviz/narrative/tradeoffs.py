"""What the cost table says in words: what the KD student saves, what it loses, and who undercuts it."""

from __future__ import annotations

import math

from kdviz.compress.cost import FORMS, CostEntry, CostReport
from kdviz.core.language import _, number, percent, plural
from kdviz.narrative.judgements import values_of
from kdviz.studies.comparison.dominating_models import Tradeoff, dominating_models, possibly_dominating, tradeoff
from kdviz.studies.comparison.judgement import (
    EQUAL,
    HIGHER,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    NO_HIGHER,
    NO_LOWER,
    Judgement,
    Margins,
    basis,
    interval,
    margin_points,
    together,
    would_decide,
)

__all__ = [
    "Tradeoff",
    "competition",
    "dominating_models",
    "exchange",
    "findings",
    "milliseconds",
    "possibly_dominating",
    "title",
    "tradeoff",
]

_USUAL = Margins()
_TITLES = {
    ("teacher", False): lambda: _("the teacher in float32"),
    ("teacher", True): lambda: _("the teacher in int8"),
    ("student", False): lambda: _("the student alone in float32"),
    ("student", True): lambda: _("the student alone in int8"),
    ("kd_student", False): lambda: _("the KD student in float32"),
    ("kd_student", True): lambda: _("the KD student in int8"),
}


def findings(report: CostReport, margins: Margins = _USUAL) -> list[str]:
    """Sentences, best read in order; none when there is no KD student beside a teacher."""
    return [*exchange(report, margins), *competition(report, margins)]


def exchange(report: CostReport, margins: Margins = _USUAL) -> list[str]:
    """What the KD student saves and what it loses, beside its teacher."""
    found = tradeoff(report)
    return [] if found is None else [*_savings(found), *_pace(found, margins), *_loss(found, margins)]


def competition(report: CostReport, margins: Margins = _USUAL) -> list[str]:
    """Who offers the same without distillation, and what is left of the difference when both are quantised."""
    found = tradeoff(report)
    return [] if found is None else [*_rival(report, found, margins), *_both_quantised(report)]


def _savings(found: Tradeoff) -> list[str]:
    if math.isnan(found.operations):
        return []
    return [
        _(
            "The KD student needs {operations} times fewer operations than its teacher, in a file {size} times "
            "smaller.",
            operations=number(found.operations, 1),
            size=number(found.size, 1),
        )
    ]


def _pace(found: Tradeoff, margins: Margins) -> list[str]:
    judged = found.faster(margins)
    if judged is None:
        return []
    values = {
        "times": number(found.speed, 1),
        "interval": interval(judged, number(judged.low, 2), number(judged.high, 2)),
        "margin": percent(margins.speed - 1, 0),
        "basis": basis(judged),
        "fast": _ms(found.student),
        "slow": _ms(found.teacher),
        "runtime": _(FORMS[found.student.form]),
        "threads": _threads(found.student),
    }
    if judged.outcome == MUCH_HIGHER:
        return [
            _(
                "It answers one picture {times} times faster ({interval}): {fast} ms against {slow} "
                "ms ({runtime}, {threads}).",
                **values,
            )
        ]
    if judged.outcome in (LOWER, MUCH_LOWER):
        return [
            _(
                "That makes it slower: one picture takes {fast} ms against {slow} ms ({runtime}, {threads}).",
                **values,
            )
        ]
    if judged.outcome in (EQUAL, NO_HIGHER):
        return [
            _(
                "That does not make it faster by more than {margin}: one picture takes {fast} ms against {slow} ms "
                "({runtime}, {threads}).",
                **values,
            )
        ]
    return [
        _(
            "Whether that makes it faster by more than {margin} cannot be told with {basis}: one picture takes {fast} "
            "ms against {slow} ms ({runtime}, {threads}).",
            **values,
        )
    ]


def _loss(found: Tradeoff, margins: Margins) -> list[str]:
    if math.isnan(found.student.accuracy) or math.isnan(found.teacher.accuracy):
        return []
    accuracy = {"student": percent(found.student.accuracy, 2), "teacher": percent(found.teacher.accuracy, 2)}
    judged = found.accurate(margins)
    if judged is None:
        return [
            _("Its accuracy is {student} against {teacher}, as experiment.json has it.", **accuracy),
        ]
    return [_LOSSES.get(judged.outcome, _loss_undecided)(judged, accuracy)]


def _loss_undecided(judged: Judgement, accuracy: dict[str, str]) -> str:
    said = _(
        "Whether their accuracies differ by more than {margin} points cannot be told with {basis}: {student} against "
        "{teacher}, {change} points ({interval}).",
        **accuracy,
        **values_of(judged),
    )
    return together(said, would_decide(judged))


def _loss_equal(judged: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "Their accuracies are equal within {margin} points: {student} against {teacher} on {basis}, {change} points "
        "({interval}).",
        **accuracy,
        **values_of(judged),
    )


def _loss_small(judged: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "It loses no more than {margin} points of accuracy, if any: {student} against {teacher} on {basis}, {change} "
        "points ({interval}).",
        **accuracy,
        **values_of(judged),
    )


def _loss_sure(judged: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "It loses {points} points of accuracy ({span}): {student} against {teacher} on {basis}.",
        **accuracy,
        **values_of(judged),
    )


def _gain_sure(judged: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "It even gains {points} points of accuracy ({span}): {student} against {teacher} on {basis}.",
        **accuracy,
        **values_of(judged),
    )


_LOSSES = {
    EQUAL: _loss_equal,
    NO_LOWER: _loss_small,
    LOWER: _loss_sure,
    MUCH_LOWER: _loss_sure,
    HIGHER: _gain_sure,
    MUCH_HIGHER: _gain_sure,
}


# rivals ---------------------------------------------------------------------------------------------------------------


def _rival(report: CostReport, found: Tradeoff, margins: Margins) -> list[str]:
    if found.student.form not in ("onnx", "file"):
        return []
    sure = dominating_models(report, margins)
    others = sure or possibly_dominating(report, margins)
    if not others:
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
        "own": percent(found.student.accuracy, 2),
        "margin": margin_points(margins.accuracy),
        "points": number(100 * gain.value, 2) if gain is not None else "",
    }
    if not sure:
        return [
            _(
                "There may be a rival without any distillation: {who} takes {fast} ms and {small} MB, where the KD "
                "student in float32 takes {slow} ms and {large} MB; whether it is as fast and as accurate ({accuracy} "
                "against {own}) cannot be told.",
                **values,
            )
        ]
    if gain is not None and gain.low > 0:
        return [
            _(
                "A rival without any distillation: {who} takes {fast} ms and {small} MB, where the KD student in "
                "float32 takes {slow} ms and {large} MB, and is more accurate by {points} points ({accuracy}).",
                **values,
            )
        ]
    return [
        _(
            "A rival without any distillation: {who} takes {fast} ms and {small} MB, where the KD student in float32 "
            "takes {slow} ms and {large} MB, and is no less accurate, within {margin} points ({accuracy}).",
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


def title(one: CostEntry) -> str:
    """A model and its form inside a sentence."""
    made = _TITLES.get((one.role, one.form == "onnx_int8"))
    return made() if made else _("{model} ({form})", model=one.role, form=_(FORMS[one.form]))


def _ms(one: CostEntry) -> str:
    return milliseconds(one.costs["latency"])


def milliseconds(value: float) -> str:
    """With two digits that say something."""
    return number(value, 3 if value < 0.1 else 2 if value < 10 else 1)


def _threads(one: CostEntry) -> str:
    return plural("{count} thread", "{count} threads", int(one.row["threads"]))
