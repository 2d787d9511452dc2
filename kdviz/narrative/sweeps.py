"""A sweep's verdict in words: every sentence is made of the verdict's figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kdviz.core.language import N_, _, listed, number, percent, plural, signed_interval
from kdviz.core.vocabulary import Role
from kdviz.metrics import Difference
from kdviz.metrics.equivalence import EQUIVALENT, UNDECIDED
from kdviz.studies.comparison.judgement import margin_points, points_interval, rounded_up
from kdviz.studies.sweep import copying
from kdviz.studies.sweep.doubts import NEVER, ONE_SEED, Caveat
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.value_pairs import Step, ValuePair
from kdviz.studies.sweep.verdict import SweepVerdict

_MOST_PAIRS = 6  # that a sentence names; the JSON document has all


def sentences(verdict: SweepVerdict) -> list[str]:
    """The verdict in the reader's language, as sentences in reading order."""
    if not any(test.fixed or test.broke for test in verdict.tests):
        return [*_doubts(verdict), _same_predictions(verdict), *_values(verdict), *_copying(verdict)]
    return [*_doubts(verdict), *_claim(verdict), _tests(verdict), *_values(verdict), *_copying(verdict)]


def document(verdict: SweepVerdict) -> dict[str, Any]:
    """The verdict for JSON, with its sentences under ``sentences``."""
    return verdict.to_json() | {"sentences": sentences(verdict)}


# values that fill the sentences ---------------------------------------------------------------------------------------


def _basis(verdict: SweepVerdict) -> dict[str, str]:
    difference = verdict.difference
    return {
        "distillation": _distillation(verdict),
        "accuracy": percent(verdict.accuracy, 2),
        "alone": percent(verdict.alone, 2),
        "seeds": _("one seed") if difference.seeds == 1 else plural("{count} seed", "{count} seeds", difference.seeds),
        "samples": plural("{count} sample", "{count} samples", difference.samples),
        "margin": margin_points(verdict.margin),
    }


def _change(value: float, low: float, high: float) -> dict[str, str]:
    """A difference and the ends of its interval."""
    return dict(zip(("points", "low", "high"), points_interval(value, low, high), strict=True))


def _difference(difference: Difference) -> dict[str, str]:
    return _change(difference.value, difference.low, difference.high)


def _distillation(verdict: SweepVerdict) -> str:
    study = STUDIES[verdict.study]
    return _(study.best if verdict.by_validation else study.subject, value=study.amount(verdict.value))


# doubts, which come first ---------------------------------------------------------------------------------------------


def _doubts(verdict: SweepVerdict) -> list[str]:
    return [_doubt(verdict, doubt) for doubt in verdict.doubts]


def _doubt(verdict: SweepVerdict, doubt: Caveat) -> str:
    values = _basis(verdict)
    if doubt.kind == ONE_SEED:
        text = N_(
            "{distillation} cannot be judged with one seed: {accuracy} against {alone} for training alone ({points} "
            "points, 95 % interval {low} to {high} over {samples}, which says nothing about other seeds)."
        )
        return _(text, **values, **_difference(verdict.difference))
    is_kd_student = doubt.role == Role.KD_STUDENT
    if doubt.kind == NEVER:
        text = (
            N_("{distillation} gives students that never predict some classes (numbered from 0): {classes}.")
            if is_kd_student
            else N_("Training alone gives students that never predict some classes (numbered from 0): {classes}.")
        )
        return _(text, **values, classes=_shortened_list([str(index) for index in doubt.classes]))
    text = (
        N_(
            "{distillation} cannot be judged: its {share} is not above chance, {chance} (95 % interval {low} to "
            "{high}, over {seeds} and {samples})."
        )
        if is_kd_student
        else N_(
            "{distillation} cannot be judged: the {share} of training alone is not above chance, {chance} (95 % "
            "interval {low} to {high}, over {seeds} and {samples})."
        )
    )
    shares = {"share": doubt.accuracy, "chance": doubt.chance, "low": doubt.low, "high": doubt.high}
    return _(text, **values, **{name: percent(share, 2) for name, share in shares.items()})


# the claim ------------------------------------------------------------------------------------------------------------


def _same_predictions(verdict: SweepVerdict) -> str:
    return _(
        "{distillation} gives the same predictions as training alone ({accuracy}, over {seeds} and {samples}).",
        **_basis(verdict),
    )


_CLAIMS = {
    "beats": N_(
        "{distillation} beats training alone: {accuracy} against {alone} ({points} points, 95 % interval {low} to "
        "{high}, over {seeds} and {samples})."
    ),
    "does not beat": N_(
        "{distillation} does not beat training alone: {accuracy} against {alone} ({points} points, 95 % interval "
        "{low} to {high}, over {seeds} and {samples})."
    ),
    "is equivalent to": N_(
        "{distillation} is as good as training alone within {margin} points: {accuracy} against {alone} ({points} "
        "points, 90 % interval {low} to {high}, over {seeds} and {samples})."
    ),
    "cannot be told from": N_(
        "{distillation} cannot be told from training alone with {seeds} and {samples}: {accuracy} against {alone} "
        "({points} points, 95 % interval {low} to {high}; up to {margin} would count as equal)."
    ),
}


def _claim(verdict: SweepVerdict) -> list[str]:
    if verdict.withheld:
        return []
    equivalence, difference = verdict.equivalence, verdict.difference
    ends = (
        (equivalence.low, equivalence.high) if equivalence.outcome == EQUIVALENT else (difference.low, difference.high)
    )
    statements = [_(_CLAIMS[verdict.outcome], **_basis(verdict), **_change(difference.value, *ends))]
    if equivalence.outcome == UNDECIDED:
        statements.append(_needed(verdict))
    elif equivalence.outcome == EQUIVALENT and equivalence.apart:
        text = N_("It is better, but by too little to matter: 95 % interval {low} to {high} points.")
        if difference.value < 0:
            text = N_("It is worse, but by too little to matter: 95 % interval {low} to {high} points.")
        statements.append(_(text, **_difference(difference)))
    return statements


def _needed(verdict: SweepVerdict) -> str:
    if verdict.samples_needed is None:
        return _("More samples alone would not decide; more seeds might.")
    return plural(
        "About {count} sample would decide, if all else stayed as it is.",
        "About {count} samples would decide, if all else stayed as it is.",
        rounded_up(verdict.samples_needed),
    )


def _tests(verdict: SweepVerdict) -> str:
    return plural(
        "It fixes {fixed} samples and breaks {broken}; McNemar's test finds a difference in {significant} of {count} "
        "seed (p < .05).",
        "It fixes {fixed} samples and breaks {broken}; McNemar's test finds a difference in {significant} of {count} "
        "seeds (p < .05).",
        verdict.difference.seeds,
        fixed=_range([test.fixed for test in verdict.tests]),
        broken=_range([test.broke for test in verdict.tests]),
        significant=number(sum(test.p_value < 0.05 for test in verdict.tests)),
    )


def _range(values: Sequence[int]) -> str:
    if min(values) == max(values):
        return number(values[0])
    return _("{low} to {high}", low=number(min(values)), high=number(max(values)))


# other values ---------------------------------------------------------------------------------------------------------


def _values(verdict: SweepVerdict) -> list[str]:
    """How the values compare with one another; nothing with one seed."""
    if verdict.difference.seeds < 2 or not verdict.pairs:
        return []
    return [*_rivals(verdict), _pairs(verdict), *_steps(verdict)]


def _rivals(verdict: SweepVerdict) -> list[str]:
    amount, values = STUDIES[verdict.study].amount, _basis(verdict)
    outcomes = {
        (pair.second if pair.first == verdict.value else pair.first): pair.outcome for pair in _pairs_of_value(verdict)
    }
    equal = [amount(value) for value in verdict.rivals if outcomes[value] == EQUIVALENT]
    unknown = [amount(value) for value in verdict.rivals if outcomes[value] == UNDECIDED]
    statements = []
    if equal:
        few = N_("As good as it within {margin} points: {values}.")
        many = N_("{count} of the {total} other values are as good as it within {margin} points.")
        statements.append(
            _(few if len(equal) <= _MOST_PAIRS else many, margin=values["margin"], **_counts(verdict, equal))
        )
    if unknown:
        few = N_("Cannot be told from it with {seeds} and {samples}: {values}.")
        many = N_("{count} of the {total} other values cannot be told from it with {seeds} and {samples}.")
        none = N_("None of the {total} other values can be told from it with {seeds} and {samples}.")
        text = few if len(unknown) <= _MOST_PAIRS else none if len(unknown) == len(_pairs_of_value(verdict)) else many
        statements.append(_(text, seeds=values["seeds"], samples=values["samples"], **_counts(verdict, unknown)))
    return statements


def _counts(verdict: SweepVerdict, names: Sequence[str]) -> dict[str, str]:
    return {"values": listed(names), "count": number(len(names)), "total": number(len(_pairs_of_value(verdict)))}


def _pairs_of_value(verdict: SweepVerdict) -> list[ValuePair]:
    return [pair for pair in verdict.pairs if verdict.value in (pair.first, pair.second)]


def _pairs(verdict: SweepVerdict) -> str:
    apart = sorted((pair for pair in verdict.pairs if pair.apart), key=lambda pair: pair.p_different)
    if not apart:
        return plural(
            "Among the values, {count} pair was compared, and no difference is shown.",
            "Among the values, {count} pairs were compared (Holm's method), and no difference is shown.",
            len(verdict.pairs),
        )
    return plural(
        "Among the values, {count} pair was compared, and differs: {pairs}.",
        "Of {count} pairs of values these differ (Holm's method): {pairs}.",
        len(verdict.pairs),
        pairs=_shortened_list([_pair(verdict, pair) for pair in apart], "; "),
    )


def _pair(verdict: SweepVerdict, pair: ValuePair) -> str:
    amount, difference = STUDIES[verdict.study].amount, pair.difference
    return _(
        "{first} and {second} ({points} points, 95 % interval {low} to {high})",
        first=amount(pair.first),
        second=amount(pair.second),
        **_difference(difference),
    )


def _shortened_list(texts: Sequence[str], separator: str = ", ") -> str:
    """The first of the texts, and how many more there are."""
    names = listed(texts[:_MOST_PAIRS], separator)
    if len(texts) <= _MOST_PAIRS:
        return names
    return _("{names} and {count} more", names=names, count=number(len(texts) - _MOST_PAIRS))


def _steps(verdict: SweepVerdict) -> Iterable[str]:
    if len(verdict.steps) < 2:
        return
    if len(verdict.steps) <= _MOST_PAIRS:
        yield _(
            "From each value to the next, in points, with 95 % intervals that hold together: {steps}.",
            steps=listed([_step(verdict, step) for step in verdict.steps], "; "),
        )
        return
    apart = [step for step in verdict.steps if not step.low <= 0 <= step.high]
    count = number(len(verdict.steps))
    if not apart:
        yield _(
            "Of the {count} steps from a value to the next none is shown: all 95 % intervals, which hold together, "
            "contain 0.",
            count=count,
        )
        return
    yield _(
        "Of the {count} steps from a value to the next these are shown, in points, with 95 % intervals that hold "
        "together: {steps}.",
        count=count,
        steps=_shortened_list([_step(verdict, step) for step in apart], "; "),
    )


def _step(verdict: SweepVerdict, step: Step) -> str:
    amount = STUDIES[verdict.study].amount
    return _(
        "{first} to {second} {points} ({low} to {high})",
        first=amount(step.first),
        second=amount(step.second),
        **_change(step.difference.value, step.low, step.high),
    )


# errors of the teacher ------------------------------------------------------------------------------------------------


_COPIES = {
    copying.MORE: N_(
        "It copies mistakes: of its teacher's errors ({errors}) it repeats {own}, the student alone {alone} ({points} "
        "points, 95 % interval {low} to {high}, over {seeds})."
    ),
    copying.FEWER: N_(
        "It copies fewer mistakes: of its teacher's errors ({errors}) it repeats {own}, the student alone {alone} "
        "({points} points, 95 % interval {low} to {high}, over {seeds})."
    ),
    copying.UNDECIDED: N_(
        "Whether it copies mistakes cannot be told: of its teacher's errors ({errors}) it repeats {own}, the student "
        "alone {alone} ({points} points, 95 % interval {low} to {high}, over {seeds})."
    ),
}


def _copying(verdict: SweepVerdict) -> list[str]:
    copied = verdict.copying
    if copied is None:
        return []
    points, low, high = signed_interval(100 * copied.value, 100 * copied.low, 100 * copied.high, 1)
    return [
        _(
            _COPIES[copied.outcome],
            errors=number(copied.errors),
            own=percent(copied.own),
            alone=percent(copied.alone),
            points=points,
            low=low,
            high=high,
            seeds=_("one seed") if copied.seeds == 1 else plural("{count} seed", "{count} seeds", copied.seeds),
        )
    ]
