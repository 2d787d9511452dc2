"""An experiment in a few answers: may the KD student stand in for its teacher, and what is known about it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from kdviz.analysis.bargains import bargain, milliseconds, rivals, title
from kdviz.analysis.cost import CostReport, wilson
from kdviz.analysis.mistakes import Predictions, read_predictions
from kdviz.analysis.series import SPLITS, Report
from kdviz.analysis.verdict import Verdict, verdict
from kdviz.errors import ExperimentError
from kdviz.experiment import Experiment, Run
from kdviz.language import _, number, percent, plural, signed
from kdviz.metrics import Difference, inherited_errors, mcnemar, paired_difference

GOOD, MIXED, BAD, UNKNOWN = "good", "mixed", "bad", "unknown"

TEACHER, KD_STUDENT, STUDENT = "teacher", "kd_student", "student"


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
    """

    name: str
    question: str
    word: str
    tone: str
    sentence: str
    page: str
    link: str


@dataclass(frozen=True)
class Accuracy:
    """A model's accuracy with both kinds of spread.

    Attributes:
        role: Whose.
        value: On ``samples`` samples of ``split``.
        low, high: Wilson's 95 % interval, over samples; NaN when their number is not known.
        mean, spread, seeds: Over seeds of the study's runs with this setting; None where there is no study of several.
    """

    role: str
    split: str
    samples: int
    value: float
    low: float
    high: float
    mean: float | None = None
    spread: float | None = None
    seeds: int = 0


@dataclass(frozen=True)
class Findings:
    """What is known of an experiment.

    Attributes:
        experiment: Which.
        cost: Its cost table; None: not measured.
        study: Its study of temperature; None: not made.
    """

    experiment: Experiment
    cost: CostReport | None = None
    study: Report | None = None

    @cached_property
    def predictions(self) -> Predictions | None:
        """Of the split that results are wanted of first."""
        if not self.experiment.has_table("predictions"):
            return None
        try:
            table = self.experiment.table("predictions")
        except ExperimentError:
            return None
        for split in SPLITS:
            try:
                return read_predictions(table, split)
            except (ExperimentError, KeyError):
                continue
        return None

    def gain(self, role: str, over: str) -> Difference | None:
        """Accuracy of one model less another's, sample by sample."""
        said = self.predictions
        if said is None or not {role, over} <= set(said.predicted) or len(said.labels) < 2:
            return None
        return paired_difference(said.right(over)[None], said.right(role)[None])

    @cached_property
    def seeds_verdict(self) -> Verdict | None:
        """Of the study, at the temperature of the experiment's own KD student, over its seeds."""
        run = self.experiment.runs.get(KD_STUDENT)
        own = run.training.get("temperature") if run is not None else None
        if self.study is None or self.study.predictions is None or not isinstance(own, (int, float)):
            return None
        return verdict(
            self.study.table, self.study.predictions, "temperature", split=self.study.split, value=float(own)
        )

    @cached_property
    def accuracies(self) -> list[Accuracy]:
        """Of every model, in the experiment's order, on the first split that all were measured on."""
        runs = self.experiment.runs.values()
        split = next((one for one in SPLITS if all("accuracy" in run.metrics.get(one, {}) for run in runs)), None)
        return [] if split is None else [self._accuracy(run, split) for run in runs]

    def _accuracy(self, run: Run, split: str) -> Accuracy:
        said = run.metrics[split]
        value, samples = said["accuracy"], int(said.get("samples", 0))
        low, high = wilson(value, samples) if samples else (math.nan, math.nan)
        known = Accuracy(run.role, split, samples, value, low, high)
        row = self._study_row(run, split)
        if row is None or row["seeds"] < 2:
            return known
        return Accuracy(
            run.role, split, samples, value, low, high, row["accuracy"], row["accuracy_sd"], int(row["seeds"])
        )

    def _study_row(self, run: Run, split: str) -> dict[str, Any] | None:
        """The study's runs that were trained as this one was."""
        if self.study is None or self.study.split != split:
            return None
        own = run.training.get("temperature") if run.role == KD_STUDENT else None
        found = [row for row in self.study.rows if row["role"] == run.role and row["value"] == own]
        return found[0] if found else None


def answers(found: Findings) -> list[Answer]:
    """In the order in which somebody who has to decide would ask."""
    return [_accurate(found), _cheaper(found), _helped(found), _copied(found), attention(found)]


# each question --------------------------------------------------------------------------------------------------------


def _accurate(found: Findings) -> Answer:
    question = _("As accurate as its teacher?")
    more = ("mistakes", _("See who gets what wrong"))
    gain = found.gain(KD_STUDENT, TEACHER)
    if gain is None:
        return Answer("accurate", question, _("Not known"), UNKNOWN, _evaluate(found), *more)
    values = {
        "points": number(100 * abs(gain.value), 2),
        "low": number(100 * min(abs(gain.low), abs(gain.high)), 2),
        "high": number(100 * max(abs(gain.low), abs(gain.high)), 2),
        "samples": number(gain.samples),
    }
    if not gain.excludes_zero:
        text = _("The difference on {samples} held-out images is within chance.", **values)
        return Answer("accurate", question, _("Yes"), GOOD, text, *more)
    if gain.value > 0:
        text = _("It is {points} points better (95 % interval {low} to {high}, {samples} held-out images).", **values)
        return Answer("accurate", question, _("Better"), GOOD, text, *more)
    text = _("It loses {points} points (95 % interval {low} to {high}, {samples} held-out images).", **values)
    lost = 100 * abs(gain.value)
    word, tone = (_("Nearly"), MIXED) if lost < 1 else (_("No"), BAD)
    return Answer("accurate", question, word, tone, text, *more)


def _evaluate(found: Findings) -> str:
    if not {TEACHER, KD_STUDENT} <= found.experiment.runs.keys():
        return _("This experiment has no teacher beside a KD student.")
    return _("The models' predictions are not stored; kdviz evaluate makes them.")


def _cheaper(found: Findings) -> Answer:
    question, more = _("Cheaper to run?"), ("cost", _("See what each model costs"))
    deal = None if found.cost is None else bargain(found.cost)
    if deal is None or found.cost is None:
        return Answer("cheaper", question, _("Not measured"), UNKNOWN, _("kdviz profile measures it."), *more)
    operations, speed = number(deal.operations, 1), number(deal.speed, 1)
    if not deal.speed >= 1.1:
        text = _(
            "{operations} times fewer operations, but not faster on the machine it was measured on.",
            operations=operations,
        )
        return Answer("cheaper", question, _("Not faster"), MIXED, text, *more)
    others = rivals(found.cost)
    if not others:
        text = _("{operations} times fewer operations, and {speed} times faster.", operations=operations, speed=speed)
        return Answer("cheaper", question, _("Yes"), GOOD, text, *more)
    text = _(
        "{operations} times fewer operations, {speed} times faster. But {rival} is as fast ({ms} ms), smaller and no "
        "less accurate.",
        operations=operations,
        speed=speed,
        rival=title(others[0]),
        ms=milliseconds(others[0].costs["latency"]),
    )
    return Answer("cheaper", question, _("Yes, with a rival"), MIXED, text, *more)


def _helped(found: Findings) -> Answer:
    question = _("Did distillation help?")
    more = ("temperature", _("See the study")) if found.study is not None else ("mistakes", _("See what it fixed"))
    gain = found.gain(KD_STUDENT, STUDENT)
    known = found.seeds_verdict
    over = known.difference if known is not None else gain
    if over is None:
        text = _("There is no student that was trained alone, or no predictions of it, to compare with.")
        return Answer("helped", question, _("Not known"), UNKNOWN, text, *more)
    values = {
        "points": number(100 * abs(over.value), 2),
        "low": number(100 * min(abs(over.low), abs(over.high)), 2),
        "high": number(100 * max(abs(over.low), abs(over.high)), 2),
        "seeds": plural("{count} seed", "{count} seeds", over.seeds),
    }
    if not over.excludes_zero:
        text = _("It cannot be told from the same student trained alone ({seeds}).", **values)
        return Answer("helped", question, _("No difference found"), MIXED, text, *more)
    if over.value > 0:
        text = _(
            "{points} points better than the same student trained alone (95 % interval {low} to {high}, {seeds}).",
            **values,
        )
        return Answer("helped", question, _("Yes"), GOOD, text, *more)
    text = _(
        "It is {points} points worse than the same student trained alone (95 % interval {low} to {high}, {seeds}).",
        **values,
    )
    return Answer("helped", question, _("It hurt"), BAD, text, *more)


def _copied(found: Findings) -> Answer:
    question, more = _("Does it copy the teacher's mistakes?"), ("mistakes", _("See the inherited mistakes"))
    said = found.predictions
    if said is None or not {TEACHER, KD_STUDENT} <= set(said.predicted):
        return Answer("copied", question, _("Not known"), UNKNOWN, _evaluate(found), *more)
    wrong = ~said.right(TEACHER)
    own = inherited_errors(said.predicted[TEACHER], said.predicted[KD_STUDENT], said.labels)
    if math.isnan(own):
        text = _("The teacher makes no mistake on the held-out images.")
        return Answer("copied", question, _("None to copy"), GOOD, text, *more)
    values = {"own": percent(own, 0), "errors": plural("{count} error", "{count} errors", int(wrong.sum()))}
    if STUDENT not in said.predicted:
        text = _("It repeats {own} of the teacher's {errors}.", **values)
        return Answer("copied", question, _("In part"), MIXED, text, *more)
    alone = inherited_errors(said.predicted[TEACHER], said.predicted[STUDENT], said.labels)
    text = _(
        "It repeats {own} of the teacher's {errors}; the student alone repeats {alone} by itself.",
        alone=percent(alone, 0),
        **values,
    )
    test = mcnemar(_same(said, STUDENT)[wrong], _same(said, KD_STUDENT)[wrong])
    if test.p_value >= 0.05:
        return Answer("copied", question, _("No more than by chance"), GOOD, text, *more)
    more_often = own > alone
    word, tone = (_("Yes"), MIXED) if more_often else (_("Fewer than alone"), GOOD)
    return Answer("copied", question, word, tone, text, *more)


def attention(found: Findings) -> Answer:
    """What the study of attention says. Until there is one, nothing is known: a few maps are no proof."""
    question = _("Does it look where the teacher looks?")
    row = _attention_row(found.experiment)
    if row is None:
        text = _("A few maps say little; kdviz study tests it over a whole test set.")
        return Answer("attention", question, _("Not measured"), UNKNOWN, text, "attention", _("How to find out"))
    values = {
        "effect": signed(row["effect"], 2),
        "low": signed(row["low"], 2),
        "high": signed(row["high"], 2),
        "images": plural("{count} image", "{count} images", row["images"]),
        "seeds": plural("{count} seed", "{count} seeds", row["seeds"]),
    }
    text = _(
        "Its maps' agreement with the teacher's, less that of the student alone: {effect} (95 % interval {low} to "
        "{high}, {images}, {seeds}).",
        **values,
    )
    word, tone = _("Cannot be told"), UNKNOWN
    if row["low"] > 0:
        word, tone = _("More than by itself"), GOOD
    elif row["high"] < 0:
        word, tone = _("Less than by itself"), MIXED
    return Answer("attention", question, word, tone, text, "attention", _("See the study and its controls"))


def _attention_row(experiment: Experiment) -> dict[str, Any] | None:
    """The effect for the experiment's own KD student, from the table of effects."""
    if not experiment.has_table("attention") or KD_STUDENT not in experiment.runs:
        return None
    own = experiment.runs[KD_STUDENT].training.get("temperature")
    try:
        rows = experiment.table("attention").to_pylist()
    except ExperimentError:
        return None
    claims = [
        row
        for row in rows
        if (row["measure"], row["what"], row["part"]) == ("spearman", "difference", "corrected")
        and row["study"] in ("temperature", "models")
        and row["value"] in (None, own)
    ]
    return claims[0] if claims else None


def _same(said: Predictions, role: str) -> np.ndarray:
    return said.predicted[role] == said.predicted[TEACHER]


# all together ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """The answer on top: whether the KD student may be used.

    Attributes:
        tone: As of an :class:`Answer`.
        sentence: One, for somebody who reads no other.
    """

    tone: str
    sentence: str


def decision(found: Findings, said: Sequence[Answer]) -> Decision:
    """Put the answers together."""
    by = {one.name: one for one in said}
    accurate, helped = by["accurate"], by["helped"]
    gain = found.gain(KD_STUDENT, TEACHER)
    if accurate.tone == UNKNOWN or gain is None:
        return Decision(UNKNOWN, _("It is not known yet whether the KD student may stand in for its teacher."))
    lost = number(100 * abs(gain.value), 2)
    rival = found.cost is not None and _quantised_teacher_wins(found.cost)
    if helped.tone == BAD:
        return Decision(BAD, _("Do not ship the KD student: the same student trained alone is better."))
    if accurate.tone == BAD:
        return Decision(
            BAD,
            _("The KD student is no substitute for its teacher: it loses {points} points of accuracy.", points=lost),
        )
    if helped.tone == MIXED:
        text = _("The student may be shipped, but distillation is not why: trained alone it is as good.")
        return Decision(MIXED, text)
    if rival:
        return Decision(MIXED, _rivalled(accurate.tone, lost))
    if accurate.tone == MIXED:
        return Decision(
            MIXED, _("The KD student may be shipped if {points} points of accuracy can be spared.", points=lost)
        )
    return Decision(GOOD, _("The KD student may stand in for its teacher."))


def _quantised_teacher_wins(report: CostReport) -> bool:
    """Whether the teacher in int8 is as fast as the KD student in float32, no larger, and surely more accurate."""
    deal = bargain(report)
    if deal is None:
        return False
    gains = [one.gain(deal.student) for one in rivals(report) if (one.role, one.form) == (TEACHER, "onnx_int8")]
    return any(gain is not None and gain.low > 0 for gain in gains)


def _rivalled(tone: str, lost: str) -> str:
    if tone == GOOD:
        return _("The KD student may stand in for its teacher; the teacher in int8 may do as well, at no higher cost.")
    return _(
        "The KD student may be shipped if {points} points of accuracy can be spared. Try the teacher in int8 first: it "
        "is as fast, smaller and more accurate.",
        points=lost,
    )
