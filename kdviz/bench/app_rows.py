"""Measured figures of the app with their targets, and the statistics behind them."""

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
    """A figure with its target.

    Attributes:
        target: Largest value that passes.
    """

    target: float = math.inf

    @property
    def passed(self) -> bool | None:
        """Whether the target is met; None when the figure could not be measured."""
        return None if math.isnan(self.value) else self.value <= self.target


def repeated_row(
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
        key, text, target, unit: Fields of the row.
        values: All measurements.
        judged: Which of ``median``, ``p95`` and ``worst`` is compared with the target.
        where: Parts of the time, as far as they are known.
    """
    summaries = {"median": median(values), "p95": percentile(values, 95), "worst": max(values, default=math.nan)}
    value = summaries[judged]
    details = {**summaries, "n": len(values), "judged": judged, "target": target, "passed": value <= target}
    return TargetRow(key, text, value, unit, {**details, **({"where": dict(where)} if where else {})}, target)


def single_row(key: str, text: str, value: float, target: float, unit: str, **details: Any) -> TargetRow:
    """The row of a figure that was measured once, or was computed from many."""
    passed = None if math.isnan(value) else value <= target
    return TargetRow(key, text, value, unit, {"target": target, "passed": passed, **details}, target)


def line(row: TargetRow) -> str:
    """A line of the table for people; a missed target is followed by the parts of the time."""
    if math.isinf(row.target):
        word, limit = "", ""  # nothing is asked of it
    else:
        word, limit = {True: "pass", False: "MISS", None: "  - "}[row.passed], f"of {_formatted(row.target):>6}"
    text = f"{word:4}  {_formatted(row.value):>8} {row.unit:3} {limit:9}  {row.text}"
    details = row.details
    if "median" in details:
        text += f" [median {_formatted(details['median'])}, p95 {_formatted(details['p95'])}, n {details['n']}]"
    elif "why" in details:
        text += f" [{details['why']}]"
    if row.passed is False and "where" in details:
        text += "\n" + " " * 6 + ", ".join(f"{name} {_formatted(value)}" for name, value in details["where"].items())
    return text


def _formatted(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.0f}" if float(value).is_integer() or abs(value) >= 100 else f"{value:.3g}"


def median(values: Sequence[float]) -> float:
    """The median; NaN without values."""
    return statistics.median(values) if values else math.nan


def percentile(values: Sequence[float], share: float) -> float:
    """A percentile, interpolated between the two nearest values; NaN without values."""
    if not values:
        return math.nan
    ordered = sorted(values)
    position = (len(ordered) - 1) * share / 100
    low = math.floor(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def medians(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each part of a time that was measured several times."""
    names = list(dict.fromkeys(name for part in parts for name in part))
    return {name: median([part[name] for part in parts if name in part]) for name in names}


@dataclass(frozen=True)
class Slope:
    """The slope of a straight line.

    Attributes:
        value: Change of ``y`` per unit of ``x``.
        error: Its standard error; NaN for fewer than three points.
    """

    value: float
    error: float


def slope(x: Sequence[float], y: Sequence[float], blocks: int = 10) -> Slope:
    """The slope by least squares through the means of blocks of neighbouring points.

    Memory changes in steps, so that neighbours are correlated; single points would make the error far too small.
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
    residual_sum = sum(
        (block_y - fit.intercept - fit.slope * block_x) ** 2 for block_x, block_y in zip(xs, ys, strict=True)
    )
    spread = sum((block_x - statistics.fmean(xs)) ** 2 for block_x in xs)
    return Slope(fit.slope, math.sqrt(residual_sum / (count - 2) / spread))


def time_parts(begun: float, seen: float, sent: Sequence[float], received: Sequence[float]) -> dict[str, float]:
    """The parts of the time from a click to its effect, in seconds.

    Args:
        begun, seen: The click, and the frame that shows its effect, in the page's milliseconds.
        sent, received: Times at which messages were sent and received, likewise.
    """
    first_sent = next((time for time in sent if time >= begun), None)
    if first_sent is None:
        return {"in the browser": (seen - begun) / 1000}
    answers = [time for time in received if first_sent <= time <= seen]
    if not answers:
        return {"until sent": (first_sent - begun) / 1000, "unknown": (seen - first_sent) / 1000}
    parts = {
        "until sent": first_sent - begun,
        "until the server answers": answers[0] - first_sent,
        "until it has told all": answers[-1] - answers[0],
        "until drawn": seen - answers[-1],
    }
    return {name: value / 1000 for name, value in parts.items()}
