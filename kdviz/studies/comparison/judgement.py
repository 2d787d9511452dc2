"""What figures allow to be said: yes, no, or cannot tell, by an interval and the margin of what is as good as equal.

A difference that is "not significant" may be large: the data are few. So two are called equal only when the whole
90 % interval of their difference lies within a margin that the reader sees and sets: two one-sided tests at 5 % each
(see :mod:`kdviz.metrics.equivalence`). They are told apart when the 95 % interval excludes zero. Words are made of a
:class:`Judgement`, so that a test can hold a sentence against its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import norm

from kdviz.core.language import _, language, number, plural, signed
from kdviz.metrics import Difference, median_interval
from kdviz.metrics.equivalence import with_samples

Ends = tuple[float, float]

MUCH_HIGHER, HIGHER, NO_LOWER = "much higher", "higher", "no lower"
EQUAL, UNDECIDED = "equal", "undecided"
NO_HIGHER, LOWER, MUCH_LOWER = "no higher", "lower", "much lower"
OUTCOMES = (MUCH_HIGHER, HIGHER, NO_LOWER, EQUAL, UNDECIDED, NO_HIGHER, LOWER, MUCH_LOWER)
"""Where an interval can lie to zero and the margin; see :func:`outcome`."""

AT_LEAST = frozenset({MUCH_HIGHER, HIGHER, NO_LOWER, EQUAL})
"""The difference is above the margin's lower end, or above zero: not worse by more than the margin."""

ACCURATE = AT_LEAST | {MUCH_LOWER}
HELPED = frozenset({MUCH_HIGHER, HIGHER, EQUAL, NO_HIGHER, LOWER, MUCH_LOWER})
"""Outcomes that answer whether one may stand in for another, and whether one is better than another."""

PAIRED, CROSSED, TIMES, STUDY = "paired samples", "seeds and samples", "rounds", "study"
RULES = {
    PAIRED: (
        "Score intervals of the paired difference (Tango, 1998): equal when that of 90 % is within the margin, "
        "different when that of 95 % excludes zero"
    ),
    CROSSED: (
        "Intervals over seeds and samples: equal when that of 90 % is within the margin, different when that of 95 % "
        "excludes zero"
    ),
    TIMES: (
        "Intervals of the median over rounds, by order statistics: equal when that of 90 % is within the margin, "
        "different when that of 95 % excludes 1"
    ),
    STUDY: "The study's 95 % interval: equal when it is within the margin, different when it excludes zero",
}
"""How the intervals were made, and what they decide."""

SAMPLES, ERRORS, ROUNDS, IMAGES = "samples", "errors", "rounds", "images"

_OUTER, _INNER = 0.95, 0.9
_MORE = 0.841621  # standard errors: then 4 of 5 such samples decide
_MOST_SAMPLES = 10**8
_FAR = 100  # times the samples: so near the margin, the number says more of chance than of what would decide


@dataclass(frozen=True)
class Margins:
    """What is as good as equal.

    Attributes:
        accuracy: A share: half a point.
        copied: A share of the teacher's errors.
        speed: Times: 1.1 is 10 % slower or faster.
        maps: A correlation.
    """

    accuracy: float = 0.005
    copied: float = 0.1
    speed: float = 1.1
    maps: float = 0.02


@dataclass(frozen=True)
class Judgement:
    """One comparison, as far as it can be told.

    Attributes:
        outcome: One of ``OUTCOMES``.
        value: Second less first, or of times the second divided by the first.
        low, high: Its interval, of 95 %, or of 90 % where only that is within the margin or beyond it.
        margin: Within which both are as good as equal: +-margin, of times from 1 / margin to margin.
        rule: One of ``RULES``.
        samples: How many, in :attr:`unit`.
        seeds: How many; 1: it tells of these two models only.
        samples_needed: How many would decide in 4 of 5 cases or more, were the shares as they are; None: it is
            decided, or no number would do.
        unit: Of what ``samples`` counts: ``samples``, ``errors``, ``rounds``, ``images``.
        level: Of the interval.
        teachers: How many, in a study of attention.
    """

    outcome: str
    value: float
    low: float
    high: float
    margin: float
    rule: str
    samples: int
    seeds: int = 1
    samples_needed: int | None = None
    unit: str = SAMPLES
    level: float = _OUTER
    teachers: int = 1

    @property
    def one_training(self) -> bool:
        """Whether it tells of these models only."""
        return self.seeds * self.teachers == 1

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out, or of times 1."""
        one = 1.0 if self.rule == TIMES else 0.0
        return self.low > one or self.high < one

    def to_json(self) -> dict[str, Any]:
        """For JSON: what is not finite is None; ``rule_says`` is the rule in words."""
        known = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }
        return {**known, "rule_says": RULES[self.rule]}


def outcome(outer: Ends, inner: Ends, margin: float) -> str:
    """Where two intervals lie to zero and to +-``margin``; one of ``OUTCOMES``.

    ======================  ==============================================================
    ``equal``               all of the inner inside the margin, whether zero is in it or not
    ``much higher``         all of the outer above zero, all of the inner above the margin
    ``higher``              all of the outer above zero, but not all of the inner above the margin
    ``no lower``            zero in the outer; the inner above the margin's lower end, but beyond the upper
    ``undecided``           zero in the outer; the inner beyond both ends of the margin; or not known
    ======================  ==============================================================

    and the same downwards.

    Args:
        outer, inner: Of 95 % and of 90 %.
        margin: Above zero.
    """
    if any(math.isnan(end) for end in (*outer, *inner)):
        return UNDECIDED
    if -margin < inner[0] and inner[1] < margin:
        return EQUAL
    if outer[0] > 0:
        return MUCH_HIGHER if inner[0] > margin else HIGHER
    if outer[1] < 0:
        return MUCH_LOWER if inner[1] < -margin else LOWER
    if inner[0] > -margin:
        return NO_LOWER
    return NO_HIGHER if inner[1] < margin else UNDECIDED


def _shown(says: str, outer: Ends, inner: Ends, margin: float) -> float:
    """The level of the interval that a reader is shown: 95 %, unless only that of 90 % bears the outcome out."""
    return _OUTER if says == UNDECIDED or outcome(outer, outer, margin) == says else _INNER


def of_difference(
    found: Difference, margin: float, decisive: Collection[str] = OUTCOMES, unit: str = SAMPLES
) -> Judgement:
    """Judge a difference of two accuracies or other shares.

    Args:
        found: With its interval.
        margin: As a share.
        decisive: Outcomes that answer the question that was asked; for all others it is told how many samples would.
        unit: Of what the samples are.
    """
    outer, inner = found.interval(_OUTER), found.interval(_INNER)
    says, enough = outcome(outer, inner, margin), frozenset(decisive) - {UNDECIDED}
    needed = None if says in enough else _needed(found, margin, enough)
    level = _shown(says, outer, inner, margin) if says in enough else _OUTER
    low, high = outer if level == _OUTER else inner
    rule = PAIRED if found.seeds == 1 else CROSSED
    return Judgement(says, found.value, low, high, margin, rule, found.samples, found.seeds, needed, unit, level)


def of_times(ratios: np.ndarray, margin: float) -> Judgement:
    """Judge how many times longer one model takes than another.

    Args:
        ratios: Of each round, in which both had their turn; fewer than 6 leave it undecided.
        margin: A factor above 1.
    """
    value = float(np.median(ratios)) if len(ratios) else math.nan
    outer, inner = median_interval(ratios, _OUTER), median_interval(ratios, _INNER)
    says = outcome(_logs(outer), _logs(inner), math.log(margin))
    level = _shown(says, _logs(outer), _logs(inner), math.log(margin))
    low, high = outer if level == _OUTER else inner
    return Judgement(says, value, low, high, margin, TIMES, len(ratios), unit=ROUNDS, level=level)


def _logs(ends: Ends) -> Ends:
    low, high = (math.log(end) if end > 0 else math.nan for end in ends)
    return low, high


def of_study(row: Mapping[str, Any], margin: float) -> Judgement:
    """Judge an effect that a study has given its intervals; a row of attention.parquet.

    Tables of earlier versions have that of 95 % alone; then it is held against the margin too.
    """
    value, *outer = (_finite(row[name]) for name in ("effect", "low", "high"))
    inner = [_finite(row.get(f"inner_{end}")) for end in ("low", "high")]
    inner = outer if any(math.isnan(end) for end in inner) else inner
    says = outcome((outer[0], outer[1]), (inner[0], inner[1]), margin)
    level = _shown(says, (outer[0], outer[1]), (inner[0], inner[1]), margin)
    low, high = outer if level == _OUTER else inner
    counts = {"samples": int(row["images"]), "seeds": int(row["seeds"]), "teachers": int(row.get("teachers") or 1)}
    return Judgement(says, value, low, high, margin, STUDY, **counts, unit=IMAGES, level=level)


def _finite(value: Any) -> float:
    return math.nan if value is None else float(value)


# how many samples would decide ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _needed(found: Difference, margin: float, decisive: frozenset[str]) -> int | None:
    """The least number of samples that would decide in 4 of 5 cases, were all shares as they are."""
    outer, inner = (math.erf((norm.ppf((1 + level) / 2) + _MORE) / math.sqrt(2)) for level in (_OUTER, _INNER))

    def decides(samples: int) -> bool:
        more = with_samples(found, samples)
        return outcome(more.interval(outer), more.interval(inner), margin) in decisive

    return least(decides, found.samples)


def least(decides: Callable[[int], bool], start: int) -> int | None:
    """The least number from ``start`` on at which something becomes true, and stays so; None: none up to 10^8."""
    high = start + 1
    while not decides(high):
        if high >= _MOST_SAMPLES:
            return None
        high = min(2 * high, _MOST_SAMPLES)
    low = start
    while high - low > max(1, low // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


# words ----------------------------------------------------------------------------------------------------------------


_COUNTS = {
    SAMPLES: lambda count: plural("{count} sample", "{count} samples", count),
    ERRORS: lambda count: plural("{count} error", "{count} errors", count),
    ROUNDS: lambda count: plural("{count} round", "{count} rounds", count),
    IMAGES: lambda count: plural("{count} image", "{count} images", count),
}


def basis(judged: Judgement) -> str:
    """What it rests on: ``30 samples``, or ``10,000 samples and 3 seeds``."""
    counted = _COUNTS[judged.unit](judged.samples)
    if judged.rule in (PAIRED, TIMES):
        return counted
    seeds = plural("{count} seed", "{count} seeds", judged.seeds)
    if judged.teachers == 1:
        return _("{samples} and {seeds}", samples=counted, seeds=seeds)
    teachers = plural("{count} teacher", "{count} teachers", judged.teachers)
    return _("{samples}, {seeds} and {teachers}", samples=counted, seeds=seeds, teachers=teachers)


def would_decide(judged: Judgement) -> str:
    """A sentence about how many samples would decide, for a judgement that does not."""
    if judged.samples_needed is not None and judged.samples_needed <= _FAR * judged.samples:
        return _("About {samples} would decide.", samples=_COUNTS[judged.unit](rounded_up(judged.samples_needed)))
    return {
        CROSSED: _("More of them alone would not decide; more seeds might."),
        PAIRED: _("What was measured is so close to the margin that no number can be named that would decide."),
        TIMES: _("Measuring for longer, with nothing else running, may decide."),
        STUDY: _("More seeds and images may decide."),
    }[judged.rule]


def interval(judged: Judgement, low: str, high: str) -> str:
    """``95 % interval -0.53 to -0.18``, of ends that are written already."""
    return _("{level} % interval {low} to {high}", level=number(100 * judged.level), low=low, high=high)


def together(*sentences: str) -> str:
    """Sentences one after another, without those that are empty; Chinese has no space between them."""
    return ("" if language().startswith("zh") else " ").join(filter(None, sentences))


def points(share: float) -> str:
    """A difference of shares in points with its sign: ``-0.35``."""
    return signed(100 * share, 2)


def margin_points(share: float) -> str:
    """A margin in points, with one digit after the point, or two where it has them: ``0.5``."""
    value = round(100 * share, 2)
    return number(value, 1 if round(value, 1) == value else 2)


def rounded_up(count: int) -> int:
    """To two digits, upwards: 8,134 is 8,200.

    >>> rounded_up(8134), rounded_up(85)
    (8200, 85)
    """
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step
