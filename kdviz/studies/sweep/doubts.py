"""What takes the ground from a study's verdict, or limits it: it is said first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdviz.metrics import paired_difference

CHANCE, NEVER, ONE_SEED = "chance", "never predicted", "one seed"


@dataclass(frozen=True)
class Caveat:
    """What takes the ground from a verdict, or limits it; it is said first.

    Attributes:
        kind: ``chance``: an accuracy is not above chance beyond its interval; ``never predicted``: no seed predicts
            some classes; ``one seed``: nothing is known of other seeds. The first and the last withhold the verdict.
        role: ``kd_student`` or ``student``; empty for both.
        accuracy: Mean over seeds, with its 95 % interval over seeds and samples.
        chance: What a model reaches that learned nothing: 1 / classes, or the share of the largest class.
        classes: Numbers, from 0, of those that are never predicted.
    """

    kind: str
    role: str = ""
    accuracy: float = math.nan
    low: float = math.nan
    high: float = math.nan
    chance: float = math.nan
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class RunPredictions:
    """What one run predicts, and the truth, int (samples,)."""

    said: np.ndarray
    truth: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.said == self.truth


def doubts_of(
    kd: Mapping[int, RunPredictions], alone: Mapping[int, RunPredictions], classes: int
) -> tuple[Caveat, ...]:
    """Of the KD students and the students alone, over the seeds that both have.

    Args:
        kd, alone: Seed -> run.
        classes: How many the data have, as far as is known; 0: not known.
    """
    seeds = sorted(kd.keys() & alone.keys())
    by_role = {"kd_student": kd, "student": alone}
    every = [_standing(role, [known[seed] for seed in seeds], classes) for role, known in by_role.items()]
    found = [one for one in every if one.low <= one.chance]
    if len(seeds) < 2:
        found.append(Caveat(ONE_SEED))
    return (*found, *(Caveat(NEVER, one.role, classes=one.classes) for one in every if one.classes))


def _standing(role: str, runs: Sequence[RunPredictions], classes: int) -> Caveat:
    """A model beside chance, and the classes that it never predicts in any seed though it should.

    A class counts only when it has so many samples that a model of this accuracy would miss all of them less often than
    once in 20 / classes times.
    """
    right, truth = np.stack([run.right for run in runs]), runs[0].truth
    held = np.bincount(truth, minlength=classes)
    classes = int(max(classes, (held > 0).sum()))
    spoken = np.bincount(np.concatenate([run.said for run in runs]), minlength=len(held))[: len(held)]
    mean = paired_difference(np.zeros_like(right), right)
    missed = (held > 0) & (spoken == 0) & ((1 - mean.value) ** held < 0.05 / classes)
    never = tuple(int(one) for one in np.flatnonzero(missed))
    chance = max(1 / classes, float(held.max() / len(truth)))
    return Caveat(CHANCE, role, mean.value, mean.low, mean.high, chance, never)
