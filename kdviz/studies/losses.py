"""Losses beside each other: what each does to accuracy, and to where the student looks.

Both figures of a loss are compared with those of the softened targets alone (Hinton et al., 2015), over the same seeds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from kdviz.core.vocabulary import Role
from kdviz.metrics.equivalence import BETTER, EQUIVALENT, UNDECIDED, WORSE, judge_equivalence
from kdviz.studies.attention import AttentionReport
from kdviz.studies.attention.statistics.dependence import Change
from kdviz.studies.attention.statistics.uncertainty import Effect
from kdviz.studies.attention.statistics.verdicts import CLOSER, FURTHER, claim_of
from kdviz.studies.sweep.loss_values import DEFAULT_LOSS, trained_on_maps_of
from kdviz.studies.sweep.report import StudyReport
from kdviz.studies.sweep.value_pairs import DIFFERENT, ValuePair
from kdviz.studies.sweep.verdict import SweepVerdict, verdict

STUDY = "loss"
REFERENCE = DEFAULT_LOSS


@dataclass(frozen=True)
class Gain:
    """A figure of one loss less that of the reference.

    Attributes:
        value, low, high: The difference with its 95 % interval.
        outcome: ``better``, ``worse``, ``equivalent`` (of accuracies alone: within the margin) or ``cannot tell``.
            Losses are judged by p-values that hold for all pairs of them (Holm, 1979), the student alone by its
            interval.
    """

    value: float
    low: float
    high: float
    outcome: str


@dataclass(frozen=True)
class LossResult:
    """What students learn by one loss.

    Attributes:
        loss: The loss, as a value of the study; None: the student alone.
        accuracy: Mean over seeds, a share.
        agreement: Mean agreement of its maps with the teacher's.
        accuracy_gain, agreement_gain: Beside the reference; None of the reference itself.
        trained_on_maps: Whether it was trained on maps of the method by which it is measured.
    """

    loss: str | None
    accuracy: float
    agreement: Effect
    accuracy_gain: Gain | None
    agreement_gain: Gain | None
    trained_on_maps: bool = False


@dataclass(frozen=True)
class LossComparison:
    """All losses that were both trained and studied.

    Attributes:
        results: The reference, the losses by falling agreement, and the student alone.
        without_maps: Losses of the sweep whose maps were not studied.
        verdict: That of the sweep, of the reference.
        attention: The study of maps.
    """

    results: tuple[LossResult, ...]
    without_maps: tuple[str, ...]
    verdict: SweepVerdict
    attention: AttentionReport

    @property
    def losses(self) -> tuple[LossResult, ...]:
        """The losses other than the reference."""
        return tuple(result for result in self.results if result.loss not in (None, REFERENCE))


def compare_losses(report: StudyReport, attention: AttentionReport) -> LossComparison | None:
    """Put the two studies of losses together.

    Args:
        report: The sweep of losses.
        attention: The study of maps of the same losses.

    Returns:
        None where nothing can be compared: the softened targets or another loss are in one study alone, or the sweep
        has no student alone of the same seeds.
    """
    if report.predictions is None:
        return None
    judged = verdict(report.table, report.predictions, STUDY, split=report.split, value=REFERENCE)
    effects = {effect.value: effect for effect in attention.values}
    accuracies = {row["value"]: row["accuracy"] for row in report.rows if row["role"] == Role.KD_STUDENT}
    common = [str(loss) for loss in accuracies if loss in effects]
    if judged is None or REFERENCE not in common or len(common) < 2:
        return None
    own = trained_on_maps_of(attention.about.get("method", "rise"), common)
    results = [
        LossResult(
            loss,
            accuracies[loss],
            effects[loss].kd,
            _accuracy_gain(judged.pairs, loss),
            _agreement_gain(attention.changes, loss),
            loss in own,
        )
        for loss in common
    ]
    results.sort(key=lambda result: (result.loss != REFERENCE, -result.agreement.value))
    alone = LossResult(
        None, judged.alone, effects[REFERENCE].alone, _accuracy_of_alone(judged), _agreement_of_alone(attention)
    )
    others = tuple(loss for loss in accuracies if loss not in effects)
    return LossComparison((*results, alone), others, judged, attention)


def _accuracy_gain(pairs: Iterable[ValuePair], loss: str) -> Gain | None:
    pair, sign = _beside_reference(pairs, loss)
    if pair is None:
        return None
    difference = pair.difference
    outcome = (BETTER if sign * difference.value > 0 else WORSE) if pair.outcome == DIFFERENT else pair.outcome
    return _gain(difference.value, difference.low, difference.high, sign, outcome)


def _agreement_gain(changes: Iterable[Change], loss: str) -> Gain | None:
    change, sign = _beside_reference(changes, loss)
    if change is None:
        return None
    effect = change.effect
    outcome = (BETTER if sign * effect.value > 0 else WORSE) if change.differs else UNDECIDED
    return _gain(effect.value, effect.interval.low, effect.interval.high, sign, outcome)


def _beside_reference(pairs: Iterable[Any], loss: str) -> tuple[Any, int]:
    """The pair of this loss and the reference, and the sign that makes it the loss less the reference."""
    for pair in pairs:
        if (pair.first, pair.second) == (REFERENCE, loss):
            return pair, 1
        if (pair.first, pair.second) == (loss, REFERENCE):
            return pair, -1
    return None, 0


def _gain(value: float, low: float, high: float, sign: int, outcome: str) -> Gain:
    low, high = sorted((sign * low, sign * high))
    return Gain(sign * value, low, high, outcome)


def _accuracy_of_alone(judged: SweepVerdict) -> Gain:
    difference = judged.difference
    opposite = {BETTER: WORSE, WORSE: BETTER, EQUIVALENT: EQUIVALENT, UNDECIDED: UNDECIDED}
    outcome = UNDECIDED if judged.withheld else opposite[judge_equivalence(difference, judged.margin).outcome]
    return _gain(difference.value, difference.low, difference.high, -1, outcome)


def _agreement_of_alone(attention: AttentionReport) -> Gain:
    effect = next(effect for effect in attention.values if effect.value == REFERENCE).difference
    outcomes = {CLOSER: WORSE, FURTHER: BETTER}
    outcome = outcomes.get(claim_of(effect, attention.margin, REFERENCE).outcome, UNDECIDED)
    return _gain(effect.value, effect.interval.low, effect.interval.high, -1, outcome)
