"""The cost table in words: what the KD student saves, what it loses, and which models offer the same for less."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from kdviz.compress.cost import FORMS, CostEntry, CostReport, Form
from kdviz.core.language import _, number, percent, plural
from kdviz.core.vocabulary import Role
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
    join_sentences,
    margin_points,
    ratio_interval,
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
_TITLES: Mapping[tuple[str, bool], Callable[[], str]] = {
    (Role.TEACHER, False): lambda: _("the teacher in float32"),
    (Role.TEACHER, True): lambda: _("the teacher in int8"),
    (Role.STUDENT, False): lambda: _("the student alone in float32"),
    (Role.STUDENT, True): lambda: _("the student alone in int8"),
    (Role.KD_STUDENT, False): lambda: _("the KD student in float32"),
    (Role.KD_STUDENT, True): lambda: _("the KD student in int8"),
}


def findings(report: CostReport, margins: Margins = _USUAL) -> list[str]:
    """Sentences about the cost table, in reading order; empty without a KD student and a teacher."""
    return [*exchange(report, margins), *competition(report, margins)]


def exchange(report: CostReport, margins: Margins = _USUAL) -> list[str]:
    """What the KD student saves and what it loses, compared with its teacher."""
    kd_tradeoff = tradeoff(report)
    if kd_tradeoff is None:
        return []
    return [*_savings(kd_tradeoff), *_speed(kd_tradeoff, margins), *_loss(kd_tradeoff, margins)]


def competition(report: CostReport, margins: Margins = _USUAL) -> list[str]:
    """Which model offers the same without distillation, and what is left of the difference when both are quantised."""
    kd_tradeoff = tradeoff(report)
    return [] if kd_tradeoff is None else [*_rival(report, kd_tradeoff, margins), *_both_quantised(report)]


def _savings(kd_tradeoff: Tradeoff) -> list[str]:
    if math.isnan(kd_tradeoff.operations):
        return []
    return [
        _(
            "The KD student needs {operations} times fewer operations than its teacher, in a file {size} times "
            "smaller.",
            operations=number(kd_tradeoff.operations, 1),
            size=number(kd_tradeoff.size, 1),
        )
    ]


def _speed(kd_tradeoff: Tradeoff, margins: Margins) -> list[str]:
    judgement = kd_tradeoff.faster(margins)
    if judgement is None:
        return []
    values = {
        "times": number(kd_tradeoff.speed, 1),
        "interval": ratio_interval(judgement),
        "margin": percent(margins.speed - 1, 0),
        "basis": basis(judgement),
        "fast": _ms(kd_tradeoff.student),
        "slow": _ms(kd_tradeoff.teacher),
        "runtime": _(FORMS[kd_tradeoff.student.form]),
        "threads": _threads(kd_tradeoff.student),
    }
    if not judgement.samples:
        return [
            _(
                "Whether that makes it faster cannot be told, since both were not measured in the same rounds: one "
                "picture takes {fast} ms against {slow} ms ({runtime}, {threads}).",
                **values,
            )
        ]
    if judgement.outcome == MUCH_HIGHER:
        return [
            _(
                "It answers one picture {times} times faster ({interval}): {fast} ms against {slow} "
                "ms ({runtime}, {threads}).",
                **values,
            )
        ]
    if judgement.outcome in (LOWER, MUCH_LOWER):
        return [
            _(
                "That makes it slower: one picture takes {fast} ms against {slow} ms ({runtime}, {threads}).",
                **values,
            )
        ]
    if judgement.outcome in (EQUAL, NO_HIGHER):
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


def _loss(kd_tradeoff: Tradeoff, margins: Margins) -> list[str]:
    if math.isnan(kd_tradeoff.student.accuracy) or math.isnan(kd_tradeoff.teacher.accuracy):
        return []
    accuracy = {
        "student": percent(kd_tradeoff.student.accuracy, 2),
        "teacher": percent(kd_tradeoff.teacher.accuracy, 2),
    }
    judgement = kd_tradeoff.accurate(margins)
    if judgement is None:
        return [
            _("Its accuracy is {student} against {teacher}, as experiment.json has it.", **accuracy),
        ]
    return [_LOSSES.get(judgement.outcome, _loss_undecided)(judgement, accuracy)]


def _loss_undecided(judgement: Judgement, accuracy: dict[str, str]) -> str:
    sentence = _(
        "Whether their accuracies differ by more than {margin} points cannot be told with {basis}: {student} against "
        "{teacher}, {change} points ({interval}).",
        **accuracy,
        **values_of(judgement),
    )
    return join_sentences(sentence, would_decide(judgement))


def _loss_equal(judgement: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "Their accuracies are equal within {margin} points: {student} against {teacher} on {basis}, {change} points "
        "({interval}).",
        **accuracy,
        **values_of(judgement),
    )


def _loss_small(judgement: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "It loses no more than {margin} points of accuracy, if any: {student} against {teacher} on {basis}, {change} "
        "points ({interval}).",
        **accuracy,
        **values_of(judgement),
    )


def _loss_sure(judgement: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "It loses {points} points of accuracy ({span}): {student} against {teacher} on {basis}.",
        **accuracy,
        **values_of(judgement),
    )


def _gain_sure(judgement: Judgement, accuracy: dict[str, str]) -> str:
    return _(
        "It even gains {points} points of accuracy ({span}): {student} against {teacher} on {basis}.",
        **accuracy,
        **values_of(judgement),
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


def _rival(report: CostReport, kd_tradeoff: Tradeoff, margins: Margins) -> list[str]:
    if kd_tradeoff.student.form not in (Form.ONNX, Form.FILE):
        return []
    dominating = dominating_models(report, margins)
    rivals = dominating or possibly_dominating(report, margins)
    if not rivals:
        return []
    best = rivals[0]
    gain = best.gain(kd_tradeoff.student)
    values = {
        "who": title(best),
        "fast": _ms(best),
        "small": number(best.costs["size"], 1),
        "slow": _ms(kd_tradeoff.student),
        "large": number(kd_tradeoff.student.costs["size"], 1),
        "accuracy": percent(best.accuracy, 2),
        "own": percent(kd_tradeoff.student.accuracy, 2),
        "margin": margin_points(margins.accuracy),
        "points": number(100 * gain.value, 2) if gain is not None else "",
    }
    if not dominating:
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
    student, teacher = (report.find(role, (Form.ONNX_INT8,)) for role in (Role.KD_STUDENT, Role.TEACHER))
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


def title(entry: CostEntry) -> str:
    """A model and its form, as they stand inside a sentence."""
    usual_title = _TITLES.get((entry.role, entry.form == Form.ONNX_INT8))
    return usual_title() if usual_title else _("{model} ({form})", model=entry.role, form=_(FORMS[entry.form]))


def _ms(entry: CostEntry) -> str:
    return milliseconds(entry.costs["latency"])


def milliseconds(value: float) -> str:
    """A time in milliseconds, with more decimals the shorter it is."""
    return number(value, 3 if value < 0.1 else 2 if value < 10 else 1)


def _threads(entry: CostEntry) -> str:
    return plural("{count} thread", "{count} threads", int(entry.row["threads"]))
