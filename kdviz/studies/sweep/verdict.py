"""What a study says: data from which sentences are made that its statistics allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

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
        value: Of what was varied: the best by validation unless another was asked for.
        split: On which it was measured.
        accuracy, alone: Mean accuracies.
        difference: KD student less student alone, over the seeds that both have.
        tests: McNemar's test of each seed.
        rivals: Values that are not shown to be different from this one, when all pairs of values are compared.
        by_validation: Whether the value is the best by validation.
        inherited, inherited_alone: Share of their teacher's errors that the students repeat; None: not known.
        margin: Within which two accuracies are as good as equal; a share.
        doubts: What is said first.
        copying: Whether it repeats more of its teacher's errors than the student alone; None: not known.
        pairs: Every pair of values (Holm).
        steps: Each value against the next, with simultaneous intervals.
        samples_needed: How many samples would decide, if all stayed as it is; None: it is decided, or no number would.
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
    def judged(self) -> Equivalence:
        """The difference by the margin: two one-sided tests."""
        return judge_equivalence(self.difference, self.margin)

    def within(self, margin: float) -> SweepVerdict:
        """The same by another margin, a share, > 0."""
        if margin == self.margin:
            return self
        pairs = judged_pairs({(one.first, one.second): one.difference for one in self.pairs}, margin)
        needed = _needed(self.difference, margin)
        rivals = _rivals(pairs, self.value)
        return replace(self, margin=margin, pairs=pairs, rivals=rivals, samples_needed=needed)

    @property
    def withheld(self) -> bool:
        """Whether its figures allow no verdict, whatever the interval: near chance, or one seed."""
        return any(one.kind in (CHANCE, ONE_SEED) for one in self.doubts)

    @property
    def outcome(self) -> str:
        """``beats``, ``does not beat`` (is worse than), ``is equivalent to`` or ``cannot be told from``."""
        return _OUTCOMES[UNDECIDED if self.withheld else self.judged.outcome]

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON takes it: what is not finite is None."""
        judged = self.judged
        equivalence = {
            "outcome": UNDECIDED if self.withheld else judged.outcome,
            "margin": self.margin,
            "low": judged.low,
            "high": judged.high,
            "level": 1 - 2 * ALPHA,
        }
        more = {"outcome": self.outcome, "equivalence": equivalence}
        return _finite({**asdict(self), **more})


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def verdict(
    table: pa.Table,
    predictions: pa.Table,
    study: str,
    *,
    split: str = "test",
    value: Any = None,
    margin: float = MARGIN,
) -> SweepVerdict | None:
    """Judge a study; None when it has no KD student or no student alone, or their predictions are missing.

    Args:
        table: The study's table.
        predictions: study_predictions.parquet.
        study: One of ``STUDIES``.
        split: On which to judge.
        value: Of the KD students; None: the best by validation accuracy.
        margin: Within which two accuracies are as good as equal; a share, > 0.
    """
    runs = _runs(table, predictions, study, split)
    chosen = best_by_validation(table, study) if value is None else value
    if chosen is None or chosen not in runs or None not in runs:
        return None
    right = {one: {seed: run.right for seed, run in known.items()} for one, known in runs.items()}
    first, second = paired(right[None], right[chosen])
    if first.size == 0 or first.shape[1] < 2:
        return None
    difference = paired_difference(first, second)
    ordered = {one: right[one] for one in _ordered(right)}
    pairs = all_pairs(ordered, margin)
    rows = [row for row in summary(table, study, split) if row["role"] != "teacher"]
    errors = {(row["role"], row["value"]): row["inherited_errors"] for row in rows}
    return SweepVerdict(
        study,
        chosen,
        split,
        float(second.mean()),
        float(first.mean()),
        difference,
        tuple(mcnemar(a, b) for a, b in zip(first, second, strict=True)),
        _rivals(pairs, chosen),
        by_validation=value is None,
        inherited=errors.get(("kd_student", chosen)),
        inherited_alone=errors.get(("student", None)),
        margin=margin,
        doubts=doubts_of(runs[chosen], runs[None], _classes(table)),
        copying=copying(table, study, split, chosen),
        pairs=pairs,
        steps=steps(ordered),
        samples_needed=_needed(difference, margin),
    )


def best_by_validation(table: pa.Table, study: str) -> Any:
    """The value whose KD students have the highest mean validation accuracy, the first of several; None without any."""
    rows = [row for row in summary(table, study, "validation") if row["role"] == "kd_student"]
    return max(rows, key=lambda row: row["accuracy"])["value"] if rows else None


def _needed(difference: Difference, margin: float) -> int | None:
    undecided = judge_equivalence(difference, margin).outcome == UNDECIDED
    return samples_to_decide(difference, margin) if undecided else None


def _ordered(values: Mapping[Any, Any]) -> list[Any]:
    return sorted((one for one in values if one is not None), key=lambda one: (isinstance(one, str), one))


def _rivals(pairs: Sequence[ValuePair], chosen: Any) -> tuple[Any, ...]:
    own = [one for one in pairs if chosen in (one.first, one.second) and one.outcome != DIFFERENT]
    return tuple(one.second if one.first == chosen else one.first for one in own)


def _runs(table: pa.Table, predictions: pa.Table, study: str, split: str) -> dict[Any, dict[int, RunPredictions]]:
    """Value (None: alone) -> seed -> what it says."""
    column = STUDIES[study].column
    rows = [row for row in predictions.to_pylist() if row["split"] == split]
    said = {row["run"]: np.array(row["predicted"]) for row in rows}
    truths = [said[row["run"]] for row in rows if row["role"] == "label"]
    found: dict[Any, dict[int, RunPredictions]] = {}
    for row in table.to_pylist():
        if row["role"] == "teacher" or row["split"] != split or row["run"] not in said:
            continue
        run = _run_of(row, said[row["run"]], truths)
        if run is not None:
            found.setdefault(row[column] if row["role"] == "kd_student" else None, {})[row["seed"]] = run
    return found


def _run_of(row: Mapping[str, Any], said: np.ndarray, truths: Sequence[np.ndarray]) -> RunPredictions | None:
    """A run with its labels; studies of other data leave theirs in the same file, which give another accuracy."""
    for truth in truths:
        if len(truth) == len(said) and abs((said == truth).mean() - row["accuracy"]) < 1e-5:
            return RunPredictions(said, truth)
    return None


def _classes(table: pa.Table) -> int:
    """How many the data have, as far as the table knows."""
    known = table["class_accuracy"].to_pylist() if "class_accuracy" in table.column_names else []
    return max((len(one) for one in known if one), default=0)
