"""The one sentence that sums up an experiment's answers: may the KD student stand in for its teacher?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdviz.compress.cost import CostReport, Form
from kdviz.core.language import N_, _, number, percent, plural
from kdviz.core.vocabulary import Role
from kdviz.narrative import judgements
from kdviz.narrative.judgements import BAD, GOOD, MIXED, UNKNOWN
from kdviz.narrative.overview import _USUAL, Answer, _doubts, _limits, _why_unknown, answers
from kdviz.studies.comparison.dominating_models import dominating_models, tradeoff
from kdviz.studies.comparison.experiment_summary import ExperimentSummary
from kdviz.studies.comparison.judgement import (
    AT_LEAST,
    MUCH_LOWER,
    Judgement,
    Margins,
    join_sentences,
    points_interval,
)


def report(summary: ExperimentSummary, margins: Margins = _USUAL) -> dict[str, Any]:
    """The whole overview for JSON: the decision, the margins, and each answer with its words and its judgement."""
    all_answers = answers(summary, margins)
    conclusion = decision(summary, all_answers)
    return {
        "sentence": conclusion.sentence,
        "tone": conclusion.tone,
        "split": None if summary.predictions is None else summary.predictions.split,
        "margins": asdict(margins),
        "answers": [
            {
                "name": answer.name,
                "question": answer.question,
                "word": answer.word,
                "tone": answer.tone,
                "sentence": answer.sentence,
                "withheld": answer.withheld,
                "judgement": None if answer.judgement is None else answer.judgement.to_json(),
            }
            for answer in all_answers
        ],
    }


@dataclass(frozen=True)
class Decision:
    """The answer on top: whether the KD student may be used.

    Attributes:
        tone: ``good``, ``mixed``, ``bad`` or ``unknown``, as in :class:`Answer`.
        sentence: The decision, for somebody who reads nothing else; what limits it comes first.
    """

    tone: str
    sentence: str


def decision(summary: ExperimentSummary, all_answers: Sequence[Answer]) -> Decision:
    """Combine the answers to the single questions into one decision."""
    by_name = {answer.name: answer for answer in all_answers}
    accurate, helped = by_name["accurate"], by_name["helped"]
    judgement = accurate.judgement
    if judgement is None:
        return _without_a_pair(summary, helped)
    if accurate.withheld:
        return Decision(UNKNOWN, join_sentences(_("No verdict."), accurate.first))
    if helped.tone == BAD and helped.judgement is not None:
        text = _(
            "Do not ship the KD student: the same student trained alone is better, by {points} points.",
            points=number(100 * abs(helped.judgement.value), 2),
        )
        return Decision(BAD, join_sentences(_limits(summary, (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT)), text))
    tone, text = _stands_in(judgement, helped, summary)
    return Decision(tone, join_sentences(accurate.first, text))


def _without_a_pair(summary: ExperimentSummary, helped: Answer) -> Decision:
    """The decision where a teacher, a KD student or their predictions on labelled pictures are missing."""
    if summary.predictions is None and not summary.experiment.is_imported:
        return Decision(UNKNOWN, _("It is not known yet whether the KD student may stand in for its teacher."))
    if summary.predictions is None or not summary.predictions.labelled:
        return Decision(UNKNOWN, _why_unknown(summary))
    if helped.judgement is not None:
        return Decision(UNKNOWN, join_sentences(_("There is no teacher here."), helped.sentence))
    roles = list(summary.predictions.predicted)
    if {Role.TEACHER, Role.KD_STUDENT} <= set(roles) or len(roles) < 2:
        return Decision(UNKNOWN, _("It is not known yet whether the KD student may stand in for its teacher."))
    return Decision(UNKNOWN, _side_by_side(summary, roles))


_FIRST: Mapping[str, str] = {
    Role.TEACHER: N_("The teacher"),
    Role.KD_STUDENT: N_("The KD student"),
    Role.STUDENT: N_("The student alone"),
}


_SECOND: Mapping[str, str] = {
    Role.TEACHER: N_("the teacher"),
    Role.KD_STUDENT: N_("the KD student"),
    Role.STUDENT: N_("the student alone"),
}
"""Names of the usual roles, inside a sentence; ``_FIRST`` has those that begin one."""


def _side_by_side(summary: ExperimentSummary, roles: Sequence[str]) -> str:
    """A comparison of the two most accurate models, where there is no pair of teacher and KD student."""
    predictions = summary.predictions
    assert predictions is not None
    doubts = _doubts(summary, roles)
    if doubts:
        return join_sentences(_("No verdict."), doubts)
    best, second = sorted(roles, key=lambda role: -predictions.right(role).mean())[:2]
    gain = summary.gain(best, second)
    assert gain is not None
    change, low, high = points_interval(gain.value, *gain.interval(0.95))
    return _(
        "{first} is right on {more} and {second} on {less} of the same {samples}: a difference of {points} points (95 "
        "% interval {low} to {high}).",
        first=summary.experiment.runs[best].title or _(_FIRST.get(best, best)),
        second=summary.experiment.runs[second].title or _(_SECOND.get(second, second)),
        more=percent(float(predictions.right(best).mean()), 2),
        less=percent(float(predictions.right(second).mean()), 2),
        samples=plural("{count} sample", "{count} samples", len(predictions.labels)),
        points=change,
        low=low,
        high=high,
    )


def _stands_in(judgement: Judgement, helped: Answer, summary: ExperimentSummary) -> tuple[str, str]:
    int8_teacher_wins = summary.cost is not None and _quantised_teacher_wins(summary.cost, judgement.margin)
    if judgement.outcome == MUCH_LOWER:
        return BAD, judgements.no_substitute(judgement)
    if judgement.outcome not in AT_LEAST:
        return UNKNOWN, judgements.stand_in_undecided(judgement, int8_teacher_wins)
    helped_judgement = helped.judgement
    if helped_judgement is not None and not helped.withheld and helped.tone != GOOD:
        return MIXED, judgements.not_by_distillation(helped_judgement, undecided=helped.tone == UNKNOWN)
    if int8_teacher_wins:
        text = _(
            "The KD student may stand in for its teacher; the teacher in int8 may do as well, at no higher cost.",
        )
        return MIXED, text
    return GOOD, judgements.stands_in(judgement)


def _quantised_teacher_wins(report: CostReport, margin: float) -> bool:
    """Whether the teacher in int8 is as fast as the KD student in float32, no larger, and surely more accurate."""
    kd_tradeoff = tradeoff(report)
    if kd_tradeoff is None:
        return False
    dominating = dominating_models(report, Margins(accuracy=margin))
    gains = [
        entry.gain(kd_tradeoff.student)
        for entry in dominating
        if (entry.role, entry.form) == (Role.TEACHER, Form.ONNX_INT8)
    ]
    return any(gain is not None and gain.low > 0 for gain in gains)
