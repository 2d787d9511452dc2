"""The verdict of a sweep as data, from which sentences are made that its statistics allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.vocabulary import Role, Split
from kdviz.metrics import Difference, McNemar, mcnemar, paired_difference
from kdviz.metrics.equivalence import (
    ALPHA,
    BETTER,
    EQUIVALENT,
    MARGIN,
    UNDECIDED,
    WORSE,
    Equivalence,
    judge_equivalence,
    samples_to_decide,
)
from kdviz.studies.json_values import finite
from kdviz.studies.sweep.copying import Copying, copying
from kdviz.studies.sweep.doubts import CHANCE, ONE_SEED, Caveat, RunPredictions, doubts_of
from kdviz.studies.sweep.kinds import STUDIES
from kdviz.studies.sweep.summary import summary
from kdviz.studies.sweep.value_pairs import DIFFERENT, Step, ValuePair, all_pairs, judged_pairs, paired, steps

_OUTCOMES = {
    BETTER: "beats",
    WORSE: "does not beat",
    EQUIVALENT: "is equivalent to",
    UNDECIDED: "cannot be told from",
}


@dataclass(frozen=True)
class SweepVerdict:
    """The KD students of one value against the same students alone, on one split.

    Attributes:
        study: Its name in ``STUDIES``.
        value: The value of what was varied: the best by validation unless another was requested.
        split: The split on which it was measured.
        accuracy, alone: Mean accuracies of the KD students and of the students alone.
        difference: KD student less student alone, over the seeds that both have.
        tests: McNemar's test of each seed.
        rivals: Values that are not shown to be different from this one, when all pairs of values are compared.
        by_validation: Whether the value is the best by validation.
        inherited, inherited_alone: Share of their teacher's errors that the students repeat; None: not known.
        margin: Margin within which two accuracies count as equal, a share.
        doubts: What rules out or limits the verdict.
        copying: Whether it repeats more of its teacher's errors than the student alone; None: not known.
        pairs: Every pair of values, with p-values adjusted by Holm's method.
        steps: Each value against the next, with simultaneous intervals.
        samples_needed: Number of samples that would decide, if all else stayed as it is; None: it is decided, or none
            would.
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
    margin: float = MARGIN
    doubts: tuple[Caveat, ...] = ()
    copying: Copying | None = None
    pairs: tuple[ValuePair, ...] = ()
    steps: tuple[Step, ...] = ()
    samples_needed: int | None = None

    @property
    def equivalence(self) -> Equivalence:
        """The difference judged by the margin, with two one-sided tests."""
        return judge_equivalence(self.difference, self.margin)

    def within(self, margin: float) -> SweepVerdict:
        """The same verdict by another margin, a share > 0."""
        if margin == self.margin:
            return self
        pairs = judged_pairs({(pair.first, pair.second): pair.difference for pair in self.pairs}, margin)
        needed = _needed(self.difference, margin)
        rivals = _rivals(pairs, self.value)
        return replace(self, margin=margin, pairs=pairs, rivals=rivals, samples_needed=needed)

    @property
    def withheld(self) -> bool:
        """Whether no verdict is allowed, whatever the interval: accuracies are near chance, or there is one seed."""
        return any(doubt.kind in (CHANCE, ONE_SEED) for doubt in self.doubts)

    @property
    def outcome(self) -> str:
        """``beats``, ``does not beat`` (is worse than), ``is equivalent to`` or ``cannot be told from``."""
        return _OUTCOMES[UNDECIDED if self.withheld else self.equivalence.outcome]

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON; values that are not finite are None."""
        equivalence = self.equivalence
        document = {
            "outcome": UNDECIDED if self.withheld else equivalence.outcome,
            "margin": self.margin,
            "low": equivalence.low,
            "high": equivalence.high,
            "level": 1 - 2 * ALPHA,
        }
        more = {"outcome": self.outcome, "equivalence": document}
        return finite({**asdict(self), **more})


def verdict(
    table: pa.Table,
    predictions: pa.Table,
    study: str,
    *,
    split: str = Split.TEST,
    value: Any = None,
    margin: float = MARGIN,
) -> SweepVerdict | None:
    """Judge a study; None when it has no KD student or no student alone, or their predictions are missing.

    Args:
        table: The study's table.
        predictions: study_predictions.parquet.
        study: One of ``STUDIES``.
        split: The split to judge on.
        value: Value of the KD students; None: the best by validation accuracy.
        margin: Margin within which two accuracies count as equal, a share > 0.
    """
    runs = runs_by_value(table, predictions, study, split)
    chosen_value = best_by_validation(table, study) if value is None else value
    if chosen_value is None or chosen_value not in runs or None not in runs:
        return None
    right = {
        run_value: {seed: run.right for seed, run in runs_of_value.items()} for run_value, runs_of_value in runs.items()
    }
    first, second = paired(right[None], right[chosen_value])
    if first.size == 0 or first.shape[1] < 2:
        return None
    difference = paired_difference(first, second)
    ordered = {run_value: right[run_value] for run_value in _sorted_values(right)}
    pairs = all_pairs(ordered, margin)
    rows = [row for row in summary(table, study, split) if row["role"] != Role.TEACHER]
    errors = {(row["role"], row["value"]): row["inherited_errors"] for row in rows}
    return SweepVerdict(
        study,
        chosen_value,
        split,
        float(second.mean()),
        float(first.mean()),
        difference,
        tuple(mcnemar(a, b) for a, b in zip(first, second, strict=True)),
        _rivals(pairs, chosen_value),
        by_validation=value is None,
        inherited=errors.get((Role.KD_STUDENT, chosen_value)),
        inherited_alone=errors.get((Role.STUDENT, None)),
        margin=margin,
        doubts=doubts_of(runs[chosen_value], runs[None], _classes(table)),
        copying=copying(table, study, split, chosen_value),
        pairs=pairs,
        steps=steps(ordered),
        samples_needed=_needed(difference, margin),
    )


def best_by_validation(table: pa.Table, study: str) -> Any:
    """The value whose KD students have the highest mean validation accuracy, the first of several; None without any."""
    rows = [row for row in summary(table, study, Split.VALIDATION) if row["role"] == Role.KD_STUDENT]
    return max(rows, key=lambda row: row["accuracy"])["value"] if rows else None


def _needed(difference: Difference, margin: float) -> int | None:
    undecided = judge_equivalence(difference, margin).outcome == UNDECIDED
    return samples_to_decide(difference, margin) if undecided else None


def _sorted_values(values: Mapping[Any, Any]) -> list[Any]:
    return sorted((value for value in values if value is not None), key=lambda value: (isinstance(value, str), value))


def _rivals(pairs: Sequence[ValuePair], value: Any) -> tuple[Any, ...]:
    pairs_of_value = [pair for pair in pairs if value in (pair.first, pair.second) and pair.outcome != DIFFERENT]
    return tuple(pair.second if pair.first == value else pair.first for pair in pairs_of_value)


def runs_by_value(
    table: pa.Table, predictions: pa.Table, study: str, split: str
) -> dict[Any, dict[int, RunPredictions]]:
    """Value (None: the student alone) -> seed -> predictions."""
    column = STUDIES[study].column
    rows = [row for row in predictions.to_pylist() if row["split"] == split]
    predicted = {row["run"]: np.array(row["predicted"]) for row in rows}
    label_rows = [predicted[row["run"]] for row in rows if row["role"] == "label"]
    runs: dict[Any, dict[int, RunPredictions]] = {}
    for row in table.to_pylist():
        if row["role"] == Role.TEACHER or row["split"] != split or row["run"] not in predicted:
            continue
        run = _with_labels(row, predicted[row["run"]], label_rows)
        if run is not None:
            runs.setdefault(row[column] if row["role"] == Role.KD_STUDENT else None, {})[row["seed"]] = run
    return runs


def _with_labels(
    row: Mapping[str, Any], predicted: np.ndarray, label_rows: Sequence[np.ndarray]
) -> RunPredictions | None:
    """A run with its labels, found by its accuracy: the same file may hold labels of studies of other data."""
    for labels in label_rows:
        if len(labels) == len(predicted) and abs((predicted == labels).mean() - row["accuracy"]) < 1e-5:
            return RunPredictions(predicted, labels)
    return None


def _classes(table: pa.Table) -> int:
    """Number of classes of the data; 0 where the table does not have it."""
    accuracies = table["class_accuracy"].to_pylist() if "class_accuracy" in table.column_names else []
    return max((len(by_class) for by_class in accuracies if by_class), default=0)
