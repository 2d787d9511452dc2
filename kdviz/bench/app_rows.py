"""Measured figures of the app beside what they are held to, and the statistics that they are made of."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from kdviz.bench.rows import Measurement


@dataclass(frozen=True)
class TargetRow(Measurement):
    """A figure and what it is held to.

    Attributes:
        target: The most that it may be.
    """

    target: float = math.inf

    @property
    def passed(self) -> bool | None:
        """Whether it is held; None when it could not be measured."""
        return None if math.isnan(self.value) else self.value <= self.target


def measured(
    key: str,
    text: str,
    values: Sequence[float],
    target: float,
    unit: str = "s",
    *,
    judged: str = "median",
    where: Mapping[str, Any] | None = None,
) -> TargetRow:
    """The row of a figure that was measured several times.

    Args:
        key, text, target, unit: Of the row.
        values: All measurements.
        judged: Which of ``median``, ``p95`` and ``worst`` is held to the target.
        where: Where the time went, as far as it is known.
    """
    known = {"median": median(values), "p95": percentile(values, 95), "worst": max(values, default=math.nan)}
    value = known[judged]
    details = {**known, "n": len(values), "judged": judged, "target": target, "passed": value <= target}
    return TargetRow(key, text, value, unit, {**details, **({"where": dict(where)} if where else {})}, target)


def single(key: str, text: str, value: float, target: float, unit: str, **details: Any) -> TargetRow:
    """The row of a figure that was measured once, or is itself made of many."""
    passed = None if math.isnan(value) else value <= target
    return TargetRow(key, text, value, unit, {"target": target, "passed": passed, **details}, target)


def line(row: TargetRow) -> str:
    """A line of the table for people; one that is missed is followed by where the time went."""
    word = {True: "pass", False: "MISS", None: "  - "}[row.passed]
    text = f"{word}  {_shown(row.value):>8} {row.unit:3} of {_shown(row.target):>6}  {row.text}"
    details = row.details
    if "median" in details:
        text += f" [median {_shown(details['median'])}, p95 {_shown(details['p95'])}, n {details['n']}]"
    elif "why" in details:
        text += f" [{details['why']}]"
    if row.passed is False and "where" in details:
        text += "\n" + " " * 6 + ", ".join(f"{name} {_shown(value)}" for name, value in details["where"].items())
    return text


def _shown(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    """NaN of nothing."""
    return statistics.median(values) if values else math.nan


def percentile(values: Sequence[float], share: float) -> float:
    """Between the two nearest values where it falls between them; NaN of nothing."""
    if not values:
        return math.nan
    ordered = sorted(values)
    at = (len(ordered) - 1) * share / 100
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def medians(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each part of a time that was measured several times."""
    names = list(dict.fromkeys(name for one in parts for name in one))
    return {name: median([one[name] for one in parts if name in one]) for name in names}


@dataclass(frozen=True)
class Slope:
    """A straight line's.

    Attributes:
        value: Of ``y``, for one of ``x``.
        error: Its standard error; NaN of fewer than three points.
    """

    value: float
    error: float


def slope(x: Sequence[float], y: Sequence[float], blocks: int = 10) -> Slope:
    """By least squares through the means of blocks of neighbours.

    Memory goes in steps, so that neighbours are alike; single points would make the error far too small.
    """
    count = min(blocks, len(x))
    if count < 2:
        return Slope(math.nan, math.nan)
    bounds = [round(len(x) * number / count) for number in range(count + 1)]
    pairs = list(pairwise(bounds))
    xs = [statistics.fmean(x[low:high]) for low, high in pairs]
    ys = [statistics.fmean(y[low:high]) for low, high in pairs]
    fit = statistics.linear_regression(xs, ys)
    if count < 3:
        return Slope(fit.slope, math.nan)
    rest = sum((one - fit.intercept - fit.slope * at) ** 2 for at, one in zip(xs, ys, strict=True))
    spread = sum((at - statistics.fmean(xs)) ** 2 for at in xs)
    return Slope(fit.slope, math.sqrt(rest / (count - 2) / spread))


def parts_of(begun: float, seen: float, sent: Sequence[float], received: Sequence[float]) -> dict[str, float]:
    """Where the time from a click to what it shows went, in seconds.

    Args:
        begun, seen: The click, and the frame that shows its effect, in a page's milliseconds.
        sent, received: When messages left and came, likewise.
    """
    left = next((time for time in sent if time >= begun), None)
    if left is None:
        return {"in the browser": (seen - begun) / 1000}
    came = [time for time in received if left <= time <= seen]
    if not came:
        return {"until sent": (left - begun) / 1000, "unknown": (seen - left) / 1000}
    found = {
        "until sent": left - begun,
        "until the server answers": came[0] - left,
        "until it has told all": came[-1] - came[0],
        "until drawn": seen - came[-1],
    }
    return {name: value / 1000 for name, value in found.items()}
