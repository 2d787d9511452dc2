"""An experiment in a few answers: may the KD student stand in for its teacher, and what is known about it?

Each answer is yes, no, or that it cannot be told, and carries the
:class:`~kdviz.studies.comparison.judgement.Judgement` that it is made of. What takes the ground from it, or limits it
to these very models, is in its first words.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kdviz.compress.cost import CostReport
from kdviz.core.language import _, number, percent, plural
from kdviz.core.moved import renamed
from kdviz.narrative import judgements as words
from kdviz.narrative.judgements import GOOD, MIXED, UNKNOWN
from kdviz.narrative.tradeoffs import milliseconds, title
from kdviz.studies.comparison.dominating_models import Tradeoff, dominating_models, possibly_dominating, tradeoff
from kdviz.studies.comparison.experiment_summary import KD_STUDENT, STUDENT, TEACHER, Accuracy, ExperimentSummary
from kdviz.studies.comparison.judgement import (
    ACCURATE,
    HELPED,
    HIGHER,
    LOWER,
    MUCH_HIGHER,
    MUCH_LOWER,
    Judgement,
    Margins,
    margin_points,
    of_difference,
    of_study,
    together,
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
        name: Of the question.
        question: For people.
        word: The answer in a word or two.
        tone: ``good``, ``mixed``, ``bad`` or ``unknown``.
        sentence: What it rests on.
        page: Of the app, that says more: its path.
        link: What a link to it says.
        judgement: The comparison that it is made of; None: there was nothing to compare.
        withheld: Whether the models allow no verdict, whatever the comparison says.
        first: What its sentence begins with, since it limits all that follows; may be empty.
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


def answers(found: ExperimentSummary, margins: Margins = _USUAL) -> list[Answer]:
    """In the order in which somebody who has to decide would ask."""
    return [
        _accurate(found, margins),
        _cheaper(found, margins),
        _helped(found, margins),
        _copied(found, margins),
        attention(found, margins),
    ]


_ROLES = {"helped": {KD_STUDENT, STUDENT}}
"""Name of a question -> whom it is about; others are about the teacher and the KD student."""


def about_these(found: ExperimentSummary, said: Sequence[Answer]) -> list[Answer]:
    """The answers to show: of models that were trained elsewhere only those about models that there are."""
    if not found.experiment.is_imported:
        return list(said)
    return [one for one in said if _ROLES.get(one.name, {TEACHER, KD_STUDENT}) <= found.experiment.runs.keys()]


def _about(found: ExperimentSummary, roles: Collection[str]) -> list[Reservation]:
    return [one for one in found.reservations if one.role in roles]


def _at_chance(found: ExperimentSummary, role: str) -> bool:
    return any(one.kind == CHANCE for one in _about(found, (role,)))


def _doubts(found: ExperimentSummary, roles: Collection[str]) -> str:
    """Why nothing can be said of these models until it is cleared up; empty without doubts."""
    said = [one.text for one in found.doubts if one.role in roles]
    return together(_("One of these models may not get the input it learned from."), *said) if said else ""


def _first(found: ExperimentSummary, roles: Collection[str], judged: Judgement | None = None) -> str:
    """What limits an answer about these models, in one text; empty when nothing does."""
    said = [one.sentence for one in _about(found, roles)]
    if judged is not None and judged.one_training:
        said.append(_("With one seed this tells of these models only, not of distillation in general."))
    return together(*said)


@dataclass(frozen=True)
class _Question:
    """What all answers to a question have in common."""

    name: str
    question: str
    page: str
    link: str

    def says(self, word: str, tone: str, sentence: str, judged: Judgement | None = None, first: str = "") -> Answer:
        return Answer(
            self.name, self.question, word, tone, together(first, sentence), self.page, self.link, judged, False, first
        )

    def withheld(self, judged: Judgement | None, first: str) -> Answer:
        """No verdict, and why."""
        word = _("No verdict")
        return Answer(
            self.name, self.question, word, UNKNOWN, first, self.page, self.link, judged, withheld=True, first=first
        )


def _accurate(found: ExperimentSummary, margins: Margins) -> Answer:
    ask = _Question("accurate", _("As accurate as its teacher?"), "mistakes", _("See who gets what wrong"))
    gain = found.gain(KD_STUDENT, TEACHER)
    if gain is None:
        return ask.says(_("Not known"), UNKNOWN, _evaluate(found))
    judged = of_difference(gain, margins.accuracy, ACCURATE)
    doubted = _doubts(found, (TEACHER, KD_STUDENT))
    if doubted:
        return ask.withheld(judged, doubted)
    first = _first(found, (TEACHER, KD_STUDENT))
    if _at_chance(found, TEACHER) or (_at_chance(found, KD_STUDENT) and judged.outcome != MUCH_LOWER):
        return ask.withheld(judged, first)
    return ask.says(*words.accurate(judged), judged, first)


def _evaluate(found: ExperimentSummary) -> str:
    if not {TEACHER, KD_STUDENT} <= found.experiment.runs.keys():
        return _("This experiment has no teacher beside a KD student.")
    return _unknown(found)


def _unknown(found: ExperimentSummary) -> str:
    """Why it is not known who is right."""
    if found.predictions is not None and not found.predictions.labelled:
        return _("The pictures have no labels: where the models disagree, it is not known which of them is right.")
    if found.experiment.is_imported:
        return _("These models were imported without pictures; import them again with --data to measure them.")
    return _("The models' predictions are not stored; kdviz evaluate makes them.")


def _cheaper(found: ExperimentSummary, margins: Margins) -> Answer:
    ask = _Question("cheaper", _("Cheaper to run?"), "cost", _("See what each model costs"))
    deal = None if found.cost is None else tradeoff(found.cost)
    judged = None if deal is None else deal.faster(margins)
    if deal is None or found.cost is None or judged is None:
        return ask.says(_("Not measured"), UNKNOWN, _("kdviz profile measures it."))
    word, tone, text = words.faster(judged, deal.speed)
    rival = _rival_words(found.cost, margins) if tone == GOOD else None
    if rival is None:
        return ask.says(word, tone, together(_operations(deal), text), judged)
    word, text = rival[0], together(_operations(deal), text, rival[1])
    return ask.says(word, MIXED, text, judged)


def _operations(deal: Tradeoff) -> str:
    if math.isnan(deal.operations):
        return ""
    return _("{operations} times fewer operations.", operations=number(deal.operations, 1))


def _rival_words(report: CostReport, margins: Margins) -> tuple[str, str] | None:
    """A word and a sentence about who offers the same; None: nobody does."""
    sure = dominating_models(report, margins)
    others = sure or possibly_dominating(report, margins)
    if not others:
        return None
    best = others[0]
    values = {
        "rival": title(best),
        "ms": milliseconds(best.costs["latency"]),
        "margin": margin_points(margins.accuracy),
    }
    if sure:
        text = _("But {rival} is as fast ({ms} ms), smaller and no less accurate, within {margin} points.", **values)
        return _("Yes, with a rival"), text
    text = _("Whether {rival} ({ms} ms) is as fast and as accurate cannot be told.", **values)
    return _("Yes, perhaps with a rival"), text


def _helped(found: ExperimentSummary, margins: Margins) -> Answer:
    more = ("temperature", _("See the study")) if found.study is not None else ("mistakes", _("See what it fixed"))
    ask = _Question("helped", _("Did distillation help?"), *more)
    over = found.distillation
    if over is None:
        text = _("There is no student that was trained alone, or no predictions of it, to compare with.")
        both = {KD_STUDENT, STUDENT} <= found.experiment.runs.keys()
        return ask.says(_("Not known"), UNKNOWN, _unknown(found) if both else text)
    judged = of_difference(over, margins.accuracy, HELPED)
    doubted = _doubts(found, (KD_STUDENT, STUDENT))
    if doubted:
        return ask.withheld(judged, doubted)
    first = _first(found, (KD_STUDENT, STUDENT), judged)
    if _helped_by_chance(found, judged):
        return ask.withheld(judged, first)
    word, tone, text = words.helped(judged)
    if judged.seeds == 1 and tone != UNKNOWN:
        word = _("{answer}, for these two", answer=word)
    return ask.says(word, tone, text, judged, first)


def _helped_by_chance(found: ExperimentSummary, judged: Judgement) -> bool:
    """Whether a model that knows nothing leaves nothing to be said: unless the other one surely knows something."""
    own, alone = (_at_chance(found, role) for role in (KD_STUDENT, STUDENT))
    if own and alone:
        return True
    return (own and judged.outcome not in (LOWER, MUCH_LOWER)) or (
        alone and judged.outcome not in (HIGHER, MUCH_HIGHER)
    )


def _copied(found: ExperimentSummary, margins: Margins) -> Answer:
    ask = _Question("copied", _("Does it copy the teacher's mistakes?"), "mistakes", _("See the inherited mistakes"))
    known = found.copied
    if known is None or found.predictions is None:
        return ask.says(_("Not known"), UNKNOWN, _evaluate(found))
    if not known.errors:
        samples = plural("{count} sample", "{count} samples", len(found.predictions.labels))
        text = _("The teacher makes no mistake on {samples}; what it would copy is not known.", samples=samples)
        return ask.says(_("Cannot tell"), UNKNOWN, text)
    doubted = _doubts(found, (TEACHER, KD_STUDENT, STUDENT))
    if doubted:
        return ask.withheld(None, doubted)
    shares = {
        "own": percent(known.own, 0),
        "alone": percent(known.alone, 0),
        "errors": plural("{count} error", "{count} errors", known.errors),
    }
    if known.more is None:
        text = _(
            "It repeats {own} of the teacher's {errors}; how many it would repeat by itself is not known: there is no "
            "student that was trained alone.",
            **shares,
        )
        return ask.says(_("Cannot tell"), UNKNOWN, text)
    judged = of_difference(known.more, margins.copied, HELPED, unit="errors")
    first = _first(found, (TEACHER, KD_STUDENT, STUDENT), judged)
    if _at_chance(found, TEACHER) or _at_chance(found, KD_STUDENT):
        return ask.withheld(judged, first)
    return ask.says(*words.copied(judged, shares), judged, first)


def attention(found: ExperimentSummary, margins: Margins = _USUAL) -> Answer:
    """What the study of attention says. Until there is one, nothing is known: a few maps are no proof."""
    row = found.attention
    link = _("How to find out") if row is None else _("See the study and its controls")
    ask = _Question("attention", _("Does it look where the teacher looks?"), "attention", link)
    if row is None:
        text = _("A few maps say little; kdviz study tests it over a whole test set.")
        return ask.says(_("Not measured"), UNKNOWN, text)
    judged = of_study(row, margins.maps)
    return ask.says(*words.attention(judged), judged, _first(found, (TEACHER, KD_STUDENT), judged))


__getattr__ = renamed(__name__, {"Findings": "ExperimentSummary"})
