"""Whether a KD student repeats more of its teacher's errors than the same student alone does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from kdviz.core.vocabulary import Role
from kdviz.metrics.uncertainty import LEVEL, interval_of
from kdviz.studies.sweep.kinds import STUDIES

MORE, FEWER, UNDECIDED = "more", "fewer", "cannot tell"


@dataclass(frozen=True)
class Copying:
    """Shares of the teacher's errors that are repeated, over seeds.

    Attributes:
        own, alone: Mean shares of the KD student and of the student alone.
        value: Their mean difference, paired by seed.
        low, high: Its 95 % interval over seeds and the teacher's errors.
        errors: Number of errors of the teacher.
        seeds: Number of seeds that both have.
        outcome: ``more`` or ``fewer`` where the interval excludes 0, else ``cannot tell``; with one seed always
            ``cannot tell``.
    """

    own: float
    alone: float
    value: float
    low: float
    high: float
    errors: int
    seeds: int
    outcome: str


def copying(table: pa.Table, study: str, split: str, value: Any) -> Copying | None:
    """The copying of errors by a study's table; None where the shares or the teacher's errors are not known.

    The table has shares, not which errors are repeated. So the variance over errors is that of two independent shares,
    (p q + p' q') / errors, each with 2 successes and 2 failures more (Agresti and Coull, 1998): an upper bound, as both
    students tend to repeat the same errors. The interaction of seeds and errors is in both parts, so that the interval
    is wide rather than narrow. A student alone has no share in the study of teachers, where each value has its own
    teachers.

    Args:
        table: The study's table.
        study: One of ``STUDIES``.
        split: The split on which errors are counted.
        value: Value of the KD students.
    """
    column = STUDIES[study].column
    rows = [row for row in table.to_pylist() if row["split"] == split]
    of_kd = {
        row["seed"]: row["inherited_errors"] for row in rows if (row["role"], row[column]) == (Role.KD_STUDENT, value)
    }
    of_alone = {row["seed"]: row["inherited_errors"] for row in rows if row["role"] == Role.STUDENT}
    seeds = [
        seed for seed in sorted(of_kd.keys() & of_alone.keys()) if _is_known(of_kd[seed]) and _is_known(of_alone[seed])
    ]
    errors = _errors(rows, column, value)
    if not seeds or errors < 2:
        return None
    first, second = (np.array([shares[seed] for seed in seeds]) for shares in (of_alone, of_kd))
    difference = second - first
    by_error = sum(_binomial(float(share.mean()), errors) for share in (first, second))
    by_seed = float(difference.var(ddof=1) / len(seeds)) if len(seeds) > 1 else float("nan")
    mean = float(difference.mean())
    low, high = interval_of(mean, [(by_error, errors - 1), (by_seed, max(1, len(seeds) - 1))], LEVEL)
    low, high = max(low, -1.0), min(high, 1.0)  # a difference of shares lies between -1 and 1
    shares = float(second.mean()), float(first.mean())
    return Copying(*shares, mean, low, high, errors, len(seeds), _outcome(low, high, len(seeds)))


def _binomial(share: float, count: int) -> float:
    """The variance of a share, with 2 successes and 2 failures more, so that 0 of 5 has a variance, too."""
    share = (share * count + 2) / (count + 4)
    return share * (1 - share) / count


def _is_known(share: float | None) -> bool:
    return share is not None and share == share


def _errors(rows: list[dict[str, Any]], column: str, value: Any) -> int:
    """The smallest number of errors of a teacher of these students; 0: not known."""
    teachers = [row for row in rows if row["role"] == Role.TEACHER and row[column] in (None, value)]
    counts = [round((1 - row["accuracy"]) * row["samples"]) for row in teachers if row["samples"]]
    return min(counts, default=0)


def _outcome(low: float, high: float, seeds: int) -> str:
    if seeds < 2:
        return UNDECIDED
    return MORE if low > 0 else FEWER if high < 0 else UNDECIDED
