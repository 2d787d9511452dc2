"""A study's verdict in words: every sentence is made of the verdict's figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from kdviz.core.language import N_, _, listed, number, percent, plural, signed
from kdviz.metrics.equivalence import EQUIVALENT, UNDECIDED
from kdviz.studies.sweep import copying
from kdviz.studies.sweep.doubts import NEVER, ONE_SEED, Caveat
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.value_pairs import Step, ValuePair
from kdviz.studies.sweep.verdict import SweepVerdict

_MOST_PAIRS = 6  # in a sentence; all are in the JSON document


def sentences(found: SweepVerdict) -> list[str]:
    """The verdict in words, in the reader's language; best read in order."""
    if not any(test.fixed or test.broke for test in found.tests):
        return [*_doubts(found), _same(found), *_values(found), *_copying(found)]
    return [*_doubts(found), *_claim(found), _tests(found), *_values(found), *_copying(found)]


def document(found: SweepVerdict) -> dict[str, Any]:
    """The verdict for JSON, with its sentences under ``sentences``."""
    return found.to_json() | {"sentences": sentences(found)}


# what the sentences are filled with -----------------------------------------------------------------------------------


def _basis(found: SweepVerdict) -> dict[str, str]:
    one = found.difference
    return {
        "distillation": _distillation(found),
        "accuracy": percent(found.accuracy, 2),
        "alone": percent(found.alone, 2),
        "seeds": _("one seed") if one.seeds == 1 else plural("{count} seed", "{count} seeds", one.seeds),
        "samples": plural("{count} sample", "{count} samples", one.samples),
        "margin": margin_points(found.margin),
        "points": points(one.value),
    }


def _ends(low: float, high: float) -> dict[str, str]:
    return {"low": points(low), "high": points(high)}


def points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return signed(100 * share, 2)


def margin_points(share: float) -> str:
    """A margin in points, with one digit after the point, or two where it has them."""
    value = round(100 * share, 2)
    return number(value, 1 if round(value, 1) == value else 2)


def _distillation(found: SweepVerdict) -> str:
    study = STUDIES[found.study]
    return _(study.best if found.by_validation else study.subject, value=study.amount(found.value))


# doubts, said first ---------------------------------------------------------------------------------------------------


def _doubts(found: SweepVerdict) -> list[str]:
    return [_doubt(found, one) for one in found.doubts]


def _doubt(found: SweepVerdict, doubt: Caveat) -> str:
    values = _basis(found)
    if doubt.kind == ONE_SEED:
        text = N_(
            "{distillation} cannot be judged with one seed: {accuracy} against {alone} for training alone ({points} "
            "points, 95 % interval {low} to {high} over {samples}, which says nothing about other seeds)."
        )
        return _(text, **values, **_ends(found.difference.low, found.difference.high))
    own = doubt.role == "kd_student"
    if doubt.kind == NEVER:
        text = (
            N_("{distillation} gives students that never predict some classes (numbered from 0): {classes}.")
            if own
            else N_("Training alone gives students that never predict some classes (numbered from 0): {classes}.")
        )
        return _(text, **values, classes=_some([str(one) for one in doubt.classes]))
    text = (
        N_(
            "{distillation} cannot be judged: its {share} is not above chance, {chance} (95 % interval {low} to "
            "{high}, over {seeds} and {samples})."
        )
        if own
        else N_(
            "{distillation} cannot be judged: the {share} of training alone is not above chance, {chance} (95 % "
            "interval {low} to {high}, over {seeds} and {samples})."
        )
    )
    shares = {"share": doubt.accuracy, "chance": doubt.chance, "low": doubt.low, "high": doubt.high}
    return _(text, **values, **{name: percent(share, 2) for name, share in shares.items()})


# the claim ------------------------------------------------------------------------------------------------------------


def _same(found: SweepVerdict) -> str:
    return _(
        "{distillation} gives the same predictions as training alone ({accuracy}, over {seeds} and {samples}).",
        **_basis(found),
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


def _claim(found: SweepVerdict) -> list[str]:
    if found.withheld:
        return []
    judged, one = found.judged, found.difference
    ends = (judged.low, judged.high) if judged.outcome == EQUIVALENT else (one.low, one.high)
    said = [_(_CLAIMS[found.outcome], **_basis(found), **_ends(*ends))]
    if judged.outcome == UNDECIDED:
        said.append(_needed(found))
    elif judged.outcome == EQUIVALENT and judged.apart:
        text = N_("It is better, but by too little to matter: 95 % interval {low} to {high} points.")
        if one.value < 0:
            text = N_("It is worse, but by too little to matter: 95 % interval {low} to {high} points.")
        said.append(_(text, **_ends(one.low, one.high)))
    return said


def _needed(found: SweepVerdict) -> str:
    if found.samples_needed is None:
        return _("More samples alone would not decide; more seeds might.")
    return plural(
        "About {count} sample would decide, if all else stayed as it is.",
        "About {count} samples would decide, if all else stayed as it is.",
        rounded_up(found.samples_needed),
    )


def rounded_up(count: int) -> int:
    """To two digits, upwards: 8,134 is 8,200.

    >>> rounded_up(8134), rounded_up(85)
    (8200, 85)
    """
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _tests(found: SweepVerdict) -> str:
    return plural(
        "It fixes {fixed} samples and breaks {broken}; McNemar's test finds a difference in {significant} of {count} "
        "seed (p < .05).",
        "It fixes {fixed} samples and breaks {broken}; McNemar's test finds a difference in {significant} of {count} "
        "seeds (p < .05).",
        found.difference.seeds,
        fixed=_range([test.fixed for test in found.tests]),
        broken=_range([test.broke for test in found.tests]),
        significant=number(sum(test.p_value < 0.05 for test in found.tests)),
    )


def _range(values: Sequence[int]) -> str:
    if min(values) == max(values):
        return number(values[0])
    return _("{low} to {high}", low=number(min(values)), high=number(max(values)))


# other values ---------------------------------------------------------------------------------------------------------


def _values(found: SweepVerdict) -> list[str]:
    """What is said of the values among themselves; nothing with one seed."""
    if found.difference.seeds < 2 or not found.pairs:
        return []
    return [*_rivals(found), _pairs(found), *_steps(found)]


def _rivals(found: SweepVerdict) -> list[str]:
    amount, values = STUDIES[found.study].amount, _basis(found)
    outcomes = {(one.second if one.first == found.value else one.first): one.outcome for one in _own(found)}
    equal = [amount(one) for one in found.rivals if outcomes[one] == EQUIVALENT]
    unknown = [amount(one) for one in found.rivals if outcomes[one] == UNDECIDED]
    said = []
    if equal:
        few = N_("As good as it within {margin} points: {values}.")
        many = N_("{count} of the {total} other values are as good as it within {margin} points.")
        said.append(_(few if len(equal) <= _MOST_PAIRS else many, margin=values["margin"], **_counted(found, equal)))
    if unknown:
        few = N_("Cannot be told from it with {seeds} and {samples}: {values}.")
        many = N_("{count} of the {total} other values cannot be told from it with {seeds} and {samples}.")
        none = N_("None of the {total} other values can be told from it with {seeds} and {samples}.")
        text = few if len(unknown) <= _MOST_PAIRS else none if len(unknown) == len(_own(found)) else many
        said.append(_(text, seeds=values["seeds"], samples=values["samples"], **_counted(found, unknown)))
    return said


def _counted(found: SweepVerdict, names: Sequence[str]) -> dict[str, str]:
    return {"values": listed(names), "count": number(len(names)), "total": number(len(_own(found)))}


def _own(found: SweepVerdict) -> list[ValuePair]:
    return [one for one in found.pairs if found.value in (one.first, one.second)]


def _pairs(found: SweepVerdict) -> str:
    apart = sorted((one for one in found.pairs if one.apart), key=lambda one: one.p_different)
    if not apart:
        return plural(
            "Among the values, {count} pair was compared, and no difference is shown.",
            "Among the values, {count} pairs were compared (Holm's method), and no difference is shown.",
            len(found.pairs),
        )
    return plural(
        "Among the values, {count} pair was compared, and differs: {pairs}.",
        "Of {count} pairs of values these differ (Holm's method): {pairs}.",
        len(found.pairs),
        pairs=_some([_pair(found, one) for one in apart], "; "),
    )


def _pair(found: SweepVerdict, pair: ValuePair) -> str:
    amount, one = STUDIES[found.study].amount, pair.difference
    return _(
        "{first} and {second} ({points} points, 95 % interval {low} to {high})",
        first=amount(pair.first),
        second=amount(pair.second),
        points=points(one.value),
        **_ends(one.low, one.high),
    )


def _some(texts: Sequence[str], separator: str = ", ") -> str:
    """The first of them, and how many more there are."""
    names = listed(texts[:_MOST_PAIRS], separator)
    if len(texts) <= _MOST_PAIRS:
        return names
    return _("{names} and {count} more", names=names, count=number(len(texts) - _MOST_PAIRS))


def _steps(found: SweepVerdict) -> Iterable[str]:
    if len(found.steps) < 2:
        return
    if len(found.steps) <= _MOST_PAIRS:
        yield _(
            "From each value to the next, in points, with 95 % intervals that hold together: {steps}.",
            steps=listed([_step(found, one) for one in found.steps], "; "),
        )
        return
    shown = [one for one in found.steps if not one.low <= 0 <= one.high]
    count = number(len(found.steps))
    if not shown:
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
        steps=_some([_step(found, one) for one in shown], "; "),
    )


def _step(found: SweepVerdict, one: Step) -> str:
    amount = STUDIES[found.study].amount
    return _(
        "{first} to {second} {points} ({low} to {high})",
        first=amount(one.first),
        second=amount(one.second),
        points=points(one.difference.value),
        **_ends(one.low, one.high),
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


def _copying(found: SweepVerdict) -> list[str]:
    one = found.copying
    if one is None:
        return []
    return [
        _(
            _COPIES[one.outcome],
            errors=number(one.errors),
            own=percent(one.own),
            alone=percent(one.alone),
            points=signed(100 * one.value, 1),
            low=signed(100 * one.low, 1),
            high=signed(100 * one.high, 1),
            seeds=_("one seed") if one.seeds == 1 else plural("{count} seed", "{count} seeds", one.seeds),
        )
    ]
