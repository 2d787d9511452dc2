"""Agreement of saliency maps, against the noise ceiling.

Two maps made with the same masks share those masks' noise and look alike for that reason alone. So models are
compared across independent halves of the masks (one model's even half with the other's odd half), and
each model's own split-half correlation says how well the comparison could come out at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from scipy import stats

from kdviz.errors import SettingError
from kdviz.registry import Registry


class HalvedMap(Protocol):
    """A map that comes with two independent estimates of itself, (2, H, W)."""

    @property
    def halves(self) -> np.ndarray: ...

    @property
    def target(self) -> int: ...


measures: Registry[Any] = Registry("agreement measure")


@measures.register("spearman")
def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the pixels' ranks, in [-1, 1]; higher is more alike. NaN when a map is constant."""
    return pearson(stats.rankdata(first), stats.rankdata(second))


@measures.register("pearson")
def pearson(first: np.ndarray, second: np.ndarray) -> float:
    """Linear correlation of the pixels, in [-1, 1]; higher is more alike. NaN when a map is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1])


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of two models' maps.

    Attributes:
        first, second: Roles.
        agreement: Across independent halves, the mean of both pairings.
        ceiling_first, ceiling_second: Each map with an independent estimate of itself, from as many masks.
        ceiling: sqrt(ceiling_first * ceiling_second): what ``agreement`` would be if the true maps were equal.
        corrected: agreement / ceiling: the correlation without the masks' noise (Spearman, 1904). NaN
            when the ceiling is too low (< .1) to divide by.
        same_target: Whether both maps explain the same class.
    """

    first: str
    second: str
    agreement: float
    ceiling_first: float
    ceiling_second: float
    ceiling: float
    corrected: float
    same_target: bool


@dataclass(frozen=True)
class AgreementReport:
    """All pairs of models. ``measure`` is how two maps were compared."""

    measure: str
    pairs: tuple[PairAgreement, ...]

    def between(self, first: str, second: str) -> PairAgreement:
        """The pair of two roles, in either order.

        Raises:
            SettingError: There is no such pair.
        """
        for pair in self.pairs:
            if {pair.first, pair.second} == {first, second}:
                return pair
        raise SettingError(f"There is no pair of '{first}' and '{second}' in this report.")

    def table(self) -> pa.Table:
        """One row a pair, the columns of :class:`PairAgreement` and ``measure``."""
        return pa.Table.from_pylist([{"measure": self.measure, **asdict(pair)} for pair in self.pairs])

    def to_json(self) -> dict[str, Any]:
        pairs = [{key: None if value != value else value for key, value in asdict(pair).items()} for pair in self.pairs]
        return {"measure": self.measure, "pairs": pairs}

    def __str__(self) -> str:
        lines = [
            f"{pair.first} / {pair.second}: {pair.agreement:.2f} (noise ceiling {pair.ceiling:.2f})"
            for pair in self.pairs
        ]
        return "\n".join([f"Agreement ({self.measure})", *lines])


def agreement(maps: Mapping[str, HalvedMap], measure: str = "spearman") -> AgreementReport:
    """Agreement of every pair of maps of one picture, with noise ceilings.

    Args:
        maps: Role -> map, as :func:`kdviz.explain` gives them.
        measure: ``spearman`` or ``pearson``.

    Raises:
        SettingError: The maps differ in size.
        UnknownNameError: No such measure.
    """
    compare = measures[measure]
    sizes = {saliency_map.halves.shape for saliency_map in maps.values()}
    if len(sizes) > 1:
        raise SettingError(f"Maps of different sizes cannot be compared: {sorted(sizes)}.")
    ceilings = {role: compare(*saliency_map.halves) for role, saliency_map in maps.items()}
    return AgreementReport(
        measure, tuple(_pair(maps, first, second, ceilings, compare) for first, second in combinations(maps, 2))
    )


def _pair(
    maps: Mapping[str, HalvedMap], first: str, second: str, ceilings: Mapping[str, float], compare: Any
) -> PairAgreement:
    (even, odd), (other_even, other_odd) = maps[first].halves, maps[second].halves
    across = (compare(even, other_odd) + compare(odd, other_even)) / 2
    product = max(ceilings[first], 0.0) * max(ceilings[second], 0.0)
    ceiling = float(np.sqrt(product))
    return PairAgreement(
        first=first,
        second=second,
        agreement=across,
        ceiling_first=ceilings[first],
        ceiling_second=ceilings[second],
        ceiling=ceiling,
        corrected=across / ceiling if ceiling >= 0.1 else float("nan"),
        same_target=maps[first].target == maps[second].target,
    )
