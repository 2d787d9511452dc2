"""Agreement of saliency maps, against the noise ceiling.

Two maps made with the same masks share the noise of those masks and look alike for that reason alone. So models are
compared across independent halves of the masks (one model's even half with the other's odd half), and each model's
split-half agreement is the most that the comparison can reach.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from scipy import stats

from kdviz.core.errors import SettingError
from kdviz.core.moved import warn_renamed
from kdviz.metrics.similarity import Measure, measures

_LEAST_CEILING = 0.4  # below it the error of a corrected agreement of one picture is larger than its ceiling suggests
_MOST_PAIRED = 8  # units of a half that are left out together with those of the other: more would only cost time
_FEWEST_UNITS = 4  # two in each half: a single unit cannot be left out
_LARGEST_CORRELATION = 1 - 1e-12  # Fisher's z of 1 is infinite


class HalvedMap(Protocol):
    """A map that comes with two independent estimates of itself, (2, H, W).

    It may also have ``jackknife_halves``, float (units, H, W) or None: for each independent unit u of masks, the half
    that u belongs to (``u % 2``) estimated without it. Agreement then comes with an interval.
    """

    @property
    def halves(self) -> np.ndarray: ...

    @property
    def target(self) -> int: ...


@dataclass(frozen=True)
class PairAgreement:
    """Agreement of two models' maps.

    Attributes:
        first, second: Roles.
        agreement: Across independent halves, the mean of both pairings.
        low, high: 95 % interval of ``agreement``: how much it might change with other masks, by leaving
            each unit of masks out of both maps in turn (see :func:`agreement`). It does not cover other
            pictures. NaN when a map has no ``jackknife_halves``, or the maps have different numbers of units or fewer
            than 4.
        ceiling_first, ceiling_second: Agreement of each map with an independent estimate of itself, from as many masks.
        ceiling: sqrt(ceiling_first * ceiling_second): what ``agreement`` would be if the true maps were equal.
            Exact for Pearson's correlation; for other measures when both maps are equally noisy, otherwise a guide.
        corrected: agreement / ceiling: the correlation without the noise of the masks (Spearman, 1904). That holds for
            Pearson's correlation alone, so it is NaN for every other measure: ranks do not add up as values and noise
            do, and Spearman's correlation divided by its ceiling is too high (on digits .06 at a ceiling of .8). NaN
            also when the ceiling is too low (< .4) to divide by.
        same_target: Whether both maps explain the same class.
    """

    first: str
    second: str
    agreement: float
    low: float
    high: float
    ceiling_first: float
    ceiling_second: float
    ceiling: float
    corrected: float
    same_target: bool


_ARROW = {"str": pa.string(), "float": pa.float64(), "bool": pa.bool_()}
_SCHEMA = pa.schema(
    [("measure", pa.string()), *((column.name, _ARROW[str(column.type)]) for column in fields(PairAgreement))]
)


@dataclass(frozen=True)
class AgreementReport:
    """All pairs of models. ``measure`` is the name of the measure."""

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
        raise SettingError("There is no pair of '{first}' and '{second}' in this report.", first=first, second=second)

    def table(self) -> pa.Table:
        """One row per pair, ``measure`` and the columns of :class:`PairAgreement`."""
        return pa.Table.from_pylist([{"measure": self.measure, **asdict(pair)} for pair in self.pairs], _SCHEMA)

    def to_json(self) -> dict[str, Any]:
        pairs = [{key: None if value != value else value for key, value in asdict(pair).items()} for pair in self.pairs]
        return {"measure": self.measure, "pairs": pairs}

    def __str__(self) -> str:
        return "\n".join([f"Agreement ({self.measure})", *map(_line, self.pairs)])


def _line(pair: PairAgreement) -> str:
    interval = "" if pair.low != pair.low else f" [{pair.low:z.2f}, {pair.high:z.2f}]"
    agreement, ceiling = ("–" if value != value else f"{value:z.2f}" for value in (pair.agreement, pair.ceiling))
    return f"{pair.first} / {pair.second}: {agreement}{interval} (noise ceiling {ceiling})"


def agreement(maps: Mapping[str, HalvedMap], measure: str | Measure = "spearman") -> AgreementReport:
    """Agreement of every pair of maps of one picture, with noise ceilings and intervals.

    The interval is the delete-one jackknife over the U units of masks, half by half: a_u is the agreement with unit u
    left out of the half that it belongs to, of both maps, since they share the masks. The halves are two samples, so

        variance = sum over halves h of (m_h - 1) / m_h * sum over u in h of (a_u - mean of h)^2  -  I

    with m_h units in half h (Arvesen, 1969). An agreement is a product of two maps, and the part that both noises make
    together is counted by each half: I is that part once, from the agreements a_uw without a unit of each half,

        I = (m_0 - 1) (m_1 - 1) / (m_0 m_1) * sum over u, w of (a_uw - mean over u - mean over w + mean)^2

    (Efron & Stein, 1981, section 5). With more than 8 units per half, I is estimated from the first 8 of each. At most
    half of the variance is subtracted. The half-width is the root times the quantile of Student's t with U - 2 degrees.
    Correlations are first transformed to Fisher's z; for other measures the interval is clipped to their range.

    Args:
        maps: Role -> map, as :func:`kdviz.explain` gives them.
        measure: ``spearman``, ``pearson``, ``ssim``, ``iou`` or another :class:`~kdviz.metrics.similarity.Measure`.

    Raises:
        SettingError: The maps differ in size.
        UnknownNameError: No such measure.
    """
    name, chosen_measure = (measure, measures[measure]) if isinstance(measure, str) else (measure.name, measure)
    _check_sizes(maps)
    prepared = {role: _PreparedMap.of(saliency_map, chosen_measure) for role, saliency_map in maps.items()}
    return AgreementReport(
        name, tuple(_pair(first, second, prepared, chosen_measure) for first, second in combinations(prepared, 2))
    )


def agreement_table(maps: Mapping[str, HalvedMap], *chosen: str | Measure) -> pa.Table:
    """Several measures in one table: the rows of :meth:`AgreementReport.table`, measure by measure.

    Args:
        maps: Role -> map.
        chosen: Measures, as in :func:`agreement`; none: all registered ones.
    """
    return pa.concat_tables([agreement(maps, measure).table() for measure in chosen or measures])


def _check_sizes(maps: Mapping[str, HalvedMap]) -> None:
    arrays = [
        array
        for saliency_map in maps.values()
        for array in (saliency_map.halves, _jackknife_halves(saliency_map))
        if array is not None
    ]
    sizes = {array.shape[1:] for array in arrays}
    if len(sizes) > 1:
        raise SettingError("Maps of different sizes cannot be compared: {sizes}.", sizes=sorted(sizes))


def _jackknife_halves(saliency_map: HalvedMap) -> np.ndarray | None:
    halves = getattr(saliency_map, "jackknife_halves", None)
    if halves is None and not hasattr(saliency_map, "jackknife_halves") and hasattr(saliency_map, "halves_without"):
        warn_renamed("A map's halves_without", "jackknife_halves")
        return getattr(saliency_map, "halves_without")  # noqa: B009  no longer an attribute of the protocol
    return halves


class _PreparedMap(NamedTuple):
    """A map prepared for comparison: its halves (2, ...), its jackknife halves (units, ...) and its ceiling."""

    halves: np.ndarray
    without: np.ndarray | None
    ceiling: float
    target: int

    @classmethod
    def of(cls, saliency_map: HalvedMap, measure: Measure) -> _PreparedMap:
        halves, without = measure.prepare(saliency_map.halves), _jackknife_halves(saliency_map)
        return cls(
            halves,
            None if without is None else measure.prepare(without),
            float(measure.compare(halves[:1], halves[1:])[0]),
            saliency_map.target,
        )


def _pair(first: str, second: str, prepared: Mapping[str, _PreparedMap], measure: Measure) -> PairAgreement:
    left, right = prepared[first], prepared[second]
    across = float(measure.compare(left.halves, right.halves[::-1]).mean())
    low, high = _interval(across, _jackknife_values(left, right, measure), measure)
    ceiling = float(np.sqrt(max(left.ceiling, 0.0) * max(right.ceiling, 0.0)))
    return PairAgreement(
        first=first,
        second=second,
        agreement=across,
        low=low,
        high=high,
        ceiling_first=left.ceiling,
        ceiling_second=right.ceiling,
        ceiling=ceiling,
        corrected=across / ceiling if measure.disattenuates and ceiling >= _LEAST_CEILING else float("nan"),
        same_target=left.target == right.target,
    )


class _JackknifeValues(NamedTuple):
    """Agreement without single units of masks, (units,), and without one of each half, (even units, odd units), of
    the first units.
    """

    single: np.ndarray
    double: np.ndarray


def _jackknife_values(left: _PreparedMap, right: _PreparedMap, measure: Measure) -> _JackknifeValues | None:
    """Jackknife values of two maps; None when the maps do not have them."""
    if left.without is None or right.without is None or len(left.without) != len(right.without):
        return None
    opposite = 1 - np.arange(len(left.without)) % 2  # the half without the unit in it
    single = (
        measure.compare(left.without, right.halves[opposite]) + measure.compare(left.halves[opposite], right.without)
    ) / 2
    pairs = slice(0, 2 * _MOST_PAIRED, 2), slice(1, 2 * _MOST_PAIRED, 2)
    first, second = left.without[pairs[1]], right.without[pairs[1]]
    double = []
    for a, b in zip(left.without[pairs[0]], right.without[pairs[0]], strict=True):  # one by one: maps may be large
        across = measure.compare(np.broadcast_to(a, second.shape), second)
        double.append((across + measure.compare(first, np.broadcast_to(b, first.shape))) / 2)
    return _JackknifeValues(single, np.array(double))


def _interval(value: float, jackknife_values: _JackknifeValues | None, measure: Measure) -> tuple[float, float]:
    """95 % interval around ``value`` by the jackknife; see :func:`agreement`."""
    if jackknife_values is None or len(jackknife_values.single) < _FEWEST_UNITS:
        return float("nan"), float("nan")
    if not all(np.isfinite(numbers).all() for numbers in (value, *jackknife_values)):
        return float("nan"), float("nan")
    if not measure.correlation:
        half = _half_width(jackknife_values)
        low, high = (value + np.array([-half, half])).clip(measure.least, 1)
    else:
        half = _half_width(_JackknifeValues(*map(_fisher, jackknife_values)))
        low, high = np.tanh(_fisher(value) + np.array([-half, half]))
    return min(float(low), value), max(float(high), value)


def _half_width(values: _JackknifeValues) -> float:
    """Student's t times the root of the jackknife's variance, minus what it counts twice."""
    halves = [values.single[::2], values.single[1::2]]
    variance = sum(_spread(half) * (len(half) - 1) / len(half) for half in halves)
    (even, odd), sizes = values.double.shape, [len(half) for half in halves]
    interaction = values.double - values.double.mean(0) - values.double.mean(1, keepdims=True) + values.double.mean()
    square = np.square(interaction).sum() / ((even - 1) * (odd - 1))  # the squared joint effect of two units
    twice = square * float(np.prod([(size - 1) ** 2 / size for size in sizes]))
    variance = max(variance - twice, variance / 2)  # the joint part of two noises is at most half of it
    return float(stats.t.ppf(0.975, len(values.single) - 2) * np.sqrt(variance))


def _spread(values: np.ndarray) -> float:
    return float(np.square(values - values.mean()).sum())


def _fisher(correlation: Any) -> Any:
    return np.arctanh(np.clip(correlation, -_LARGEST_CORRELATION, _LARGEST_CORRELATION))
