"""What a study says, in words that its statistics allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.analysis.study_kinds import STUDIES
from kdviz.analysis.study_summary import summary
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
        sentences: The verdict in words, best read in order.
    """

    study: str
    value: Any
    split: str
    accuracy: float
    alone: float
    difference: Difference
    tests: tuple[McNemar, ...]
    rivals: tuple[Any, ...]
    sentences: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """``beats``, ``does not beat`` (is worse than) or ``cannot be told from``."""
        if not self.difference.excludes_zero:
            return "cannot be told from"
        return "beats" if self.difference.value > 0 else "does not beat"


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
    found = Verdict(
        study, chosen, split, float(second.mean()), float(first.mean()), difference, tests, rivals, sentences=()
    )
    rows = [row for row in summary(table, study, split) if row["role"] != "teacher"]
    return replace(found, sentences=tuple(_sentences(found, rows, by_validation=value is None)))


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


def _sentences(found: Verdict, rows: Sequence[Mapping[str, Any]], by_validation: bool) -> list[str]:
    study, one = STUDIES[found.study], found.difference
    name = study.distillation(found.value) + (", the best by validation," if by_validation else "")
    over = f"{one.seeds} seeds" if one.seeds > 1 else "one seed"
    if not any(test.fixed or test.broke for test in found.tests):
        return [
            f"Distillation {name} gives the same predictions as training alone ({found.accuracy:.2%}, over {over} and "
            f"{one.samples:,} samples).",
            *_rivals(found),
            *_inherited(found, rows),
        ]
    points = f"{100 * one.value:+.2f} points, 95 % interval {100 * one.low:+.2f} to {100 * one.high:+.2f}"
    sentences = [
        f"Distillation {name} {found.outcome} training alone: {found.accuracy:.2%} against "
        f"{found.alone:.2%} ({points}, over {over} and {one.samples:,} samples)."
    ]
    if one.seeds == 1:
        sentences.append("With one seed the interval says nothing about other seeds.")
    significant = sum(test.p_value < 0.05 for test in found.tests)
    of = "1 seed" if one.seeds == 1 else f"{one.seeds} seeds"
    sentences.append(
        f"It fixes {_range([test.fixed for test in found.tests])} samples and breaks "
        f"{_range([test.broke for test in found.tests])}; "
        f"McNemar's test finds a difference in {significant} of {of} (p < .05)."
    )
    return [*sentences, *_rivals(found), *_inherited(found, rows)]


def _rivals(found: Verdict) -> list[str]:
    shown = STUDIES[found.study].shown
    return [f"Cannot be told from it: {', '.join(map(shown, found.rivals))}."] if found.rivals else []


def _inherited(found: Verdict, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    errors = {(row["role"], row["value"]): row["inherited_errors"] for row in rows}
    alone, own = errors.get(("student", None)), errors.get(("kd_student", found.value))
    if alone is None or own is None:
        return []
    return [f"Of its teacher's errors it repeats {own:.1%}; the student alone repeats {alone:.1%}."]


def _range(values: Sequence[int]) -> str:
    return str(values[0]) if min(values) == max(values) else f"{min(values)} to {max(values)}"
