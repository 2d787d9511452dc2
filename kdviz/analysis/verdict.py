"""What a study says, in words that its statistics allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.analysis.study_kinds import STUDIES
from kdviz.analysis.study_summary import summary
from kdviz.language import N_, _, listed, number, percent, plural, signed
from kdviz.metrics import Difference, McNemar, mcnemar, paired_difference


@dataclass(frozen=True)
class Verdict:
    """The KD students of one value against the same students alone, on one split.

    Attributes:
        study: Its name in ``STUDIES``.
        value: Of what was varied: the best by validation unless another was asked for.
        split: On which it was measured.
        accuracy, alone: Mean accuracies.
        difference: KD student less student alone, over the seeds that both have.
        tests: McNemar's test of each seed.
        rivals: Values that cannot be told from this one, by the same interval.
        by_validation: Whether the value is the best by validation.
        inherited, inherited_alone: Share of their teacher's errors that the students repeat; None: not known.
    """

    study: str
    value: Any
    split: str
    accuracy: float
    alone: float
    difference: Difference
    tests: tuple[McNemar, ...]
    rivals: tuple[Any, ...]
    by_validation: bool
    inherited: float | None
    inherited_alone: float | None

    @property
    def outcome(self) -> str:
        """``beats``, ``does not beat`` (is worse than) or ``cannot be told from``."""
        if not self.difference.excludes_zero:
            return "cannot be told from"
        return "beats" if self.difference.value > 0 else "does not beat"

    @property
    def sentences(self) -> tuple[str, ...]:
        """The verdict in words, in the reader's language; best read in order."""
        return tuple(_sentences(self))


def verdict(
    table: pa.Table, predictions: pa.Table, study: str, *, split: str = "test", value: Any = None
) -> Verdict | None:
    """Judge a study; None when it has no KD student or no student alone, or their predictions are missing.

    Args:
        table: The study's table.
        predictions: study_predictions.parquet.
        study: One of ``STUDIES``.
        split: On which to judge.
        value: Of the KD students; None: the best by validation accuracy.
    """
    right = _right(table, predictions, study, split)
    chosen = best_by_validation(table, study) if value is None else value
    if chosen is None or chosen not in right or None not in right:
        return None
    first, second = _paired(right[None], right[chosen])
    if not len(first):
        return None
    difference = paired_difference(first, second)
    tests = tuple(mcnemar(a, b) for a, b in zip(first, second, strict=True))
    rivals = tuple(other for other in right if other not in (None, chosen) and not _apart(right[chosen], right[other]))
    rows = [row for row in summary(table, study, split) if row["role"] != "teacher"]
    errors = {(row["role"], row["value"]): row["inherited_errors"] for row in rows}
    return Verdict(
        study,
        chosen,
        split,
        float(second.mean()),
        float(first.mean()),
        difference,
        tests,
        rivals,
        by_validation=value is None,
        inherited=errors.get(("kd_student", chosen)),
        inherited_alone=errors.get(("student", None)),
    )


def best_by_validation(table: pa.Table, study: str) -> Any:
    """The value whose KD students have the highest mean validation accuracy, the first of several; None without any."""
    rows = [row for row in summary(table, study, "validation") if row["role"] == "kd_student"]
    return max(rows, key=lambda row: row["accuracy"])["value"] if rows else None


def _right(table: pa.Table, predictions: pa.Table, study: str, split: str) -> dict[Any, dict[int, np.ndarray]]:
    """Value (None: alone) -> seed -> bool (samples,): who is right where."""
    column = STUDIES[study].column
    rows = [row for row in predictions.to_pylist() if row["split"] == split]
    said = {row["run"]: np.array(row["predicted"]) for row in rows}
    truths = [said[row["run"]] for row in rows if row["role"] == "label"]
    found: dict[Any, dict[int, np.ndarray]] = {}
    for row in table.to_pylist():
        if row["role"] == "teacher" or row["split"] != split or row["run"] not in said:
            continue
        right = _right_of(row, said[row["run"]], truths)
        if right is not None:
            found.setdefault(row[column] if row["role"] == "kd_student" else None, {})[row["seed"]] = right
    return found


def _right_of(row: Mapping[str, Any], said: np.ndarray, truths: Sequence[np.ndarray]) -> np.ndarray | None:
    """Where a run is right; studies of other data leave their labels in the same file, which give another accuracy."""
    for truth in truths:
        if len(truth) == len(said) and abs((said == truth).mean() - row["accuracy"]) < 1e-5:
            return said == truth
    return None


def _paired(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, samples) of the seeds that both have."""
    seeds = sorted(first.keys() & second.keys())
    return np.array([first[seed] for seed in seeds]), np.array([second[seed] for seed in seeds])


def _apart(first: Mapping[int, np.ndarray], second: Mapping[int, np.ndarray]) -> bool:
    a, b = _paired(first, second)
    return len(a) > 0 and paired_difference(a, b).excludes_zero


def _sentences(found: Verdict) -> list[str]:
    one = found.difference
    values = {
        "distillation": _distillation(found),
        "accuracy": percent(found.accuracy, 2),
        "alone": percent(found.alone, 2),
        "seeds": _("one seed") if one.seeds == 1 else plural("{count} seed", "{count} seeds", one.seeds),
        "samples": plural("{count} sample", "{count} samples", one.samples),
    }
    if not any(test.fixed or test.broke for test in found.tests):
        same = _(
            "{distillation} gives the same predictions as training alone ({accuracy}, over {seeds} and {samples}).",
            **values,
        )
        return [same, *_rivals(found), *_inherited(found)]
    points = {
        "points": signed(100 * one.value, 2),
        "low": signed(100 * one.low, 2),
        "high": signed(100 * one.high, 2),
    }
    sentences = [_(_claim(found), **values, **points)]
    if one.seeds == 1:
        sentences.append(_("With one seed the interval says nothing about other seeds."))
    return [*sentences, _tests(found), *_rivals(found), *_inherited(found)]


def _distillation(found: Verdict) -> str:
    study = STUDIES[found.study]
    return _(study.best if found.by_validation else study.subject, value=study.amount(found.value))


def _claim(found: Verdict) -> str:
    return {
        "beats": N_(
            "{distillation} beats training alone: {accuracy} against {alone} ({points} points, 95 % interval {low} to "
            "{high}, over {seeds} and {samples})."
        ),
        "does not beat": N_(
            "{distillation} does not beat training alone: {accuracy} against {alone} ({points} points, 95 % interval "
            "{low} to {high}, over {seeds} and {samples})."
        ),
        "cannot be told from": N_(
            "{distillation} cannot be told from training alone: {accuracy} against {alone} ({points} points, 95 % "
            "interval {low} to {high}, over {seeds} and {samples})."
        ),
    }[found.outcome]


def _tests(found: Verdict) -> str:
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


def _rivals(found: Verdict) -> list[str]:
    amount = STUDIES[found.study].amount
    return [_("Cannot be told from it: {values}.", values=listed(map(amount, found.rivals)))] if found.rivals else []


def _inherited(found: Verdict) -> list[str]:
    if found.inherited is None or found.inherited_alone is None:
        return []
    return [
        _(
            "Of its teacher's errors it repeats {own}; the student alone repeats {alone}.",
            own=percent(found.inherited),
            alone=percent(found.inherited_alone),
        )
    ]


def _range(values: Sequence[int]) -> str:
    if min(values) == max(values):
        return number(values[0])
    return _("{low} to {high}", low=number(min(values)), high=number(max(values)))
