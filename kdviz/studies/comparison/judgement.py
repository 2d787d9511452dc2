"""What results allow to conclude: yes, no, or cannot tell, by an interval and a margin within which two are equal.

With few data a difference that is "not significant" may be large. So two models are called equal only when the whole
90 % interval of their difference lies within a margin that the reader sees and sets: two one-sided tests at 5 % each
(see :mod:`kdviz.metrics.equivalence`). They differ when the 95 % interval excludes zero. Sentences are made from a
:class:`Judgement`, so that a test can check a sentence against its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.special import ndtri

from kdviz.core.language import _, interval_digits, language, number, plural, signed_interval
from kdviz.metrics import Difference, median_interval
from kdviz.metrics.equivalence import with_samples

Ends = tuple[float, float]

MUCH_HIGHER, HIGHER, NO_LOWER = "much higher", "higher", "no lower"
EQUAL, UNDECIDED = "equal", "undecided"
NO_HIGHER, LOWER, MUCH_LOWER = "no higher", "lower", "much lower"
OUTCOMES = (MUCH_HIGHER, HIGHER, NO_LOWER, EQUAL, UNDECIDED, NO_HIGHER, LOWER, MUCH_LOWER)
"""How an interval can lie relative to zero and the margin; see :func:`outcome`."""

AT_LEAST = frozenset({MUCH_HIGHER, HIGHER, NO_LOWER, EQUAL})
"""Outcomes of a difference that is not below zero by more than the margin."""

ACCURATE = AT_LEAST | {MUCH_LOWER}
HELPED = frozenset({MUCH_HIGHER, HIGHER, EQUAL, NO_HIGHER, LOWER, MUCH_LOWER})
"""Outcomes that answer whether one model may stand in for another (``ACCURATE``) or is better (``HELPED``)."""

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
"""Rule -> how its intervals are made, and what they decide."""

SAMPLES, ERRORS, ROUNDS, IMAGES = "samples", "errors", "rounds", "images"

_OUTER, _INNER = 0.95, 0.9
_MORE = 0.841621  # standard errors: then 4 of 5 such samples decide
_MOST_SAMPLES = 10**8
_FAR = 100  # times the samples: beyond these the number depends more on chance than on what would decide


@dataclass(frozen=True)
class Margins:
    """The margins within which two models count as equal.

    Attributes:
        accuracy: A share of the samples; 0.005 is half a percentage point.
        copied: A share of the teacher's errors.
        speed: A factor; 1.1 is 10 % slower or faster.
        maps: A difference of correlations.
    """

    accuracy: float = 0.005
    copied: float = 0.1
    speed: float = 1.1
    maps: float = 0.02


@dataclass(frozen=True)
class Judgement:
    """The result of one comparison.

    Attributes:
        outcome: One of ``OUTCOMES``.
        value: Second less first; for times, the second divided by the first.
        low, high: Its 95 % interval, or the 90 % interval where only that one bears the outcome out.
        margin: Margin within which both count as equal: +-margin; for times, from 1 / margin to margin.
        rule: A key of ``RULES``.
        samples: Number of samples, in :attr:`unit`.
        seeds: Number of seeds; with 1 the result is about these two models only.
        samples_needed: Number of samples that would decide in at least 4 of 5 cases, if shares stayed as they are;
            None: it is decided, or no number would suffice.
        unit: What ``samples`` counts: ``samples``, ``errors``, ``rounds``, ``images``.
        level: Level of the interval.
        teachers: Number of teachers, in a study of attention.
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
        """Whether it is about these models only."""
        return self.seeds * self.teachers == 1

    @property
    def sure(self) -> bool:
        """Whether the interval excludes zero, or 1 for times."""
        neutral = 1.0 if self.rule == TIMES else 0.0
        return self.low > neutral or self.high < neutral

    def to_json(self) -> dict[str, Any]:
        """The judgement as JSON: values that are not finite are None; ``rule_says`` is the rule in words."""
        values = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }
        return {**values, "rule_says": RULES[self.rule]}


def outcome(outer: Ends, inner: Ends, margin: float) -> str:
    """How two intervals lie relative to zero and to +-``margin``; one of ``OUTCOMES``.

    ======================  ==============================================================
    ``equal``               all of the inner inside the margin, whether zero is in it or not
    ``much higher``         all of the outer above zero, all of the inner above the margin
    ``higher``              all of the outer above zero, but not all of the inner above the margin
    ``no lower``            zero in the outer; the inner above the margin's lower end, but beyond the upper
    ``undecided``           zero in the outer; the inner beyond both ends of the margin; or an end that is NaN
    ======================  ==============================================================

    and likewise downwards.

    Args:
        outer, inner: The 95 % and the 90 % interval.
        margin: The margin, above zero.
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


def _level_to_show(verdict: str, outer: Ends, inner: Ends, margin: float) -> float:
    """The level of the interval that a reader sees: 95 %, unless only the 90 % interval bears the outcome out."""
    return _OUTER if verdict == UNDECIDED or outcome(outer, outer, margin) == verdict else _INNER


def judge_difference(
    difference: Difference, margin: float, decisive: Collection[str] = OUTCOMES, unit: str = SAMPLES
) -> Judgement:
    """Judge a difference of two accuracies or other shares.

    Args:
        difference: The difference, with its interval.
        margin: The margin, as a share.
        decisive: Outcomes that answer the question; for all others ``samples_needed`` is computed.
        unit: What the samples are: ``SAMPLES`` or ``ERRORS``.
    """
    outer, inner = difference.interval(_OUTER), difference.interval(_INNER)
    verdict, deciding = outcome(outer, inner, margin), frozenset(decisive) - {UNDECIDED}
    needed = None if verdict in deciding else _needed(difference, margin, deciding)
    level = _level_to_show(verdict, outer, inner, margin) if verdict in deciding else _OUTER
    low, high = outer if level == _OUTER else inner
    rule = PAIRED if difference.seeds == 1 else CROSSED
    return Judgement(
        verdict, difference.value, low, high, margin, rule, difference.samples, difference.seeds, needed, unit, level
    )


def judge_times(ratios: np.ndarray, margin: float) -> Judgement:
    """Judge how many times longer one model takes than another.

    Args:
        ratios: The ratio of times in each round, in which both models ran; fewer than 6 leave it undecided.
        margin: A factor above 1.
    """
    value = float(np.median(ratios)) if len(ratios) else math.nan
    outer, inner = median_interval(ratios, _OUTER), median_interval(ratios, _INNER)
    verdict = outcome(_logs(outer), _logs(inner), math.log(margin))
    level = _level_to_show(verdict, _logs(outer), _logs(inner), math.log(margin))
    low, high = outer if level == _OUTER else inner
    return Judgement(verdict, value, low, high, margin, TIMES, len(ratios), unit=ROUNDS, level=level)


def _logs(ends: Ends) -> Ends:
    low, high = (math.log(end) if end > 0 else math.nan for end in ends)
    return low, high


def judge_study(row: Mapping[str, Any], margin: float) -> Judgement:
    """Judge an effect by the intervals in its row of attention.parquet.

    Tables of earlier versions have the 95 % interval alone; it then takes the place of the 90 % interval.
    """
    value, *outer = (_finite(row[name]) for name in ("effect", "low", "high"))
    inner = [_finite(row.get(f"inner_{end}")) for end in ("low", "high")]
    inner = outer if any(math.isnan(end) for end in inner) else inner
    verdict = outcome((outer[0], outer[1]), (inner[0], inner[1]), margin)
    level = _level_to_show(verdict, (outer[0], outer[1]), (inner[0], inner[1]), margin)
    low, high = outer if level == _OUTER else inner
    counts = {"samples": int(row["images"]), "seeds": int(row["seeds"]), "teachers": int(row.get("teachers") or 1)}
    return Judgement(verdict, value, low, high, margin, STUDY, **counts, unit=IMAGES, level=level)


def _finite(value: Any) -> float:
    return math.nan if value is None else float(value)


# how many samples would decide ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _needed(difference: Difference, margin: float, decisive: frozenset[str]) -> int | None:
    """The least number of samples that would decide in 4 of 5 cases, if all shares stayed as they are."""
    outer, inner = (math.erf((ndtri((1 + level) / 2) + _MORE) / math.sqrt(2)) for level in (_OUTER, _INNER))

    def decides(samples: int) -> bool:
        larger = with_samples(difference, samples)
        return outcome(larger.interval(outer), larger.interval(inner), margin) in decisive

    return least_number(decides, difference.samples)


def least_number(decides: Callable[[int], bool], start: int) -> int | None:
    """The least number above ``start`` from which on ``decides`` holds; None: no number up to 10^8."""
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


def basis(judgement: Judgement) -> str:
    """The data behind a judgement: ``30 samples``, or ``10,000 samples and 3 seeds``."""
    samples = _COUNTS[judgement.unit](judgement.samples)
    if judgement.rule in (PAIRED, TIMES):
        return samples
    seeds = plural("{count} seed", "{count} seeds", judgement.seeds)
    if judgement.teachers == 1:
        return _("{samples} and {seeds}", samples=samples, seeds=seeds)
    teachers = plural("{count} teacher", "{count} teachers", judgement.teachers)
    return _("{samples}, {seeds} and {teachers}", samples=samples, seeds=seeds, teachers=teachers)


def would_decide(judgement: Judgement) -> str:
    """A sentence about the number of samples that would decide, for an undecided judgement."""
    if judgement.samples_needed is not None and judgement.samples_needed <= _FAR * judgement.samples:
        return _("About {samples} would decide.", samples=_COUNTS[judgement.unit](rounded_up(judgement.samples_needed)))
    return {
        CROSSED: _("More of them alone would not decide; more seeds might."),
        PAIRED: _("What was measured is so close to the margin that no number can be named that would decide."),
        TIMES: _("Measuring for longer, with nothing else running, may decide."),
        STUDY: _("More seeds and images may decide."),
    }[judgement.rule]


def interval(judgement: Judgement, low: str, high: str) -> str:
    """``95 % interval -0.53 to -0.18``, from ends that are already formatted."""
    return _("{level} % interval {low} to {high}", level=number(100 * judgement.level), low=low, high=high)


def ratio_interval(judgement: Judgement) -> str:
    """The interval of a ratio, where 1 is no difference: ``95 % interval 1.21 to 1.34``."""
    digits = interval_digits(judgement.low, judgement.high, 2, neutral=1.0)
    return interval(judgement, number(judgement.low, digits), number(judgement.high, digits))


def join_sentences(*sentences: str) -> str:
    """Sentences one after another, without those that are empty; Chinese has no space between them."""
    return ("" if language().startswith("zh") else " ").join(filter(None, sentences))


def points_interval(value: float, low: float, high: float) -> tuple[str, str, str]:
    """A difference of shares and the ends of its interval, in points with their signs: ``-0.35``."""
    return signed_interval(100 * value, 100 * low, 100 * high, 2)


def margin_points(share: float) -> str:
    """A margin in points, with one decimal, or with two where it has them: ``0.5``."""
    value = round(100 * share, 2)
    return number(value, 1 if round(value, 1) == value else 2)


def rounded_up(count: int) -> int:
    """A count rounded up to two digits: 8,134 becomes 8,200.

    >>> rounded_up(8134), rounded_up(85)
    (8200, 85)
    """
    step = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step
