"""What rules out a sweep's verdict or limits it; sentences state it first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdviz.core.vocabulary import Role
from kdviz.metrics import paired_difference

CHANCE, NEVER, ONE_SEED = "chance", "never predicted", "one seed"


@dataclass(frozen=True)
class Caveat:
    """What rules out a verdict or limits it.

    Attributes:
        kind: ``chance``: the interval of an accuracy does not lie above chance; ``never predicted``: no seed predicts
            some classes; ``one seed``: nothing is known of other seeds. The first and the last withhold the verdict.
        role: ``kd_student`` or ``student``; empty for both.
        accuracy, low, high: Mean accuracy over seeds, and its 95 % interval over seeds and samples.
        chance: Accuracy of a model that learned nothing: 1 / classes, or the share of the largest class.
        classes: Indices of the classes that are never predicted.
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
    """Predicted classes of one run, and the ground truth, int (samples,) each."""

    predicted: np.ndarray
    labels: np.ndarray

    @property
    def right(self) -> np.ndarray:
        return self.predicted == self.labels


def doubts_of(
    kd: Mapping[int, RunPredictions], alone: Mapping[int, RunPredictions], classes: int
) -> tuple[Caveat, ...]:
    """The caveats about the KD students and the students alone, over the seeds that both have.

    Args:
        kd, alone: Seed -> run.
        classes: Number of classes of the data; 0: not known.
    """
    seeds = sorted(kd.keys() & alone.keys())
    by_role = {Role.KD_STUDENT: kd, Role.STUDENT: alone}
    standings = [_beside_chance(role, [runs[seed] for seed in seeds], classes) for role, runs in by_role.items()]
    doubts = [standing for standing in standings if standing.low <= standing.chance]
    if len(seeds) < 2:
        doubts.append(Caveat(ONE_SEED))
    return (
        *doubts,
        *(Caveat(NEVER, standing.role, classes=standing.classes) for standing in standings if standing.classes),
    )


def chance_level(labels: np.ndarray, classes: int = 0) -> float:
    """Accuracy of a model that learned nothing: 1 / classes, or the share of the largest class.

    Args:
        labels: Ground truth, int (samples,).
        classes: Number of classes; 0: those that occur.
    """
    occurring = np.bincount(labels)
    return max(1 / max(classes, int((occurring > 0).sum())), float(occurring.max() / len(labels)))


def _beside_chance(role: str, runs: Sequence[RunPredictions], classes: int) -> Caveat:
    """A model's accuracy compared with chance, and the classes that no seed predicts although it should.

    A class counts only when it has so many samples that a model of this accuracy would miss all of them with a
    probability below 0.05 / classes.
    """
    right, labels = np.stack([run.right for run in runs]), runs[0].labels
    occurring = np.bincount(labels, minlength=classes)
    classes = int(max(classes, (occurring > 0).sum()))
    predicted = np.bincount(np.concatenate([run.predicted for run in runs]), minlength=len(occurring))[: len(occurring)]
    mean = paired_difference(np.zeros_like(right), right)
    missed = (occurring > 0) & (predicted == 0) & ((1 - mean.value) ** occurring < 0.05 / classes)
    never = tuple(int(index) for index in np.flatnonzero(missed))
    chance = chance_level(labels, classes)
    return Caveat(CHANCE, role, mean.value, mean.low, mean.high, chance, never)
