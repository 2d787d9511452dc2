"""What tree.parquet says: trees with a teacher against the same ones without, by depth, and what a path explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from kdviz.core.vocabulary import Role, Split
from kdviz.experiment import Experiment
from kdviz.metrics import Difference, paired_difference
from kdviz.metrics.equivalence import MARGIN, UNDECIDED, judge_equivalence
from kdviz.metrics.uncertainty import simultaneous_intervals
from kdviz.studies.json_values import finite
from kdviz.studies.tree.table import LABEL, SPARSE, TABLE

_MEANS = (
    "accuracy",
    "loss",
    "ece",
    "same_as_teacher",
    "kl_to_teacher",
    "inherited_errors",
    "path_accuracy",
    "path_is_answer",
    "path_probability",
    "leaves",
    "weights",
    "seconds",
)


@dataclass(frozen=True)
class ModelFigures:
    """A model on the test split, over its seeds.

    Attributes:
        role: ``kd_student``, ``student`` or ``teacher``.
        depth: Depth of the tree; None: a linear classifier, or the teacher.
        accuracies: Accuracy of each seed.
        means: Mean over seeds of the other columns of tree.parquet; NaN where there are none.
        low, high: 95 % interval of the mean accuracy, over seeds and samples.
    """

    role: str
    depth: int | None
    accuracies: tuple[float, ...]
    means: Mapping[str, float]
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        return fmean(self.accuracies)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; NaN with one."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else math.nan


@dataclass(frozen=True)
class Comparison:
    """A model with the teacher against the same one without, on the same test samples.

    Attributes:
        depth: Depth of the trees; None: linear classifiers.
        kd, alone: Their figures.
        accuracy: Accuracy with the teacher less without, over the seeds that both have.
        agreement: The same of the share of samples on which they say what the teacher says.
        low, high: The interval of ``accuracy`` that holds together with those of all depths.
        to_teacher: Accuracy with the teacher less the teacher's own.
    """

    depth: int | None
    kd: ModelFigures
    alone: ModelFigures
    accuracy: Difference
    agreement: Difference
    low: float
    high: float
    to_teacher: Difference

    @property
    def outcome(self) -> str:
        """``better``, ``worse``, ``equivalent`` (within half a point) or ``cannot tell``, as in every sweep."""
        if self.accuracy.seeds < 2:
            return UNDECIDED
        return judge_equivalence(self.accuracy, MARGIN).outcome


@dataclass(frozen=True)
class TreeReport:
    """A study of trees.

    Attributes:
        about: How it was made.
        teacher: The teacher's figures.
        trees: By depth.
        linear: The sparse linear classifiers; None: there are none.
        best: The depth whose trees with the teacher are best on the validation split.
        samples: Number of test samples.
    """

    about: Mapping[str, Any]
    teacher: ModelFigures
    trees: tuple[Comparison, ...]
    linear: Comparison | None
    best: int
    samples: int

    @property
    def chosen(self) -> Comparison:
        """The comparison at the best depth."""
        return next(comparison for comparison in self.trees if comparison.depth == self.best)

    @property
    def on_pixels(self) -> bool:
        """Whether the trees decide on pixels, so that their weights are pictures."""
        return not self.about.get("backbone")

    def to_json(self) -> dict[str, Any]:
        """The numbers; None for what is not known."""
        return finite({"study": "tree", **asdict(self), "outcome": self.chosen.outcome})


def read_tree_report(experiment: Experiment) -> TreeReport | None:
    """The study in tree.parquet; None: there is no such table.

    Raises:
        ExperimentError: The table is damaged.
    """
    table = TABLE.read(experiment)
    if table is None:
        return None
    rows = table.to_pylist()
    try:
        return _report(TABLE.about(table), rows)
    except (KeyError, StopIteration, ValueError, TypeError) as error:
        raise TABLE.damaged(experiment) from error


def _report(about: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> TreeReport:
    test = [row for row in rows if row["split"] == Split.TEST]
    labels = np.array(next(row["predicted"] for row in test if row["role"] == LABEL))
    teacher = next(row for row in test if row["role"] == Role.TEACHER)
    students = [row for row in test if row["role"] in (Role.KD_STUDENT, Role.STUDENT)]
    depths = sorted({row["depth"] for row in students if row["depth"] is not None})
    depths = [depth for depth in depths if _are_paired(_of(students, depth))]
    trees = [_comparison(depth, _of(students, depth), labels, teacher) for depth in depths]
    linear = [row for row in students if row["network"] == SPARSE]
    return TreeReport(
        about,
        _figures([teacher], labels),
        tuple(_together(trees)),
        _comparison(None, linear, labels, teacher) if _are_paired(linear) else None,
        _best(rows, depths),
        len(labels),
    )


def _of(rows: Sequence[Mapping[str, Any]], depth: int) -> list[Mapping[str, Any]]:
    return [row for row in rows if row["depth"] == depth]


def _are_paired(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a seed was trained both with the teacher and without, as it may not be while a study is under way."""
    seeds = [{row["seed"] for row in rows if row["role"] == role} for role in (Role.KD_STUDENT, Role.STUDENT)]
    return bool(set.intersection(*seeds))


def _best(rows: Sequence[Mapping[str, Any]], depths: Sequence[int]) -> int:
    """The depth with the highest mean validation accuracy of the trees with the teacher, the first of equal ones."""
    accuracies: dict[int, list[float]] = {}
    for row in rows:
        if (row["split"], row["role"]) == (Split.VALIDATION, Role.KD_STUDENT) and row["depth"] in depths:
            accuracies.setdefault(row["depth"], []).append(row["accuracy"])
    return max(sorted(accuracies), key=lambda depth: fmean(accuracies[depth]))


def _comparison(
    depth: int | None, rows: Sequence[Mapping[str, Any]], labels: np.ndarray, teacher: Mapping[str, Any]
) -> Comparison:
    by_role = {
        role: {row["seed"]: row for row in rows if row["role"] == role} for role in (Role.KD_STUDENT, Role.STUDENT)
    }
    seeds = sorted(by_role[Role.KD_STUDENT].keys() & by_role[Role.STUDENT].keys())
    kd, alone = (np.array([by_role[role][seed]["predicted"] for seed in seeds]) for role in by_role)
    said = np.array(teacher["predicted"])
    accuracy = paired_difference(alone == labels, kd == labels)
    figures = {role: _figures([runs[seed] for seed in seeds], labels) for role, runs in by_role.items()}
    return Comparison(
        depth,
        kd=figures[Role.KD_STUDENT],
        alone=figures[Role.STUDENT],
        accuracy=accuracy,
        agreement=paired_difference(alone == said, kd == said),
        low=accuracy.low,
        high=accuracy.high,
        to_teacher=paired_difference(np.broadcast_to(said == labels, kd.shape), kd == labels),
    )


def _together(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons with intervals that hold together."""
    ends = simultaneous_intervals([comparison.accuracy for comparison in comparisons])
    return [replace(comparison, low=low, high=high) for comparison, (low, high) in zip(comparisons, ends, strict=True)]


def _figures(rows: Sequence[Mapping[str, Any]], labels: np.ndarray) -> ModelFigures:
    first = rows[0]
    known = {name: [row[name] for row in rows if row[name] is not None] for name in _MEANS}
    means = {name: fmean(values) if values else math.nan for name, values in known.items()}
    right = np.array([row["predicted"] for row in rows]) == labels
    mean = paired_difference(np.zeros_like(right), right)
    accuracies = tuple(row["accuracy"] for row in rows)
    return ModelFigures(first["role"], first["depth"], accuracies, means, mean.low, mean.high)
