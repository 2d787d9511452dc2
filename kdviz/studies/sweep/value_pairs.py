"""Values of a study compared with one another: every pair, and each with the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from kdviz.metrics.equivalence import ALPHA, EQUIVALENT, UNDECIDED, equivalence_p_value
from kdviz.metrics.uncertainty import Difference, holm, paired_difference, simultaneous_intervals

DIFFERENT = "different"

Right = Mapping[int, np.ndarray]
"""Seed -> bool (samples,): who is right where."""


@dataclass(frozen=True)
class ValuePair:
    """Two values of a study, among all pairs of its values.

    Attributes:
        first, second: The values.
        difference: Accuracy of the second less that of the first, over the seeds that both have.
        p_different: That they are equal, two-sided, by Holm's method for all pairs.
        p_equivalent: That they differ by the margin or more, by two one-sided tests and Holm's method for all pairs.
        outcome: ``equivalent`` where ``p_equivalent`` < .05; ``different`` where ``p_different`` is, and the first is
            not; else ``cannot tell``. With one seed always ``cannot tell``.
    """

    first: Any
    second: Any
    difference: Difference
    p_different: float
    p_equivalent: float
    outcome: str

    @property
    def apart(self) -> bool:
        """Whether they differ at all, be it by less than the margin."""
        return self.difference.seeds > 1 and self.p_different < ALPHA


@dataclass(frozen=True)
class Step:
    """A value and the next larger one.

    Attributes:
        first, second: The values.
        difference: Accuracy of the second less that of the first.
        low, high: The interval that holds together with those of all other steps, with probability .95 or more
            (Bonferroni).
    """

    first: Any
    second: Any
    difference: Difference
    low: float
    high: float


def paired(first: Right, second: Right) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, samples) of the seeds that both have."""
    seeds = sorted(first.keys() & second.keys())
    return np.array([first[seed] for seed in seeds]), np.array([second[seed] for seed in seeds])


def all_pairs(right: Mapping[Any, Right], margin: float) -> tuple[ValuePair, ...]:
    """Every pair of values that have a seed in common, in their order.

    Args:
        right: Value -> its runs.
        margin: Of equivalence, a share.
    """
    return judged_pairs(_differences(right, list(combinations(right, 2))), margin)


def judged_pairs(found: Mapping[tuple[Any, Any], Difference], margin: float) -> tuple[ValuePair, ...]:
    """Pairs of values with their differences, judged together by a margin."""
    different = holm([one.p_value for one in found.values()])
    equivalent = holm([equivalence_p_value(one, margin) for one in found.values()])
    return tuple(
        ValuePair(*values, difference, apart, near, _outcome(difference, apart, near))
        for (values, difference), apart, near in zip(found.items(), different, equivalent, strict=True)
    )


def _outcome(difference: Difference, different: float, equivalent: float) -> str:
    if difference.seeds < 2:
        return UNDECIDED
    return EQUIVALENT if equivalent < ALPHA else DIFFERENT if different < ALPHA else UNDECIDED


def steps(right: Mapping[Any, Right]) -> tuple[Step, ...]:
    """Each value against the next; none where values are names, which have no order, and none over one seed."""
    if any(isinstance(value, str) for value in right):
        return ()
    found = _differences(right, list(pairwise(sorted(right))))
    found = {values: one for values, one in found.items() if one.seeds > 1}
    ends = simultaneous_intervals(list(found.values()))
    return tuple(Step(*values, one, *end) for (values, one), end in zip(found.items(), ends, strict=True))


def _differences(right: Mapping[Any, Right], pairs: Sequence[tuple[Any, Any]]) -> dict[tuple[Any, Any], Difference]:
    tables = {values: paired(right[values[0]], right[values[1]]) for values in pairs}
    return {values: paired_difference(*both) for values, both in tables.items() if len(both[0])}
