"""The one sentence that an experiment's answers come to: may the KD student stand in for its teacher?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdviz.compress.cost import CostReport
from kdviz.core.language import N_, _, number, percent, plural
from kdviz.narrative import judgements as words
from kdviz.narrative.judgements import BAD, GOOD, MIXED, UNKNOWN
from kdviz.narrative.overview import _USUAL, Answer, _doubts, _first, _unknown, answers
from kdviz.studies.comparison.dominating_models import dominating_models, tradeoff
from kdviz.studies.comparison.experiment_summary import KD_STUDENT, STUDENT, TEACHER, ExperimentSummary
from kdviz.studies.comparison.judgement import (
    AT_LEAST,
    MUCH_LOWER,
    Judgement,
    Margins,
    points,
    together,
)


def report(found: ExperimentSummary, margins: Margins = _USUAL) -> dict[str, Any]:
    """All of it for JSON: the decision, the margins, and each answer with its words and its judgement."""
    said = answers(found, margins)
    top = decision(found, said)
    return {
        "sentence": top.sentence,
        "tone": top.tone,
        "split": None if found.predictions is None else found.predictions.split,
        "margins": asdict(margins),
        "answers": [
            {
                "name": one.name,
                "question": one.question,
                "word": one.word,
                "tone": one.tone,
                "sentence": one.sentence,
                "withheld": one.withheld,
                "judgement": None if one.judgement is None else one.judgement.to_json(),
            }
            for one in said
        ],
    }


@dataclass(frozen=True)
class Decision:
    """The answer on top: whether the KD student may be used.

    Attributes:
        tone: As of an :class:`Answer`.
        sentence: For somebody who reads nothing else. What limits it comes first.
    """

    tone: str
    sentence: str


def decision(found: ExperimentSummary, said: Sequence[Answer]) -> Decision:
    """Put the answers together."""
    by = {one.name: one for one in said}
    accurate, helped = by["accurate"], by["helped"]
    judged = accurate.judgement
    if judged is None:
        return _without_a_pair(found, helped)
    if accurate.withheld:
        return Decision(UNKNOWN, together(_("No verdict."), accurate.first))
    if helped.tone == BAD and helped.judgement is not None:
        text = _(
            "Do not ship the KD student: the same student trained alone is better, by {points} points.",
            points=number(100 * abs(helped.judgement.value), 2),
        )
        return Decision(BAD, together(_first(found, (TEACHER, KD_STUDENT, STUDENT)), text))
    tone, text = _stands_in(judged, helped, found)
    return Decision(tone, together(accurate.first, text))


def _without_a_pair(found: ExperimentSummary, helped: Answer) -> Decision:
    """Where a teacher or a KD student is missing, or what they say of labelled pictures."""
    if found.predictions is None and not found.experiment.is_imported:
        return Decision(UNKNOWN, _("It is not known yet whether the KD student may stand in for its teacher."))
    if found.predictions is None or not found.predictions.labelled:
        return Decision(UNKNOWN, _unknown(found))
    if helped.judgement is not None:
        return Decision(UNKNOWN, together(_("There is no teacher here."), helped.sentence))
    roles = list(found.predictions.predicted)
    if {TEACHER, KD_STUDENT} <= set(roles) or len(roles) < 2:
        return Decision(UNKNOWN, _("It is not known yet whether the KD student may stand in for its teacher."))
    return Decision(UNKNOWN, _side_by_side(found, roles))


_FIRST = {"teacher": N_("The teacher"), "kd_student": N_("The KD student"), "student": N_("The student alone")}


_SECOND = {"teacher": N_("the teacher"), "kd_student": N_("the KD student"), "student": N_("the student alone")}
"""Of the usual roles, at the beginning of a sentence and inside of one."""


def _side_by_side(found: ExperimentSummary, roles: Sequence[str]) -> str:
    """What is known of models that are no teacher and student: the two that are right most often."""
    said = found.predictions
    assert said is not None
    doubted = _doubts(found, roles)
    if doubted:
        return together(_("No verdict."), doubted)
    best, second = sorted(roles, key=lambda role: -said.right(role).mean())[:2]
    gain = found.gain(best, second)
    assert gain is not None
    low, high = gain.interval(0.95)
    return _(
        "{first} is right on {more} and {second} on {less} of the same {samples}: a difference of {points} points (95 "
        "% interval {low} to {high}).",
        first=found.experiment.runs[best].title or _(_FIRST.get(best, best)),
        second=found.experiment.runs[second].title or _(_SECOND.get(second, second)),
        more=percent(float(said.right(best).mean()), 2),
        less=percent(float(said.right(second).mean()), 2),
        samples=plural("{count} sample", "{count} samples", len(said.labels)),
        points=points(gain.value),
        low=points(low),
        high=points(high),
    )


def _stands_in(judged: Judgement, helped: Answer, found: ExperimentSummary) -> tuple[str, str]:
    rival = found.cost is not None and _quantised_teacher_wins(found.cost, judged.margin)
    if judged.outcome == MUCH_LOWER:
        return BAD, words.no_substitute(judged)
    if judged.outcome not in AT_LEAST:
        return UNKNOWN, words.stand_in_undecided(judged, rival)
    known = helped.judgement
    if known is not None and not helped.withheld and helped.tone != GOOD:
        return MIXED, words.not_by_distillation(known, undecided=helped.tone == UNKNOWN)
    if rival:
        text = _(
            "The KD student may stand in for its teacher; the teacher in int8 may do as well, at no higher cost.",
        )
        return MIXED, text
    return GOOD, words.stands_in(judged)


def _quantised_teacher_wins(report: CostReport, margin: float) -> bool:
    """Whether the teacher in int8 is as fast as the KD student in float32, no larger, and surely more accurate."""
    deal = tradeoff(report)
    if deal is None:
        return False
    others = dominating_models(report, Margins(accuracy=margin))
    gains = [one.gain(deal.student) for one in others if (one.role, one.form) == (TEACHER, "onnx_int8")]
    return any(gain is not None and gain.low > 0 for gain in gains)
