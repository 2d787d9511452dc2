"""What figures allow to be said: yes, no, or cannot tell, by an interval and the margin of what is as good as equal.

A difference that is "not significant" may be large: the data are few. So two are called equal only when the whole
95 % interval of their difference lies within a margin that the reader sees and sets: two one-sided tests (Schuirmann,
1987), each at 2.5 %. Words are made of a :class:`Judgement`, so that a test can hold a sentence against its numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from kdviz.language import N_, _, language, number, plural, signed
from kdviz.metrics import Difference, median_interval, score_interval

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
    PAIRED: N_("95 % score interval of the paired difference (Tango, 1998); equal only inside the margin"),
    CROSSED: N_("95 % interval over seeds and samples; equal only inside the margin"),
    TIMES: N_("95 % interval of the median over rounds, by order statistics; equal only inside the margin"),
    STUDY: N_("95 % interval of the study, over seeds and images; equal only inside the margin"),
}
"""How the interval was made, and what it decides."""

SAMPLES, ERRORS, ROUNDS, IMAGES = "samples", "errors", "rounds", "images"

_POWER = 2.801585  # 1.96 + .84 standard errors: then 4 of 5 such samples decide
_MOST_SAMPLES = 10**8


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
    maps: float = 0.05


@dataclass(frozen=True)
class Judgement:
    """One comparison, as far as it can be told.

    Attributes:
        outcome: One of ``OUTCOMES``.
        value: Second less first, or of times the second divided by the first.
        low, high: 95 % interval of it.
        margin: Within which both are as good as equal: +-margin, of times from 1 / margin to margin.
        rule: One of ``RULES``.
        samples: How many, in :attr:`unit`.
        seeds: How many; 1: it tells of these two models only.
        samples_needed: How many would decide in 4 of 5 cases, were the shares as they are; None: it is decided, or no
            number would do.
        unit: Of what ``samples`` counts: ``samples``, ``errors``, ``rounds``, ``images``.
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

    @property
    def sure(self) -> bool:
        """Whether the interval leaves zero out, or of times 1."""
        one = 1.0 if self.rule == TIMES else 0.0
        return self.low > one or self.high < one

    def to_json(self) -> dict[str, Any]:
        """For JSON: what is not finite is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def outcome(low: float, high: float, margin: float) -> str:
    """Where the interval from ``low`` to ``high`` lies to zero and to +-``margin``; one of ``OUTCOMES``.

    ======================  ==============================================================
    ``equal``               all inside the margin, whether it has zero in it or not
    ``much higher``         all above the margin
    ``higher``              all above zero, but it reaches beyond the margin
    ``no lower``            above the margin's lower end, reaches below zero and beyond the upper end
    ``undecided``           it reaches beyond both ends of the margin, or is not known
    ======================  ==============================================================

    and the same downwards.
    """
    if math.isnan(low) or math.isnan(high):
        return UNDECIDED
    if -margin < low and high < margin:
        return EQUAL
    if low > 0:
        return MUCH_HIGHER if low > margin else HIGHER
    if high < 0:
        return MUCH_LOWER if high < -margin else LOWER
    if low > -margin:
        return NO_LOWER
    return NO_HIGHER if high < margin else UNDECIDED


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
    says, enough = outcome(found.low, found.high, margin), frozenset(decisive) - {UNDECIDED}
    needed = None if says in enough else _needed(found, margin, enough)
    rule = PAIRED if found.seeds == 1 else CROSSED
    return Judgement(says, found.value, found.low, found.high, margin, rule, found.samples, found.seeds, needed, unit)


def of_times(ratios: np.ndarray, margin: float) -> Judgement:
    """Judge how many times longer one model takes than another.

    Args:
        ratios: Of each round, in which both had their turn; fewer than 6 leave it undecided.
        margin: A factor above 1.
    """
    value = float(np.median(ratios)) if len(ratios) else math.nan
    low, high = median_interval(ratios)
    says = outcome(_log(low), _log(high), math.log(margin))
    return Judgement(says, value, low, high, margin, TIMES, len(ratios), unit=ROUNDS)


def of_study(row: Mapping[str, Any], margin: float) -> Judgement:
    """Judge an effect that a study has given its interval; a row of attention.parquet."""
    value, low, high = (math.nan if row[name] is None else float(row[name]) for name in ("effect", "low", "high"))
    says = outcome(low, high, margin)
    return Judgement(says, value, low, high, margin, STUDY, int(row["images"]), int(row["seeds"]), unit=IMAGES)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else math.nan


# how many samples would decide ----------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _needed(found: Difference, margin: float, decisive: frozenset[str]) -> int | None:
    """The least number of samples that would decide in 4 of 5 cases, were all shares as they are."""

    def decides(samples: int) -> bool:
        low, high = _interval_at(found, samples)
        return outcome(low, high, margin) in decisive

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


def _interval_at(found: Difference, samples: int) -> tuple[float, float]:
    """The interval that so many samples of the same shares would give, as wide as 4 of 5 decisions need."""
    if found.seeds == 1:
        differ = found.sample_error**2 * found.samples + found.value**2
        gained, lost = ((differ + sign * found.value) / 2 * samples for sign in (1, -1))
        return score_interval(max(gained, 0.0), max(lost, 0.0), samples, level=_LEVEL)
    by_seed = 0.0 if math.isnan(found.seed_error) else found.seed_error**2
    half = (found.high - found.low) / 2
    now = (by_seed + found.sample_error**2) ** 0.5
    then = (by_seed + found.sample_error**2 * found.samples / samples) ** 0.5
    widened = half * _POWER / 1.959964 * (then / now if now else 1.0)
    return found.value - widened, found.value + widened


_LEVEL = math.erf(_POWER / math.sqrt(2))


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
    return _("{samples} and {seeds}", samples=counted, seeds=seeds)


def would_decide(judged: Judgement) -> str:
    """A sentence about how many samples would decide, for a judgement that does not."""
    if judged.samples_needed is not None:
        return _("About {samples} would decide.", samples=_COUNTS[judged.unit](rounded_up(judged.samples_needed)))
    return {
        CROSSED: _("More of them alone would not decide; more seeds might."),
        PAIRED: _("What was measured is so close to the margin that no number can be named that would decide."),
        TIMES: _("Measuring for longer, with nothing else running, may decide."),
        STUDY: _("More seeds and images may decide."),
    }[judged.rule]


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
