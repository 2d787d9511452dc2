"""An experiment in a few answers: may the KD student stand in for its teacher, and what is known about it?

Each answer is yes, no, or that it cannot be told, and carries the
:class:`~kdviz.studies.comparison.judgement.Judgement` that it rests on. Its sentence begins with what rules it out, or
limits it to these models.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kdviz.compress.cost import CostReport
from kdviz.core.language import _, number, percent, plural
from kdviz.core.moved import renamed
from kdviz.core.vocabulary import Role
from kdviz.narrative import judgements
from kdviz.narrative.judgements import GOOD, MIXED, UNKNOWN
from kdviz.narrative.tradeoffs import milliseconds, title
from kdviz.studies.comparison.dominating_models import Tradeoff, dominating_models, possibly_dominating, tradeoff
from kdviz.studies.comparison.experiment_summary import Accuracy, ExperimentSummary
from kdviz.studies.comparison.judgement import (
    ACCURATE,
    HELPED,
    HIGHER,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    Judgement,
    Margins,
    join_sentences,
    judge_difference,
    judge_study,
    margin_points,
)
from kdviz.studies.comparison.reservations import CHANCE, Reservation

__all__ = [
    "Accuracy",
    "Answer",
    "ExperimentSummary",
    "about_these",
    "answers",
    "attention",
]


_USUAL = Margins()


@dataclass(frozen=True)
class Answer:
    """An answer to one question.

    Attributes:
        name: Name of the question.
        question: The question, for people.
        word: The answer in a word or two.
        tone: ``good``, ``mixed``, ``bad`` or ``unknown``.
        sentence: What the answer rests on.
        page: Path of the app's page that says more.
        link: Text of the link to that page.
        judgement: The comparison behind the answer; None: there was nothing to compare.
        withheld: Whether the models allow no verdict, whatever the comparison says.
        first: The beginning of the sentence, which limits all that follows; may be empty.
    """

    name: str
    question: str
    word: str
    tone: str
    sentence: str
    page: str
    link: str
    judgement: Judgement | None = None
    withheld: bool = False
    first: str = ""


def answers(summary: ExperimentSummary, margins: Margins = _USUAL) -> list[Answer]:
    """The answers to all questions, in the order in which somebody who has to decide would ask them."""
    return [
        _accurate(summary, margins),
        _cheaper(summary, margins),
        _helped(summary, margins),
        _copied(summary, margins),
        attention(summary, margins),
    ]


_ROLES_OF_QUESTION = {"helped": {Role.KD_STUDENT, Role.STUDENT}}
"""Name of a question -> the roles it is about; all others are about the teacher and the KD student."""


def about_these(summary: ExperimentSummary, all_answers: Sequence[Answer]) -> list[Answer]:
    """The answers to show: for models trained elsewhere, only those about models that the experiment has."""
    if not summary.experiment.is_imported:
        return list(all_answers)
    return [
        answer
        for answer in all_answers
        if _ROLES_OF_QUESTION.get(answer.name, {Role.TEACHER, Role.KD_STUDENT}) <= summary.experiment.runs.keys()
    ]


def _reservations_about(summary: ExperimentSummary, roles: Collection[str]) -> list[Reservation]:
    return [reservation for reservation in summary.reservations if reservation.role in roles]


def _at_chance(summary: ExperimentSummary, role: str) -> bool:
    return any(reservation.kind == CHANCE for reservation in _reservations_about(summary, (role,)))


def _doubts(summary: ExperimentSummary, roles: Collection[str]) -> str:
    """Why no verdict on these models is possible until their doubts are cleared up; empty without doubts."""
    reasons = [doubt.text for doubt in summary.doubts if doubt.role in roles]
    return join_sentences(_("One of these models may not get the input it learned from."), *reasons) if reasons else ""


def _limits(summary: ExperimentSummary, roles: Collection[str], judgement: Judgement | None = None) -> str:
    """What limits an answer about these models, in one text; empty where nothing does."""
    sentences = [reservation.sentence for reservation in _reservations_about(summary, roles)]
    if judgement is not None and judgement.one_training:
        sentences.append(_("With one seed this tells of these models only, not of distillation in general."))
    return join_sentences(*sentences)


@dataclass(frozen=True)
class _Question:
    """A question, which makes its answers."""

    name: str
    question: str
    page: str
    link: str

    def answer(
        self, word: str, tone: str, sentence: str, judgement: Judgement | None = None, first: str = ""
    ) -> Answer:
        return Answer(
            self.name,
            self.question,
            word,
            tone,
            join_sentences(first, sentence),
            self.page,
            self.link,
            judgement,
            False,
            first,
        )

    def withheld(self, judgement: Judgement | None, first: str) -> Answer:
        """The answer that there is no verdict, and why."""
        word = _("No verdict")
        return Answer(
            self.name, self.question, word, UNKNOWN, first, self.page, self.link, judgement, withheld=True, first=first
        )


def _accurate(summary: ExperimentSummary, margins: Margins) -> Answer:
    question = _Question("accurate", _("As accurate as its teacher?"), "mistakes", _("See who gets what wrong"))
    gain = summary.gain(Role.KD_STUDENT, Role.TEACHER)
    if gain is None:
        return question.answer(_("Not known"), UNKNOWN, _why_not_compared(summary))
    judgement = judge_difference(gain, margins.accuracy, ACCURATE)
    doubts = _doubts(summary, (Role.TEACHER, Role.KD_STUDENT))
    if doubts:
        return question.withheld(judgement, doubts)
    first = _limits(summary, (Role.TEACHER, Role.KD_STUDENT))
    if _at_chance(summary, Role.TEACHER) or (_at_chance(summary, Role.KD_STUDENT) and judgement.outcome != MUCH_LOWER):
        return question.withheld(judgement, first)
    return question.answer(*judgements.accurate(judgement), judgement, first)


def _why_not_compared(summary: ExperimentSummary) -> str:
    if not {Role.TEACHER, Role.KD_STUDENT} <= summary.experiment.runs.keys():
        return _("This experiment has no teacher beside a KD student.")
    return _why_unknown(summary)


def _why_unknown(summary: ExperimentSummary) -> str:
    """Why it is not known who is right."""
    if summary.predictions is not None and not summary.predictions.labelled:
        return _("The pictures have no labels: where the models disagree, it is not known which of them is right.")
    if summary.experiment.is_imported:
        return _("These models were imported without pictures; import them again with --data to measure them.")
    return _("The models' predictions are not stored; kdviz evaluate makes them.")


def _cheaper(summary: ExperimentSummary, margins: Margins) -> Answer:
    question = _Question("cheaper", _("Cheaper to run?"), "cost", _("See what each model costs"))
    kd_tradeoff = None if summary.cost is None else tradeoff(summary.cost)
    judgement = None if kd_tradeoff is None else kd_tradeoff.faster(margins)
    if kd_tradeoff is None or summary.cost is None or judgement is None:
        return question.answer(_("Not measured"), UNKNOWN, _("kdviz profile measures it."))
    word, tone, text = judgements.faster(judgement, kd_tradeoff.speed)
    rival = _rival_phrases(summary.cost, margins) if tone == GOOD else None
    if rival is None:
        return question.answer(word, tone, join_sentences(_operations(kd_tradeoff), text), judgement)
    word, text = rival[0], join_sentences(_operations(kd_tradeoff), text, rival[1])
    return question.answer(word, MIXED, text, judgement)


def _operations(kd_tradeoff: Tradeoff) -> str:
    if math.isnan(kd_tradeoff.operations):
        return ""
    return _("{operations} times fewer operations.", operations=number(kd_tradeoff.operations, 1))


def _rival_phrases(report: CostReport, margins: Margins) -> tuple[str, str] | None:
    """A word and a sentence about a model that offers the same; None: there is none."""
    dominating = dominating_models(report, margins)
    rivals = dominating or possibly_dominating(report, margins)
    if not rivals:
        return None
    best = rivals[0]
    values = {
        "rival": title(best),
        "ms": milliseconds(best.costs["latency"]),
        "margin": margin_points(margins.accuracy),
    }
    if dominating:
        text = _("But {rival} is as fast ({ms} ms), smaller and no less accurate, within {margin} points.", **values)
        return _("Yes, with a rival"), text
    text = _("Whether {rival} ({ms} ms) is as fast and as accurate cannot be told.", **values)
    return _("Yes, perhaps with a rival"), text


def _helped(summary: ExperimentSummary, margins: Margins) -> Answer:
    page_and_link = (
        ("temperature", _("See the study")) if summary.study is not None else ("mistakes", _("See what it fixed"))
    )
    question = _Question("helped", _("Did distillation help?"), *page_and_link)
    gain = summary.distillation
    if gain is None:
        text = _("There is no student that was trained alone, or no predictions of it, to compare with.")
        has_both = {Role.KD_STUDENT, Role.STUDENT} <= summary.experiment.runs.keys()
        return question.answer(_("Not known"), UNKNOWN, _why_unknown(summary) if has_both else text)
    judgement = judge_difference(gain, margins.accuracy, HELPED)
    doubts = _doubts(summary, (Role.KD_STUDENT, Role.STUDENT))
    if doubts:
        return question.withheld(judgement, doubts)
    first = _limits(summary, (Role.KD_STUDENT, Role.STUDENT), judgement)
    if _helped_by_chance(summary, judgement):
        return question.withheld(judgement, first)
    word, tone, text = judgements.helped(judgement)
    if judgement.seeds == 1 and tone != UNKNOWN:
        word = _("{answer}, for these two", answer=word)
    return question.answer(word, tone, text, judgement, first)


def _helped_by_chance(summary: ExperimentSummary, judgement: Judgement) -> bool:
    """Whether a model at chance withholds the verdict: it does unless the other one is surely better."""
    kd_at_chance, alone_at_chance = (_at_chance(summary, role) for role in (Role.KD_STUDENT, Role.STUDENT))
    if kd_at_chance and alone_at_chance:
        return True
    return (kd_at_chance and judgement.outcome not in (LOWER, MUCH_LOWER)) or (
        alone_at_chance and judgement.outcome not in (HIGHER, MUCH_HIGHER)
    )


def _copied(summary: ExperimentSummary, margins: Margins) -> Answer:
    question = _Question(
        "copied", _("Does it copy the teacher's mistakes?"), "mistakes", _("See the inherited mistakes")
    )
    copied = summary.copied
    if copied is None or summary.predictions is None:
        return question.answer(_("Not known"), UNKNOWN, _why_not_compared(summary))
    if not copied.errors:
        samples = plural("{count} sample", "{count} samples", len(summary.predictions.labels))
        text = _("The teacher makes no mistake on {samples}; what it would copy is not known.", samples=samples)
        return question.answer(_("Cannot tell"), UNKNOWN, text)
    doubts = _doubts(summary, (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT))
    if doubts:
        return question.withheld(None, doubts)
    shares = {
        "own": percent(copied.kd, 0),
        "alone": percent(copied.alone, 0),
        "errors": plural("{count} error", "{count} errors", copied.errors),
    }
    if copied.difference is None:
        text = _(
            "It repeats {own} of the teacher's {errors}; how many it would repeat by itself is not known: there is no "
            "student that was trained alone.",
            **shares,
        )
        return question.answer(_("Cannot tell"), UNKNOWN, text)
    judgement = judge_difference(copied.difference, margins.copied, HELPED, unit="errors")
    first = _limits(summary, (Role.TEACHER, Role.KD_STUDENT, Role.STUDENT), judgement)
    if _at_chance(summary, Role.TEACHER) or _at_chance(summary, Role.KD_STUDENT):
        return question.withheld(judgement, first)
    return question.answer(*judgements.copied(judgement, shares), judgement, first)


def attention(summary: ExperimentSummary, margins: Margins = _USUAL) -> Answer:
    """What the study of attention says; not known until there is one, as a few maps are no proof."""
    row = summary.attention
    link = _("How to find out") if row is None else _("See the study and its controls")
    question = _Question("attention", _("Does it look where the teacher looks?"), "attention", link)
    if row is None:
        text = _("A few maps say little; kdviz study tests it over a whole test set.")
        return question.answer(_("Not measured"), UNKNOWN, text)
    judgement = judge_study(row, margins.maps)
    return question.answer(
        *judgements.attention(judgement), judgement, _limits(summary, (Role.TEACHER, Role.KD_STUDENT), judgement)
    )


__getattr__ = renamed(__name__, {"Findings": "ExperimentSummary"})
