"""Comparisons of a study's values: every pair, and each value with the next."""

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
"""Seed -> bool (samples,): where its model is right."""


@dataclass(frozen=True)
class ValuePair:
    """Two values of a study, among all pairs of its values.

    Attributes:
        first, second: The values.
        difference: Accuracy of the second less that of the first, over the seeds that both have.
        p_different: Two-sided p-value of equality, adjusted for all pairs by Holm's method.
        p_equivalent: p-value of a difference of the margin or more, by two one-sided tests, adjusted likewise.
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
        """Whether they differ, even if by less than the margin."""
        return self.difference.seeds > 1 and self.p_different < ALPHA


@dataclass(frozen=True)
class Step:
    """A value and the next larger one.

    Attributes:
        first, second: The values.
        difference: Accuracy of the second less that of the first.
        low, high: The interval that holds simultaneously with those of all other steps, at a level of .95 (Bonferroni).
    """

    first: Any
    second: Any
    difference: Difference
    low: float
    high: float


def paired(first: Right, second: Right) -> tuple[np.ndarray, np.ndarray]:
    """Both as bool (seeds, samples), for the seeds that both have."""
    seeds = sorted(first.keys() & second.keys())
    return np.array([first[seed] for seed in seeds]), np.array([second[seed] for seed in seeds])


def all_pairs(right: Mapping[Any, Right], margin: float) -> tuple[ValuePair, ...]:
    """Every pair of values that have a seed in common, in their order.

    Args:
        right: Value -> seed -> where its model is right.
        margin: Margin of equivalence, a share.
    """
    return judged_pairs(_differences(right, list(combinations(right, 2))), margin)


def judged_pairs(differences: Mapping[tuple[Any, Any], Difference], margin: float) -> tuple[ValuePair, ...]:
    """Judge pairs of values by their differences and a margin, with p-values adjusted for all of them."""
    different = holm([difference.p_value for difference in differences.values()])
    equivalent = holm([equivalence_p_value(difference, margin) for difference in differences.values()])
    return tuple(
        ValuePair(*values, difference, p_different, p_equivalent, _outcome(difference, p_different, p_equivalent))
        for (values, difference), p_different, p_equivalent in zip(
            differences.items(), different, equivalent, strict=True
        )
    )


def _outcome(difference: Difference, different: float, equivalent: float) -> str:
    if difference.seeds < 2:
        return UNDECIDED
    return EQUIVALENT if equivalent < ALPHA else DIFFERENT if different < ALPHA else UNDECIDED


def steps(right: Mapping[Any, Right]) -> tuple[Step, ...]:
    """Each value against the next, over several seeds; empty where values are names, which have no order."""
    if any(isinstance(value, str) for value in right):
        return ()
    differences = _differences(right, list(pairwise(sorted(right))))
    differences = {values: difference for values, difference in differences.items() if difference.seeds > 1}
    ends = simultaneous_intervals(list(differences.values()))
    return tuple(
        Step(*values, difference, *end) for (values, difference), end in zip(differences.items(), ends, strict=True)
    )


def _differences(right: Mapping[Any, Right], pairs: Sequence[tuple[Any, Any]]) -> dict[tuple[Any, Any], Difference]:
    tables = {values: paired(right[values[0]], right[values[1]]) for values in pairs}
    return {values: paired_difference(*pair) for values, pair in tables.items() if len(pair[0])}
